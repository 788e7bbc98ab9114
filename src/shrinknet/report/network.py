"""The network before and after, layer by layer: a bar for each layer with filters, and the table of costs."""

from __future__ import annotations

from collections.abc import Sequence

from shrinknet.records import LayerCost
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, fill, number, table

MAX_CELLS = 48  # up to this many filters in the widest layer, each gets a cell: more cells would be too thin
MAX_LAYERS = 80  # layers drawn as bars

# Used by every hatched part of the page; it must be rendered, so it has size zero instead of being hidden.
HATCH = Html(
    '<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-ground" width="5" height="5"/><rect class="hatch-line" width="1.6" height="5"/>'
    "</pattern></defs></svg>"
)


def network_section(facts: RunFacts) -> Html:
    """The picture and the table."""
    if facts.cost_before is None:
        return fill("<p>The run has not recorded the cost of its network layer by layer.</p>")
    after = {layer.layer: layer for layer in facts.cost_after.layers} if facts.cost_after else {}
    layers = [layer for layer in facts.cost_before.layers if layer.filters]
    widest = max((layer.filters or 0 for layer in layers), default=1)
    bars = [_bar(facts, layer, widest) for layer in layers[:MAX_LAYERS]]
    cut = [f"The first {MAX_LAYERS} of {len(layers)} layers are drawn; the table has all."] * (len(layers) > MAX_LAYERS)
    return fill(
        '<ul class="key"><li><svg class="glyph" width="20" height="16" aria-hidden="true">'
        '<rect class="stays" width="20" height="16"/></svg> stays</li><li><svg class="glyph" width="20" height="16" '
        'aria-hidden="true"><rect class="gone" width="20" height="16"/></svg> removed</li></ul>'
        '<ol class="network">{bars}</ol><p class="note">The width of a bar is the number of filters. {cut}</p>{table}',
        bars=bars,
        cut=cut,
        table=_table(facts, after),
    )


def _bar(facts: RunFacts, layer: LayerCost, widest: int) -> Html:
    before = layer.filters or 0
    gone = [index for index in facts.removed.get(layer.layer, ()) if index < before]
    after = before - len(gone)
    told = f"{layer.layer}: {before} filters, {len(gone)} removed, {after} left"
    cells = _cells(before, gone) if widest <= MAX_CELLS else _parts(before, after)
    return fill(
        '<li><span class="layer"><b>{layer}</b> <span class="kind">{kind} {shape}</span></span>'
        '<svg class="bar {cut}" role="img" aria-label="{told}" style="width:{width}%">{cells}</svg>'
        '<span class="count">{count}</span></li>',
        layer=layer.layer,
        kind=layer.kind,
        shape=_shape(layer.shape),
        told=told,
        width=f"{max(100 * before / widest, 2):.2f}",
        cut="cells" if widest <= MAX_CELLS else "parts",
        cells=cells,
        count=fill("{before} \u2192 <b>{after}</b>", before=before, after=after) if gone else str(before),
    )


def _cells(count: int, gone: Sequence[int]) -> list[Html]:
    return [_cell(index in gone, 100 * index / count, 100 / count) for index in range(count)]


def _parts(before: int, after: int) -> list[Html]:
    """Remaining and removed filters as two parts."""
    share = 100 * after / before
    return [_cell(False, 0, share), *([_cell(True, share, 100 - share)] if after < before else [])]


def _cell(gone: bool, start: float, width: float) -> Html:
    return fill(
        '<rect class="{kind}" x="{start}%" width="{width}%" height="100%"/>',
        kind="gone" if gone else "stays",
        start=f"{start:.3f}",
        width=f"{width:.3f}",
    )


def _shape(shape: Sequence[int | None]) -> str:
    return "\u00d7".join("?" if size is None else str(size) for size in shape)


def _table(facts: RunFacts, after: dict[str, LayerCost]) -> Html:
    """All layers; columns of the network after are empty as long as it is unknown."""
    layers = facts.cost_before.layers if facts.cost_before else ()
    rows: list[tuple[object, ...]] = []
    for layer in layers:
        left = after.get(layer.layer)
        went = facts.cost_after is not None and left is None
        rows.append(
            (
                layer.layer,
                layer.kind,
                _shape(layer.shape),
                *_pair(layer.filters, left.filters if left else None, went),
                *_pair(layer.parameters, left.parameters if left else None, went),
                *_pair(layer.multiply_adds, left.multiply_adds if left else None, went),
            )
        )
    if facts.cost_before:
        totals: list[object] = ["total", "", ""]
        for name in ("", "parameters", "multiply_adds"):
            totals += _pair(getattr(facts.cost_before, name, None), getattr(facts.cost_after, name, None), False)
        rows.append(tuple(totals))
    heads = ("layer", "kind", "output", "filters", "after", "parameters", "after", "multiply-adds", "after")
    return table(heads, rows, words=3, caption="The network before and after, layer by layer")


def _pair(before: int | None, after: int | None, went: bool) -> list[str]:
    if before is None and after is None:
        return ["", ""]
    return [number(before), "gone" if went else number(after)]
