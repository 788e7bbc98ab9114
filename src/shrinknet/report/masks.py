"""The masks as pictures: negative red, positive green, brighter for larger absolute values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shrinknet.imaging.pictures import GREY, png, red_green
from shrinknet.imaging.states import STATES, Kernel
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, data_uri, fill, number, plural

MAX_LAYERS = 12  # layers drawn
MAX_FILTERS = 24  # filters drawn per layer
MAX_SLICES = 16  # input channels drawn per filter
MAX_COLUMN = 6  # input channels of a filter that are drawn below each other
MAX_WEIGHTS = 1024  # of a slice: longer ones are truncated
_ZOOM = 6  # pixels per weight
_GAP = 2  # pixels between slices

_CROSS = Html(
    '<svg class="cross" viewBox="0 0 10 10" preserveAspectRatio="none" aria-hidden="true">'
    '<path class="halo" d="M0 0L10 10M0 10L10 0"/><path d="M0 0L10 10M0 10L10 0"/></svg>'
)


def masks_section(facts: RunFacts) -> Html:
    """One row per layer, with its masks at each recorded state."""
    early = {Kernel(one.state, one.layer): kernel for one, kernel in facts.pictures.items() if one.kind == "mask"}
    kernels = {**facts.kernels, **early}
    drawn = [name for name, kernel in kernels.items() if _drawable(kernel)]
    layers = list(dict.fromkeys(name.layer for name in drawn if name.state in STATES))
    if not layers:
        why = facts.missing.get("kernels.npz", "The run has no recorded masks.")
        return fill("<p>{why}</p>", why=why)
    cut = [f"The first {MAX_LAYERS} of {len(layers)} layers are drawn."] * (len(layers) > MAX_LAYERS)
    rows = [_layer(kernels, layer, facts.removed.get(layer, ())) for layer in layers[:MAX_LAYERS]]
    return fill(
        '<p>Weights below zero are <b class="negative">red</b>, above zero <b class="positive">green</b>, zero is '
        "black; larger absolute values are brighter. One row per layer, one picture per filter, one square per input "
        "channel, starting at the top or left. Removed filters are crossed out and dimmed; squares that read a removed "
        "filter count as zero, whatever they show.</p>{rows}{cut}",
        rows=rows,
        cut=cut and fill('<p class="note">{cut}</p>', cut=cut),
    )


def tile(index: int, picture: np.ndarray, told: str, gone: bool) -> Html:
    """One filter's picture with its number; `told` is the text for screen readers."""
    return fill(
        '<li class="{kind}"><div class="frame"><img src="{source}" alt="{told}">{cross}</div>'
        "<span>[{index}]{removed}</span></li>",
        kind="gone" if gone else "stays",
        source=data_uri(png(picture)),
        told=told,
        cross=_CROSS if gone else None,
        index=index,
        removed=Html(" <em>removed</em>") if gone else None,
    )


