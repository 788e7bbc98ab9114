"""The figure of `drop-gain`: figure 4.1, drop against gain for all layers and for each."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from shrinknet.experiments.figures import COLOURS, MARKERS, new_figure, style


def scatter(subsets: Mapping[tuple[str, str], pd.DataFrame]) -> Figure:
    """Rows for all layers and for each layer, columns for all filters and for the best of each repetition.

    Args:
        subsets: (layer, which filters) -> columns layer, drop, gain (shares of 1) and dead.
    """
    layers = list(dict.fromkeys(layer for layer, _ in subsets))
    which = list(dict.fromkeys(name for _, name in subsets))
    colour_of = {layer: place for place, layer in enumerate(layers[1:])}
    with style():
        figure, axes = new_figure(7.5, 1.0 + 2.3 * len(layers), len(layers), len(which), sharex=True, sharey=True)
        for (layer, name), pairs in subsets.items():
            axis = axes[layers.index(layer), which.index(name)]
            axis.axhline(100, color="0.4", linewidth=1, zorder=1)
            for own, place in colour_of.items():
                colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
                mine = pairs["layer"] == own
                for rows, alive in ((pairs[mine & ~pairs["dead"]], True), (pairs[mine & pairs["dead"]], False)):
                    axis.scatter(100 * rows["drop"], 100 * rows["gain"], s=16, marker=marker, alpha=0.75,
                                 facecolor=colour if alive else "none", edgecolor=colour, linewidth=0 if alive else 1,
                                 label=own if alive else None)  # fmt: skip
            axis.set_title(f"{layer}, {name}")
        for axis in axes[:, 0]:
            axis.set_ylabel("gain: best score after\n(% of the uncut network)")
        for axis in axes[-1]:
            axis.set_xlabel("drop: score at disabling\n(% of the uncut network)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=len(labels),
            title="layer of the filter; hollow: dead filters, without which nothing changes",
        )
        return figure
