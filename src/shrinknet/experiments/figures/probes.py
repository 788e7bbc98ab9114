"""The figures of `probes`: how far filters come back, and the scores of the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shrinknet.experiments.figures import COLOURS, MARKERS, new_figure, style

_SCORES = {"at once": "at once", "after": "after training", "without": "after training,\nwithout the filter"}


def similarities(probes: pd.DataFrame, kinds: Sequence[tuple[str, str]]) -> Figure:
    """One point for each filter: its similarity to its old self after training, one row for each way and start.

    Args:
        probes: columns way, start, filter, `similarity at once`, `similarity after`.
        kinds: (way, start) of the rows; ways without training of the filter are left out.
    """
    kinds = [kind for kind in kinds if kind[1] != "switched off"]
    layers = list(dict.fromkeys(probes["filter"].str.rpartition("[")[0]))
    with style():
        figure, axes = new_figure(7.5, 3.6)
        axis = axes[0, 0]
        for row, (way, start) in enumerate(kinds):
            chosen = probes[(probes["way"] == way) & (probes["start"] == start)]
            for place, layer in enumerate(layers):
                values = chosen[chosen["filter"].str.startswith(f"{layer}[")]["similarity after"]
                height = row + 0.25 * (place - (len(layers) - 1) / 2) + _spread(len(values))
                axis.scatter(values, height, s=14, alpha=0.7, linewidth=0, color=COLOURS[place % len(COLOURS)],
                             marker=MARKERS[place % len(MARKERS)], label=layer if row == 0 else None)  # fmt: skip
            axis.plot([chosen["similarity at once"].mean()] * 2, [row - 0.35, row + 0.35], color="0.25", linewidth=1.5,
                      linestyle=":", label="mean at once, before training" if row == 0 else None)  # fmt: skip
        axis.set_yticks(range(len(kinds)), [f"{way},\n{start}" for way, start in kinds])
        axis.set_ylim(len(kinds) - 0.5, -0.5)
        axis.set_xlabel("cosine similarity to its old self after training (no unit, -1 to 1)")
        sns.despine(ax=axis)
        figure.legend(loc="outside upper center", ncols=len(layers) + 1)
        return figure


def _spread(count: int) -> np.ndarray:
    """Small deterministic offsets, so that equal points do not hide each other."""
    return 0.08 * np.sin(2.4 * np.arange(count))


def scores(probes: pd.DataFrame, kinds: Sequence[tuple[str, str]]) -> Figure:
    """Scores at once, after training, and after training without the filter, as boxes over all filters.

    Args:
        probes: columns way, start and the three scores as shares of 1.
        kinds: (way, start) of the rows.
    """
    names = [f"{way},\n{start}" for way, start in kinds]
    parts = [
        pd.DataFrame({"probe": name, "moment": label, "score": 100 * chosen[column]})
        for (way, start), name in zip(kinds, names, strict=True)
        for chosen in [probes[(probes["way"] == way) & (probes["start"] == start)]]
        for column, label in _SCORES.items()
    ]
    with style():
        figure, axes = new_figure(7.5, 5.2)
        axis = axes[0, 0]
        sns.boxplot(pd.concat(parts), x="score", y="probe", hue="moment", order=names, palette=list(COLOURS[:3]),
                    ax=axis, width=0.7, fliersize=2.5, linewidth=1)  # fmt: skip
        axis.axvline(100, color="0.4", linewidth=1, zorder=0)
        axis.set(xlabel="score (% of the uncut network)", ylabel="")
        handles, labels = axis.get_legend_handles_labels()
        axis.get_legend().remove()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
        sns.despine(ax=axis)
        return figure