def slices(kernel: np.ndarray) -> list[np.ndarray]:
    """One filter's weights as planes, one for each input channel.

    Args:
        kernel: shape (... kernel axes, channels in). Weights without kernel axes (dense layers, 1x1 convolutions) have
            no spatial layout and become one plane, wrapped into rows that form roughly a square.

    Returns:
        Planes of shape (rows, columns), float32; positions beyond the last weight are NaN.
    """
    axes = kernel.shape[:-1]
    if max(axes, default=1) == 1:
        flat = kernel.reshape(-1)[:MAX_WEIGHTS]
        columns = max(1, int(np.ceil(np.sqrt(flat.size))))
        plane = np.full((-(-flat.size // columns), columns), np.nan, np.float32)
        plane.flat[: flat.size] = flat
        return [plane]
    if len(axes) == 1:  # a 1D convolution: time to the right, one line per channel
        return [np.ascontiguousarray(kernel.T[:MAX_SLICES, :MAX_WEIGHTS])]
    planes = np.moveaxis(kernel, -1, 0).reshape(-1, *axes[-2:])  # (channels in and depth, height, width)
    return list(planes[:MAX_SLICES])


def mosaic(planes: list[np.ndarray], limit: float, columns: int) -> np.ndarray:
    """The planes side by side.

    Args:
        planes: shape (rows, columns) each, all the same; NaN is drawn as a gap.
        limit: the absolute value that is drawn at full brightness.
        columns: planes in a row.

    Returns:
        Shape (height, width, red green blue), uint8.
    """
    height, width = (size * _ZOOM for size in planes[0].shape)
    rows = -(-len(planes) // columns)
    picture = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), GREY, np.uint8)
    for place, plane in enumerate(planes):
        top, left = place // columns * (height + _GAP), place % columns * (width + _GAP)
        drawn = red_green(np.nan_to_num(plane, posinf=limit, neginf=-limit), limit)
        drawn[np.isnan(plane)] = GREY
        picture[top : top + height, left : left + width] = drawn.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    return picture


def _drawable(kernel: np.ndarray) -> bool:
    return kernel.ndim >= 2 and kernel.size > 0 and kernel.dtype.kind == "f"


def _layer(kernels: Mapping[Kernel, np.ndarray], layer: str, removed: tuple[int, ...]) -> Html:
    states = {state: kernels[Kernel(state, layer)] for state in STATES if Kernel(state, layer) in kernels}
    states = {state: kernel for state, kernel in states.items() if _drawable(kernel)}
    limits = {state: float(np.abs(kernel[np.isfinite(kernel)]).max(initial=0)) for state, kernel in states.items()}
    last = max((limit for state, limit in limits.items() if state != "early"), default=0.0)  # these are comparable
    limits = {state: limit if state == "early" else last for state, limit in limits.items()}
    first = next(iter(states.values()))
    return fill(
        '<section class="masks"><h3>{layer}</h3><p class="note">{notes}</p><div class="states">{rows}</div></section>',
        layer=layer,
        notes=" ".join(_notes(first, limits, all(np.isfinite(kernel).all() for kernel in states.values()))),
        rows=[_row(kernel, layer, state, removed, limits[state]) for state, kernel in states.items()],
    )


def _notes(kernel: np.ndarray, limits: Mapping[str, float], finite: bool) -> list[str]:
    """Shape and scale of a layer's pictures, and what they leave out."""
    *axes, channels, filters = kernel.shape
    shape = "\u00d7".join(map(str, axes))
    reads = f"{shape}, {plural(channels, 'channel')} in" if axes else plural(channels, "input")
    bright = number(max(limit for state, limit in limits.items() if state != "early" or len(limits) == 1))
    if len(limits) > 1 and "early" in limits:
        bright = f"{number(limits['early'])} after a few steps, {bright} afterwards"
    notes = [f"{reads}. Full brightness: {bright}."]
    if filters > MAX_FILTERS:
        notes.append(f"The first {MAX_FILTERS} of {filters} filters are drawn.")
    if max(axes, default=1) > 1 and channels > MAX_SLICES:
        notes.append(f"The first {MAX_SLICES} of {channels} channels in are drawn.")
    if max(axes, default=1) == 1 and channels > MAX_WEIGHTS:
        notes.append(f"The first {MAX_WEIGHTS} of {channels} inputs are drawn.")
    if not finite:
        notes.append("Some weights are not finite: the network has diverged.")
    return notes


def _columns(planes: int, filters: int) -> int:
    """Number of planes in a row.

    A few planes form a column, so that a layer is a matrix of input channels by filters, as long as it is wider than
    high; many planes form roughly a square.
    """
    if planes <= MAX_COLUMN:
        return 1 if filters >= planes else planes
    return int(np.ceil(np.sqrt(planes)))


def _row(kernel: np.ndarray, layer: str, state: str, removed: tuple[int, ...], limit: float) -> Html:
    planes = len(slices(kernel[..., 0]))
    columns = _columns(planes, kernel.shape[-1])
    masks = []
    for index in range(min(kernel.shape[-1], MAX_FILTERS)):
        weights, gone = kernel[..., index], index in removed
        low, high = (number(float(edge)) for edge in (weights.min(), weights.max()))
        told = f"{layer}[{index}] {STATES[state]}: weights from {low} to {high}{', removed' if gone else ''}"
        masks.append(tile(index, mosaic(slices(weights), limit, columns), told, gone))
    share, size = (17 * columns, 5.5 * columns) if planes <= MAX_COLUMN else (22, 7)
    return fill(
        '<div><h4>{state}</h4><ul class="strip" style="--least: min({share}%, {size}rem)">{masks}</ul></div>',
        state=STATES[state],
        share=share,
        size=size,
        masks=masks,
    )
