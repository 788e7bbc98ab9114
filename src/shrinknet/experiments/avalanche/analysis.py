"""From the recorded tables of `avalanche` to what they say about the report's claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche import published
from shrinknet.experiments.avalanche.settings import (
    COLOUR,
    FEW,
    GREY,
    HALVED,
    INCEPTION,
    LARGE,
    RESNET,
    RMSPROP,
    ROWS,
    STEPS,
    STRATEGIES,
    VGG,
    Avalanche,
)
from shrinknet.experiments.frame import Claim, Findings, Frames
from shrinknet.experiments.statistics import DIGITS, Estimate, draws, estimate, mean
from shrinknet.experiments.units import Unit

SYNTHETIC = "on synthetic slopes"
HALF, KEPT = 0.5, 0.98  # multiply-adds that may be left, share of the control's IoU; fixed beforehand
PEAKED = 0.75  # share of peaks in the report's range from which its claim counts as holding: three of four, as it says


def gather(units: Sequence[Unit]) -> Frames:
    """The tables to record, each with the number of the repetition."""
    names = [name for name, rows in units[0].items() if isinstance(rows, list)]
    frames = {}
    for name in names:
        rows = [{"repetition": unit["repetition"] // STEPS, **row} for unit in units for row in unit[name]]
        frame = pd.DataFrame(rows)
        if "curve" in frame:
            frame["curve"] = [" ".join(f"{value:.5f}" for value in curve) for curve in frame["curve"]]
        numbers = [column for column in frame.columns if frame[column].dtype == float]
        frames[name] = frame.round(dict.fromkeys(numbers, DIGITS))
    return frames


def analyse(frames: Frames, settings: Avalanche) -> Findings:
    """Our numbers beside the report's, and the verdicts on its claims."""
    tables = {
        "table": beside_the_report(frames["networks"], frames["photographs"]),
        "second": passes_table(frames["passes"]),
        "boosted": means(frames["boosting"], "head"),
        "shrunk": shrunk_table(frames["shrinking"]),
        "variance": means(frames["components"].drop(columns="curve"), "window", "standardized"),
        "arithmetic": published.arithmetic(),
    }
    claims = (
        *_network_claims(frames, settings),
        *_pass_claims(frames["passes"], settings),
        _boosting_claim(frames["boosting"], settings),
        *_component_claims(frames["components"]),
        *_colour_claims(frames["lights"], settings),
        *_shrinking_claims(frames["shrinking"]),
    )
    return Findings(tables, claims, _notes(frames, settings))


