"""Figures of `correlations`: table 4.1 as heat maps, ours and the thesis's, and the coefficients with intervals."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shrinknet.experiments.figures import COLOURS, new_figure, style
from shrinknet.experiments.thesis import COLUMNS, sampling_error

_NAMES = {"prs": "Pearson", "knd": "Kendall", "spr": "Spearman"}


def heat_map(ours: pd.DataFrame, thesis: pd.DataFrame) -> Figure:
    """Both tables with one colour scale.

    Args:
        ours, thesis: the six rows of table 4.1, labels in the column `coefficient`.
    """
    with style():
        figure, axes = new_figure(7.5, 5.2, rows=2)
        tables = [table.set_index("coefficient").astype(float) for table in (ours, thesis)]
        limit = max(float(table.abs().max().max()) for table in tables if table.notna().any().any())
        bar = {"label": "correlation (no unit, -1 to 1)"}
        for axis, table, title in zip(axes[:, 0], tables, ("Here", "Thesis, table 4.1"), strict=True):
            sns.heatmap(table, ax=axis, annot=True, fmt=".2f", annot_kws={"size": 8.5}, cmap="vlag", center=0,
                        vmin=-limit, vmax=limit, linewidths=0.5, cbar_kws=bar)  # fmt: skip
            axis.set(xlabel="", ylabel="", title=title)
            axis.tick_params(axis="x", rotation=30, length=0)
            axis.tick_params(axis="y", rotation=0, length=0)
        return figure


def interval_chart(intervals: pd.DataFrame, thesis: pd.DataFrame) -> Figure:
    """The correlation of loss and best with each column: ours with its 95 % interval, and the thesis's.

    Args:
        intervals: columns quantity, coefficient, column, value, low, high.
        thesis: as for `heat_map`.
    """
    with style():
        figure, axes = new_figure(7.5, 6.6, rows=2, columns=3, sharex=True, sharey=True)
        theirs = thesis.set_index("coefficient")
        for row, quantity in zip(axes, ("loss", "best"), strict=True):
            for axis, kind in zip(row, _NAMES, strict=True):
                chosen = (intervals["quantity"] == quantity) & (intervals["coefficient"] == kind)
                ours = intervals[chosen].set_index("column").loc[list(COLUMNS)]
                places = range(len(COLUMNS))
                axis.axvline(0, color="0.4", linewidth=1, zorder=1)
                axis.hlines(places, ours["low"], ours["high"], color=COLOURS[0], linewidth=2, zorder=2)
                axis.scatter(ours["value"], places, color=COLOURS[0], s=26, zorder=3, label="here, with 95 % interval")
                given = theirs.loc[[f"{quantity}({kind})"], list(COLUMNS)].to_numpy(float)[0].tolist()
                low, high = zip(*(sampling_error(value, kind) for value in given), strict=True)
                below = [place + 0.22 for place in places]
                axis.hlines(below, low, high, color=COLOURS[1], linewidth=1, zorder=2)
                axis.scatter(given, below, color=COLOURS[1], marker="D", s=20, zorder=3, edgecolor="black",
                             linewidth=0.5, label="thesis, with the sampling error of 100 points")  # fmt: skip
                axis.set_title(f"{quantity}, {_NAMES[kind]}")
                axis.set_yticks(list(places), COLUMNS)
                axis.set_ylim(len(COLUMNS) - 0.5, -0.5)
        for axis in axes[-1]:
            axis.set_xlabel("correlation\n(no unit, -1 to 1)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return figure
