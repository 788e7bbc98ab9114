"""The figures of `avalanche`: the report's figures 2, 3 and 5 to 10 on our data, components, and shrinking."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from shrinknet.experiments.figures import COLOURS, MARKERS, look, new_figure, style

_RGB = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4"}
_HSV = {"hue": "#e377c2", "saturation": "#ff7f0e", "brightness": "#7f7f7f"}
_TREES = "trees on predictions"
_TITLES = {_TREES: "boosted trees on predictions",
           "image": "photograph", "reference": "reference", "mask": "mask", "first": "first prediction",
           "edges": "its edges", "second": "second prediction", "second edges": "its edges"}  # fmt: skip


def curves(table: pd.DataFrame, measure: str) -> Figure:
    """Training and validation over the epochs, a panel for each network; thin lines are single repetitions.

    Args:
        table: columns repetition, network, epoch, and `measure` with and without `val_` in front.
        measure: "accuracy" or "loss".
    """
    names = list(dict.fromkeys(table["network"]))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with style():
        figure, axes = new_figure(7.5, 0.7 + 1.9 * rows, rows, columns, sharex=True)
        for axis in axes.ravel()[len(names) :]:
            axis.set_axis_off()
        for axis, name in zip(axes.ravel(), names, strict=False):
            own = table[table["network"] == name]
            for place, (prefix, label) in enumerate((("", "training"), ("val_", "validation"))):
                drawn = {"color": COLOURS[place], "linestyle": ("-", "--")[place]}
                for _, run in own.groupby("repetition"):
                    axis.plot(run["epoch"], run[prefix + measure], linewidth=0.6, alpha=0.5, **drawn)
                average = own.groupby("epoch")[prefix + measure].mean()
                axis.plot(average.index, average, linewidth=1.8, marker=MARKERS[place], markersize=3.5, label=label,
                          **drawn)  # fmt: skip
            axis.set_title(name)
            axis.set_xticks(sorted(set(table["epoch"])))
        for row in axes:
            row[0].set_ylabel(f"{measure} of windows\n(no unit)")
        for column in axes.T:
            lowest = [axis for axis in column if axis.axison][-1]
            lowest.set_xlabel("epoch (number)")
            lowest.tick_params(labelbottom=True)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return figure


def panels(table: pd.DataFrame) -> Figure:
    """Figures 5 to 9: for each photograph a row with what is true, and a row for each network.

    Args:
        table: columns network, image, kind, picture (a PNG or JPEG in base64).
    """
    images, networks = list(dict.fromkeys(table["image"])), [name for name in dict.fromkeys(table["network"]) if name]
    pictures = {(row.network or "", row.image, row.kind): _decoded(str(row.picture))
                for row in table.fillna({"network": ""}).itertuples()}  # fmt: skip
    kinds = ("first", "edges", "second", "second edges")
    rows = [(name, image) for image in images for name in ("", *networks)]
    with style():
        figure, axes = new_figure(6.6, 0.3 + 1.5 * len(rows), len(rows), len(kinds))
        for line, (name, image) in zip(axes, rows, strict=True):
            for axis, kind in zip(line, kinds if name else ("image", "reference", "mask", _TREES), strict=True):
                axis.set(xticks=[], yticks=[])
                axis.set_axis_off()
                picture = pictures.get((name, image, kind))
                if picture is None:
                    continue
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
                axis.set_title(_TITLES[kind], fontsize=8, pad=2)
            line[0].text(-0.08, 0.5, name or image, transform=line[0].transAxes, rotation=90, fontsize=8, va="center",
                         ha="center")  # fmt: skip
        return figure


def _decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def histograms(table: pd.DataFrame) -> Figure:
    """Figure 10: histograms of sunny photographs on the left, of shady ones on the right; colours, then hue and others.

    Args:
        table: columns image, light, channel, value (0 to 255), share.
    """
    by_light = {light: list(dict.fromkeys(rows["image"])) for light, rows in table.groupby("light", sort=False)}
    lights = [light for light in ("sunny", "shady") if light in by_light]
    count = max(map(len, by_light.values()))
    with style():
        figure, axes = new_figure(7.5, 0.6 + 1.35 * count, count, 2 * len(lights), sharex=True)
        for axis in axes.ravel():
            axis.set_axis_off()
        for place, light in enumerate(lights):
            for row, image in enumerate(by_light[light]):
                own = table[(table["light"] == light) & (table["image"] == image)]
                for offset, channels in enumerate((_RGB, _HSV)):
                    axis = axes[row, 2 * place + offset]
                    axis.set_axis_on()
                    for channel, colour in channels.items():
                        lines = own[own["channel"] == channel].sort_values("value")
                        shares = np.zeros(256)
                        shares[lines["value"].to_numpy(int)] = lines["share"]
                        axis.plot(np.arange(256), 100 * shares, color=colour, linewidth=0.9, label=channel)
                    axis.set_ylim(0, 1.1 * 100 * float(np.quantile(own["share"], 0.995)))
                    axis.set_title(f"{light}: {image}", fontsize=8, pad=2)
        for axis in axes[-1]:
            axis.set_xlabel("value (no unit)")
        axes[0, 0].set_ylabel("pixels (%)")
        keys = {label: handle for one in (0, 1)
                for handle, label in zip(*axes[0, one].get_legend_handles_labels(), strict=True)}  # fmt: skip
        figure.legend(keys.values(), keys.keys(), loc="outside upper center", ncols=6)
        return figure


def components(table: pd.DataFrame) -> Figure:
    """The share of the variance that the first components hold, and the report's claim.

    Args:
        table: columns window, standardized, curve (cumulative shares as text), one row a repetition.
    """
    with style():
        figure, axes = new_figure(5.6, 3.4)
        axis = axes[0, 0]
        for place, (window, rows) in enumerate(table.groupby("window", sort=False)):
            for standardized, some in rows.groupby("standardized"):
                curves = np.stack([np.array(text.split(), float) for text in some["curve"]])
                axis.plot(np.arange(1, curves.shape[1] + 1), 100 * curves.mean(0), color=COLOURS[place],
                          linestyle="--" if standardized else "-", linewidth=1.6,
                          label=f"{window}{', standardized' if standardized else ''}")  # fmt: skip
        axis.axhline(99, color="0.4", linewidth=1)
        axis.plot([9], [99], "x", color="black", markersize=8, label="the report: 9 explain 99 %")
        axis.set_xlabel("components (number)")
        axis.set_ylabel("variance explained (%)")
        axis.legend(loc="lower right")
        return figure


def shrinking(trials: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """The score of windows against what a network costs, after every kept cut, a panel for each network.

    Args:
        trials: columns repetition, network, strategy, trial, score, accepted, multiply_adds.
        runs: columns repetition, network, strategy, "multiply-adds before", "multiply-adds after", "IoU after",
            "IoU control".
    """
    names, strategies = (list(dict.fromkeys(runs[column])) for column in ("network", "strategy"))
    with style():
        figure, axes = new_figure(7.5, 4.6, 2, len(names), sharex=True)
        for column, name in enumerate(names):
            for strategy in strategies:
                drawn = look(strategy, strategies)
                own = runs[(runs["network"] == name) & (runs["strategy"] == strategy)]
                for place_in_runs, (_, run) in enumerate(own.iterrows()):
                    kept = trials[(trials["network"] == name) & (trials["strategy"] == strategy)
                                  & (trials["repetition"] == run["repetition"]) & trials["accepted"]]  # fmt: skip
                    axes[0, column].plot(100 * kept["multiply_adds"] / run["multiply-adds before"], kept["score"],
                                         linewidth=1, markersize=3, alpha=0.8,
                                         label=strategy if not place_in_runs else None, **drawn)  # fmt: skip
                axes[1, column].scatter(100 * own["multiply-adds after"] / own["multiply-adds before"],
                                        100 * own["IoU after"] / own["IoU control"], s=26, **drawn)  # fmt: skip
            axes[1, column].axhline(98, color="0.4", linewidth=1)
            axes[1, column].axvline(50, color="0.4", linewidth=1)
            axes[0, column].set_title(name)
            axes[1, column].set_xlabel("multiply-adds left (%)")
        axes[0, 0].set_ylabel("IoU of validation windows\nafter each kept cut (no unit)")
        axes[1, 0].set_ylabel("IoU of test photographs\n(% of the control's)")
        found = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(),
                                                                             strict=True)}  # fmt: skip
        figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=len(found))
        return figure