def means(frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """The mean of every number over repetitions, a row for each key."""
    numbers = [column for column in frame.columns if column not in (*keys, "repetition")
               and pd.api.types.is_numeric_dtype(frame[column])]  # fmt: skip
    return frame.groupby(list(keys), sort=False)[numbers].mean().reset_index()


def beside_the_report(networks: pd.DataFrame, photographs: pd.DataFrame) -> pd.DataFrame:
    """Tables 1 and 2 with the report's numbers, and the scores of whole photographs."""
    ours = means(networks, "network").merge(means(photographs, "network")[["network", "iou", "f1", "boundary_f1"]])
    theirs = published.RESULTS.rename(columns={"model": "network", "seconds": "seconds, report",
                                               "loss": "loss, report", "accuracy": "accuracy, report"})  # fmt: skip
    both = ours.merge(theirs, on="network", how="left")
    return both[["network", "parameters", "windows", "seconds", "seconds, report", "loss", "loss, report", "accuracy",
                 "accuracy, report", "accuracy at the threshold", "iou", "f1", "boundary_f1", "seconds a megapixel",
                 "difference", "agreement"]]  # fmt: skip


def passes_table(passes: pd.DataFrame) -> pd.DataFrame:
    """IoU, precision and marked share of the first and the second prediction, over networks and photographs."""
    return means(passes, "canvas", "prediction", "way")


def shrunk_table(shrinking: pd.DataFrame) -> pd.DataFrame:
    """Before, after and control, a row for each network and strategy; mean over repetitions."""
    return means(shrinking, "network", "strategy")


def verdict(found: Estimate) -> str:
    """Whether a difference is above zero: "holds", "fails" or "undecided"."""
    return "holds" if found.low > 0 else "fails" if found.high <= 0 else "undecided"


def said(found: Estimate) -> str:
    """A number with its interval, or alone where one repetition gives none."""
    return str(found) if math.isfinite(found.low) else f"{found.value:.2f}"


def difference(
    frame: pd.DataFrame, column: str, one: Mapping[str, str], other: Mapping[str, str], settings: Avalanche
) -> Estimate:
    """The mean difference of a column between two kinds of rows, paired by repetition and photograph."""
    index = ["repetition", *[name for name in ("image", "network") if name in frame and name not in one]]
    first, second = (_rows(frame, which).set_index(index)[column] for which in (one, other))
    paired = (first - second).dropna()
    if not len(paired):
        return Estimate(*[float("nan")] * 3)
    groups = paired.index.get_level_values("repetition").to_numpy()
    return estimate(mean(paired.to_numpy(float), draws(groups, settings.bootstrap, settings.seed)))


def _rows(frame: pd.DataFrame, which: Mapping[str, str]) -> pd.DataFrame:
    chosen = np.ones(len(frame), bool)
    for name, value in which.items():
        chosen &= (frame[name] == value).to_numpy()
    return frame[chosen]


def _network_claims(frames: Frames, settings: Avalanche) -> list[Claim]:
    """Colour against grey, 33 against 17, bodies against the small network, and what the report leaves open."""
    photographs, networks = frames["photographs"], frames["networks"]
    pairs = (
        ("colour is better than grey", COLOUR, GREY),
        ("windows of 33 are better than windows of 17 (the report expects it, and does not find it)", LARGE, COLOUR),
        ("a level of the Gaussian pyramid loses what marks the edge", LARGE, HALVED),
        ("(not in the report) 2-D convolutions are better than 1-D ones", LARGE, ROWS),
        ("(not in the report) Adam is better than RMSprop", LARGE, RMSPROP),
    )
    claims = []
    for text, one, other in pairs:
        iou, accuracy = (difference(frame, column, {"network": one}, {"network": other}, settings)
                         for frame, column in ((photographs, "iou"), (networks, "accuracy")))  # fmt: skip
        claims.append(Claim(f"{text}, {SYNTHETIC}", verdict(iou),
                            f"{one} minus {other}: IoU {said(iou)}, accuracy of windows {said(accuracy)}"))  # fmt: skip
    for body in (VGG, RESNET, INCEPTION):
        if not (networks["network"] == body).any():
            continue
        found = difference(networks, "accuracy", {"network": body}, {"network": FEW}, settings)
        iou = difference(photographs, "iou", {"network": body}, {"network": FEW}, settings)
        count = int(networks.loc[networks["network"] == body, "windows"].mean())
        start = "published weights" if settings.weights else "from scratch, where the report has weights from ImageNet"
        claims.append(Claim(
            f"{body} is better than the small network with as many windows, {SYNTHETIC}", verdict(found),
            f"accuracy of windows {said(found)}, IoU {said(iou)} ({body} by the approximation); "
            f"{count:,} windows, {start}",
        ))  # fmt: skip
    return claims


def _pass_claims(passes: pd.DataFrame, settings: Avalanche) -> list[Claim]:
    claims = []
    for canvas in dict.fromkeys(passes["canvas"]):
        rows = _rows(passes, {"canvas": canvas, "way": "threshold"})
        first, second = {"prediction": "first"}, {"prediction": "second"}
        narrower = difference(rows, "marked", first, second, settings)
        wider = difference(rows, "marked", second, first, settings)
        nearer = difference(rows, "iou", second, first, settings)
        drawn = f"edges drawn on the {canvas}"
        claims += [
            Claim(f"the second prediction narrows the region ({drawn}), {SYNTHETIC}", verdict(narrower),
                  f"the marked share of a photograph changes by {said(wider)}"),
            Claim(f"the second prediction is nearer to the avalanche ({drawn}), {SYNTHETIC}", verdict(nearer),
                  f"IoU changes by {said(nearer)}"),
        ]  # fmt: skip
    return claims


def _boosting_claim(boosting: pd.DataFrame, settings: Avalanche) -> Claim:
    alone, trees = {"head": "the network alone"}, {"head": "boosted trees on predictions"}
    gain = difference(boosting, "iou", trees, alone, settings)
    features = difference(boosting, "iou", {"head": "boosted trees on features"}, alone, settings)
    spread = difference(boosting, "near 0 or 1", alone, trees, settings)
    surer = difference(boosting, "near 0 or 1", trees, alone, settings)
    return Claim(
        f"boosted trees on the predictions spread them less towards 0 and 1, {SYNTHETIC}", verdict(spread),
        f"the share of windows within 0.05 of 0 or 1 changes by {said(surer)}; IoU changes by {said(gain)}, "
        f"on features by {said(features)}",
    )  # fmt: skip


def _component_claims(components: pd.DataFrame) -> list[Claim]:
    claims = []
    for (window, standardized), rows in components.groupby(["window", "standardized"], sort=False):
        share = rows["of nine"]
        word = "holds" if share.min() >= published.VARIANCE else "fails" if share.max() < published.VARIANCE else (
            "undecided")  # fmt: skip
        kind = "standardized" if standardized else "plain"
        claims.append(Claim(
            f"{published.COMPONENTS} components hold 99 % of the variation ({window}, {kind}), {SYNTHETIC}", word,
            f"they hold {100 * share.mean():.1f} %; 99 % takes {rows['for 99 %'].min()} to {rows['for 99 %'].max()}",
        ))  # fmt: skip
    return claims


def _colour_claims(lights: pd.DataFrame, settings: Avalanche) -> list[Claim]:
    if lights.empty or lights["light"].nunique() < 2:
        return []
    claims = []
    for light, (low, high) in published.PEAKS.items():
        rows = lights[lights["light"] == light]
        share = float(np.mean([rows[f"{name}_peak"].between(low, high).mean() for name in ("red", "green", "blue")]))
        claims.append(Claim(
            f"{light} photographs have their peaks in [{low}, {high}], {SYNTHETIC}",
            "holds" if share >= PEAKED else "fails", f"{100 * share:.0f} % of the peaks of {len(rows)} photographs",
        ))  # fmt: skip
    for column, text, sign in (("hue_peak", "shady photographs have a higher hue peak", 1),
                               ("saturation_peak", "shady photographs have a higher saturation peak", 1),
                               ("overlap", "red, green and blue overlap less in shady photographs", -1)):  # fmt: skip
        found = _between_lights(lights, column, sign, settings)
        claims.append(Claim(f"{text}, {SYNTHETIC}", verdict(found), f"difference {said(found)}"))
    return claims


def _between_lights(lights: pd.DataFrame, column: str, sign: int, settings: Avalanche) -> Estimate:
    """Shady minus sunny, times the sign, with an interval over photographs."""
    drawn = []
    for light in ("shady", "sunny"):
        values = lights.loc[lights["light"] == light, column].to_numpy(float)
        drawn.append(mean(values, draws(np.arange(len(values)), settings.bootstrap, settings.seed)))
    count = min(map(len, drawn))
    return estimate(sign * (drawn[0][:count] - drawn[1][:count]))


def _shrinking_claims(shrinking: pd.DataFrame) -> list[Claim]:
    claims = []
    for network in dict.fromkeys(shrinking["network"]):
        for strategy in STRATEGIES:
            rows = _rows(shrinking, {"network": network, "strategy": strategy})
            left = rows["multiply-adds after"] / rows["multiply-adds before"]
            kept = rows["IoU after"] / rows["IoU control"]
            good = int(((left <= HALF) & (kept >= KEPT)).sum())
            claims.append(Claim(
                f"(not in the report) {network} loses half of its multiply-adds at {KEPT} of the control's IoU, "
                f"{strategy} choice, {SYNTHETIC}",
                "holds" if good == len(rows) else "fails" if not good else "undecided",
                f"in {good} of {len(rows)} repetitions; left {_listed(left)}, kept {_listed(kept)}",
            ))  # fmt: skip
    return claims


def _listed(values: pd.Series) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _notes(frames: Frames, settings: Avalanche) -> tuple[str, ...]:
    lit = frames["light"]
    notes = [
        "Everything here was measured on synthetic slopes, which say nothing about real ones." if not settings.data
        else f"Measured on the slopes in {settings.data}.",
    ]  # fmt: skip
    if not lit.empty:
        notes.append(f"Sunny or shady: {100 * lit['right'].mean():.0f} % of {len(lit)} test photographs are told "
                     "right by their histograms.")  # fmt: skip
    return tuple(notes)
