"""The figure of `strategies`: figure 4.2, score kept and filters disabled, with the control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shrinknet.experiments.figures import jitter, look, new_figure, style

_SPREAD = 0.6  # share of a threshold's width that its strategies occupy


def charts(runs: pd.DataFrame, intervals: pd.DataFrame, most: int) -> Figure:
    """Score kept with its control above, filters disabled below, for every threshold and strategy.

    Args:
        runs: columns strategy, threshold, kept (a share of 1), disabled; drawn as small points.
        intervals: columns strategy, threshold, measure, value, low, high; drawn as large points with intervals.
        most: filters that can be disabled at all, since each layer keeps some.
    """
    names, thresholds = list(dict.fromkeys(runs["strategy"])), sorted(set(runs["threshold"]))
    with style():
        figure, axes = new_figure(7.5, 6.8, rows=2, sharex=True)
        upper, lower = axes[:, 0]
        for place, name in enumerate(names):
            looks = look(name, names)
            shift, gap = _SPREAD * ((place + 0.5) / len(names) - 0.5), 0.35 * _SPREAD / len(names)
            mine = {measure: rows for measure, rows in intervals[intervals["strategy"] == name].groupby("measure")}
            own = runs[runs["strategy"] == name]
            _means(upper, mine["score kept"], shift, 100, label=name, **looks)
            _means(upper, mine["control"], shift + gap, 100, label=f"control of {name}", hollow=True, **looks)
            _means(lower, mine["filters disabled"], shift, 1, **looks)
            for axis, column, scale in ((upper, "kept", 100), (lower, "disabled", 1)):
                at = own["threshold"].map(thresholds.index) + shift - gap / 2 + jitter(len(own), gap)
                axis.scatter(at, scale * own[column], s=7, alpha=0.5, linewidth=0, color=looks["color"], zorder=2)
        upper.axhline(100, color="0.4", linewidth=1, zorder=1)
        lower.axhline(most, color="0.4", linewidth=1, linestyle="--", zorder=1)
        lower.text(len(thresholds) - 0.5, most, f"no more than {most} can go", ha="right", va="bottom", color="0.3",
                   fontsize=8.5)  # fmt: skip
        upper.set_ylabel("score kept (% of the score\nafter the warm-up)")
        lower.set_ylabel("filters disabled (number)")
        lower.set_ylim(-0.3, most * 1.12)
        lower.set_xlabel("threshold (% of the reference that a cut must keep)")
        lower.set_xticks(range(len(thresholds)), [f"{100 * threshold:g}" for threshold in thresholds])
        for axis in (upper, lower):
            axis.grid(axis="x", visible=False)
            sns.despine(ax=axis)
        handles, labels = upper.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(names),
                      title="mean with 95 % interval; small points: single runs")  # fmt: skip
        return figure


def _means(
    axis: Any, rows: pd.DataFrame, shift: float, scale: float, *, color: Any, marker: str, hollow: bool = False,
    label: str | None = None,
) -> None:  # fmt: skip
    """One strategy's means, one for each threshold, with their intervals if these could be computed."""
    rows = rows.sort_values("threshold")
    values = scale * rows["value"].to_numpy(float)
    ends = [scale * rows[end].to_numpy(float) for end in ("low", "high")]
    errors = np.nan_to_num(np.abs(np.stack(ends) - values))
    axis.errorbar(np.arange(len(rows)) + shift, values, errors, fmt=marker, color=color, markersize=5, linewidth=1.5,
                  zorder=3, label=label, markerfacecolor="white" if hollow else color, capsize=2)  # fmt: skip
