"""The figures of the steel experiments: the report's figures 4 to 12, 16 and 18 on our data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from shrinknet.applications.steel import published
from shrinknet.applications.steel.layout import CLASSES, COLOURS, NAMES
from shrinknet.experiments.figures import COLOURS as SERIES
from shrinknet.experiments.figures import MARKERS, look, new_figure, style

_NAMED = {"f1": "F1", "dice_marked": "Dice of marked masks", "unet": "U-Net"}


def defects_per_image(table: pd.DataFrame) -> Figure:
    """Figure 4: a bar for each number of defects.

    Args:
        table: of `exploration.defects_per_image`.
    """
    with style():
        figure, axes = new_figure(4.2, 2.8)
        axis = axes[0, 0]
        _bars(axis, table["defects"].astype(str), table["images"], [SERIES[0]] * len(table))
        axis.set_xlabel("classes of defects on a plate (number)")
        axis.set_ylabel("plates (number)")
        return figure


def classes(table: pd.DataFrame) -> Figure:
    """Figure 5: a bar for each class and mix of classes, in the colours of the report; mixes are grey.

    Args:
        table: of `exploration.classes`.
    """
    with style():
        figure, axes = new_figure(5.6, 2.8)
        axis = axes[0, 0]
        colours = [_colour(int(name[1])) if single else "0.6"
                   for name, single in zip(table["classes"], table["single"], strict=True)]  # fmt: skip
        _bars(axis, table["classes"], table["images"], colours)
        axis.set_xlabel("classes of defects on a plate (numbers)")
        axis.set_ylabel("plates with a defect (number)")
        axis.tick_params(axis="x", rotation=45 if len(table) > 8 else 0)
        return figure


def areas(table: pd.DataFrame) -> Figure:
    """Figure 12 as a picture: how much of a plate is marked, by class, with the report's corrected mean and median.

    Args:
        table: of `exploration.areas`.
    """
    order = [name for name in published.FIGURE_12["source"][1:] if (table["source"] == name).any()]
    right = published.corrected_figure_12().set_index("source")
    with style():
        figure, axes = new_figure(5.6, 3.0)
        axis = axes[0, 0]
        sns.boxplot(data=table, x="source", y="percent", order=order, ax=axis, fliersize=2, linewidth=0.9, width=0.55,
                    palette=[_colour(int(name[-1])) if name[-1].isdigit() else "0.6" for name in order],
                    hue="source", hue_order=order, legend=False)  # fmt: skip
        for place, name in enumerate(order):
            for statistic, marker in (("mean", "D"), ("median", "_")):
                value = float(right.loc[name, [statistic]].to_numpy(float)[0])
                if np.isfinite(value):
                    axis.plot(place + 0.38, value, marker, color="black", markersize=7 if marker == "_" else 4,
                              label=f"the report's {statistic}, corrected" if place == 0 else None)  # fmt: skip
        axis.set_yscale("log")
        axis.set_xlabel("")
        axis.set_ylabel("marked area (% of the plate)")
        axis.legend(loc="lower right")
        return figure


def examples(pictures: Mapping[str, Mapping[str, np.ndarray]], kinds: Sequence[str] = ("image", "overlay")) -> Figure:
    """Figures 6 to 11: a row for each plate, a column for each kind of picture, with a legend of the colours.

    Args:
        pictures: of `exploration.pictures`; kinds: "image", "overlay" and "mask", as columns.
    """
    with style():
        rows = len(pictures)
        figure, axes = new_figure(3.6 * len(kinds) + 0.4, 0.86 * rows + 0.6, rows, len(kinds))
        for row, (name, made) in enumerate(pictures.items()):
            for column, kind in enumerate(kinds):
                axis = axes[row, column]
                axis.imshow(made[kind], interpolation="antialiased", aspect="auto")
                axis.set_axis_off()
                if column == 0:
                    axis.set_title(name, loc="left", fontsize=8, pad=2)
        handles = [Patch(color=_colour(number), label=f"{number}: {NAMES[number]}") for number in CLASSES]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        return figure


def histories(tables: Mapping[str, pd.DataFrame], measures: Sequence[str] = ("loss", "f1")) -> Figure:
    """Figures 16 and 18: loss and F1 over the epochs, training and validation, a row for each model.

    Args:
        tables: title -> columns epoch, and each measure with and without `val_` in front.
        measures: a column of panels for each.
    """
    with style():
        figure, axes = new_figure(6.8, 0.5 + 2.2 * len(tables), len(tables), len(measures), sharex=True)
        for row, (title, table) in enumerate(tables.items()):
            for column, measure in enumerate(measures):
                axis = axes[row, column]
                for place, (prefix, label) in enumerate((("", "training"), ("val_", "validation"))):
                    axis.plot(table["epoch"], table[prefix + measure], color=SERIES[place], label=label,
                              linestyle="-" if not prefix else "--", linewidth=1.4)  # fmt: skip
                axis.set_title(title)
                axis.set_ylabel(f"{_NAMED.get(measure, measure)} (no unit)")
        for axis in axes[-1]:
            axis.set_xlabel("epoch (number)")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return figure


def _bars(axis: object, labels: pd.Series, counts: pd.Series, colours: Sequence[object]) -> None:
    bars = axis.bar(labels.to_list(), counts.to_list(), color=list(colours), width=0.7)  # type: ignore[attr-defined]
    axis.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)  # type: ignore[attr-defined]
    axis.grid(axis="x", visible=False)  # type: ignore[attr-defined]
    axis.margins(y=0.12)  # type: ignore[attr-defined]


def _colour(number: int) -> tuple[float, float, float]:
    red, green, blue = COLOURS[number]
    return red / 255, green / 255, blue / 255


def batches(table: pd.DataFrame, measure: str = "val_f1") -> Figure:
    """A curve for each batch size: the mean over repetitions, and their range as a band.

    Args:
        table: columns repetition, batch, epoch and the measure.
    """
    with style():
        figure, axes = new_figure(6.8, 2.8)
        axis = axes[0, 0]
        for place, (batch, rows) in enumerate(table.groupby("batch")):
            groups = rows.groupby("epoch")[measure]
            epochs = list(groups.groups)
            axis.plot(epochs, groups.mean(), color=SERIES[place], marker=MARKERS[place], markersize=3.5, linewidth=1.4,
                      label=f"{batch}")  # fmt: skip
            axis.fill_between(epochs, groups.min(), groups.max(), color=SERIES[place], alpha=0.15, linewidth=0)
        axis.set_xlabel("epoch (number)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylabel("validation F1 (no unit)")
        figure.legend(*axis.get_legend_handles_labels(), title="batch size", loc="outside upper center", ncols=3)
        return figure


def score_cost(trials: pd.DataFrame) -> Figure:
    """Validation score of the kept cuts against the multiply-adds that are left; a panel for each network.

    Args:
        trials: columns network, strategy, repetition, trial, accepted, score, share.
    """
    networks = list(dict.fromkeys(trials["network"]))
    with style():
        figure, axes = new_figure(6.8, 0.5 + 2.6 * len(networks), len(networks), 1)
        names = list(dict.fromkeys(trials["strategy"]))
        for row, network in enumerate(networks):
            axis = axes[row, 0]
            mine = trials[(trials["network"] == network) & trials["accepted"]]
            for name in names:
                for number, rows in mine[mine["strategy"] == name].groupby("repetition"):
                    rows = rows.sort_values("trial")
                    axis.plot(100 * rows["share"], rows["score"], markersize=4, linewidth=1, alpha=0.85,
                              label=name if number == mine["repetition"].min() else None,
                              **look(name, names))  # fmt: skip
            axis.axvline(50, color="0.4", linewidth=1, linestyle=":")
            axis.invert_xaxis()
            axis.set_ylabel(f"validation {'Dice' if network == 'unet' else 'F1'} (no unit)")
            axis.set_title(_NAMED.get(network, network))
        axes[-1, 0].set_xlabel("multiply-adds left (% of the uncut network's)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(names))
        return figure
