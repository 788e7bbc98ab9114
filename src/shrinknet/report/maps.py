"""Feature maps as pictures: each layer's output for one image before its activation, and the final output."""

from __future__ import annotations

import numpy as np

from shrinknet.imaging.pictures import GREY, colours, png, red_green
from shrinknet.imaging.states import STATES, Picture
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, data_uri, fill, number
from shrinknet.report.masks import MAX_FILTERS, MAX_LAYERS, tile


def maps_section(facts: RunFacts) -> Html:
    """One block per layer, one row per state; empty if the run has none."""
    layers = list(dict.fromkeys(picture.layer for picture in facts.pictures if picture.kind == "map"))
    if not layers:
        why = facts.missing.get("pictures.npz")
        return fill("<p>{why}</p>", why=why) if why else Html("")
    return fill(
        '<p>The output of each filter for one test image before the activation: below zero <b class="negative">red'
        '</b>, above zero <b class="positive">green</b>; larger absolute values are brighter. Removed filters have no '
        "output and are crossed out.</p>{layers}{outputs}",
        layers=[_layer(facts, layer) for layer in layers[:MAX_LAYERS]],
        outputs=_outputs(facts),
    )


def _layer(facts: RunFacts, layer: str) -> Html:
    states = {state: facts.pictures.get(Picture(state, "map", layer)) for state in STATES}
    rows = [_row(layer, state, maps) for state, maps in states.items() if maps is not None and maps.ndim == 3]
    return fill('<section class="masks"><h3>{layer}</h3>{rows}</section>', layer=layer, rows=rows)


def _row(layer: str, state: str, maps: np.ndarray) -> Html:
    finite = np.abs(maps[np.isfinite(maps)])
    limit = float(finite.max()) if finite.size else 0.0
    items = []
    for index in range(min(maps.shape[2], MAX_FILTERS)):
        values = maps[..., index]
        gone = not np.isfinite(values).all()
        picture = np.full((*values.shape, 3), GREY, np.uint8) if gone else red_green(values, limit)
        what = "removed" if gone else "feature map before the activation"
        items.append(tile(index, picture, f"{layer}[{index}] {STATES[state]}: {what}", gone))
    return fill(
        '<h4>{state}</h4><ul class="strip" style="--least: min(17%, 9rem)">{items}</ul>'
        '<p class="note">Full brightness: {limit}.</p>',
        state=STATES[state],
        items=items,
        limit=number(limit),
    )


def _outputs(facts: RunFacts) -> Html:
    drawn = {state: facts.pictures.get(Picture(state, "output")) for state in STATES}
    items = [
        fill(
            '<figure><img src="{source}" alt="output {state}"><figcaption>{state}</figcaption></figure>',
            source=data_uri(png(colours(np.nan_to_num(values)))),
            state=STATES[state],
        )
        for state, values in drawn.items()
        if values is not None and values.ndim in (2, 3)
    ]
    return (
        fill(
            '<section class="sample"><h3>Output after the activation</h3><div class="images">{items}</div></section>',
            items=items,
        )
        if items
        else Html("")
    )
