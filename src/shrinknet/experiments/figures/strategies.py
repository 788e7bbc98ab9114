"""The figure of `strategies`: figure 4.2, score kept and filters disabled, with the control."""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shrinknet.experiments.figures import COLOURS, MARKERS, new_figure, style

_SPREAD = 0.6  # of a threshold's room that its strategies take


def charts(runs: pd.DataFrame) -> Figure:
    """Score kept with its control above, filters disabled below, for every threshold and strategy.

    Args:
        runs: columns strategy, threshold, kept, control (shares of 1), disabled.
    """
    names, thresholds = list(dict.fromkeys(runs["strategy"])), sorted(set(runs["threshold"]))
    with style():
        figure, axes = new_figure(7.5, 6.8, rows=2, sharex=True)
        for place, name in enumerate(names):
            look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
            shift = _SPREAD * ((place + 0.5) / len(names) - 0.5)
            own = runs[runs["strategy"] == name]
            _points(axes[0, 0], own, thresholds, "kept", shift, 100, label=name, **look)
            gap = 0.35 * _SPREAD / len(names)
            _points(axes[0, 0], own, thresholds, "control", shift + gap, 100, label=f"control of {name}",
                    **look, hollow=True)  # fmt: skip
            _points(axes[1, 0], own, thresholds, "disabled", shift, 1, **look)
        axes[0, 0].axhline(100, color="0.4", linewidth=1, zorder=1)
        axes[0, 0].set_ylabel("score kept (% of the score\nafter the warm-up)")
        axes[1, 0].set_ylabel("filters disabled (number)")
        axes[1, 0].set_xlabel("threshold (% of the reference that a cut must keep)")
        axes[1, 0].set_xticks(range(len(thresholds)), [f"{100 * threshold:g}" for threshold in thresholds])
        for axis in axes[:, 0]:
            axis.grid(axis="x", visible=False)
            sns.despine(ax=axis)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(names),
                      title="mean, with 95 % interval, over small points: single runs")  # fmt: skip
        return figure


def _points(
    axis: Any, runs: pd.DataFrame, thresholds: list[float], column: str, shift: float, scale: float, *, color: Any,
    marker: str, hollow: bool = False, label: str | None = None,
) -> None:  # fmt: skip
    """Each run as a small point, and their mean with an interval: twice the standard error."""
    places, means, errors = [], [], []
    for place, threshold in enumerate(thresholds):
        values = scale * runs[runs["threshold"] == threshold][column].dropna()
        places.append(place + shift)
        means.append(values.mean())
        errors.append(1.96 * values.sem() if len(values) > 1 else 0.0)
        if not hollow:
            axis.scatter([place + shift] * len(values), values, color=color, s=6, alpha=0.35, linewidth=0, zorder=2)
    axis.errorbar(places, means, errors, fmt=marker, color=color, markersize=5, linewidth=1.5, zorder=3, label=label,
                  markerfacecolor="white" if hollow else color, capsize=2)  # fmt: skip
