"""The page of the experiment `avalanche`: the report's tables and figures beside ours, with the verdicts."""

from __future__ import annotations

import math

import pandas as pd

from shrinknet.experiments.avalanche.settings import Avalanche
from shrinknet.experiments.frame import Findings, Frames, markdown_claims, markdown_table

_NETWORKS = ["network", "parameters", "windows", "seconds", "seconds, report", "loss", "loss, report", "accuracy",
             "accuracy, report"]  # fmt: skip
_WHOLE = ["network", "iou", "f1", "boundary_f1", "accuracy at the threshold", "seconds a megapixel", "difference",
          "agreement"]  # fmt: skip
_SHRUNK = ["network", "strategy", "filters before", "filters after", "parameters before", "parameters after",
           "multiply-adds before", "multiply-adds after", "megapixels a second before", "megapixels a second after",
           "IoU before", "IoU after", "IoU control", "trials", "accepted"]  # fmt: skip
_FILES = ["network", "strategy", "LiteRT bytes before", "LiteRT bytes after", "LiteRT megapixels a second before",
          "LiteRT megapixels a second after", "boundary F1 before", "boundary F1 after",
          "boundary F1 control"]  # fmt: skip


def page(settings: Avalanche, frames: Frames, findings: Findings) -> str:
    """The whole page, in Markdown."""
    tables = findings.tables
    return f"""# Avalanches: the report's networks on synthetic slopes

{_setting(settings, frames)} {" ".join(findings.notes)}

The report (Alharbi, Faut, Gumina, Kelso, Miller, *Predicting Avalanche Field in Images Using Convolutional Neural
Networks and Edge Detection*, April 2020) had sixty photographs, a TPU with eight cores and bodies trained on ImageNet.
Its seconds and scores stand beside ours to be read, not to be compared: other images, other machine, other weights.

## Verdict

{markdown_claims(findings.claims, "the report")}

Differences are paired by repetition and photograph, with 95 % bootstrap intervals over repetitions. A claim holds where
the interval lies above zero, fails where it does not reach above zero, and is undecided otherwise; with one repetition
there is no interval.

## Tables 1 and 2: training time, loss and accuracy of windows

{_table(tables["table"], _NETWORKS, {"loss": 3, "accuracy": 3})}

Loss and accuracy are those of windows drawn anywhere in test photographs, at a probability of 1/2. Networks are trained
on half marked windows, so that 1/2 marks too much; whole photographs are marked from the threshold on that is best on
the validation photographs.

![Accuracy of windows in training and validation: the report's figure 2](figure-2.png)

![Loss of windows in training and validation: the report's figure 3](figure-3.png)

## Whole test photographs

{_table(tables["table"], _WHOLE, {})}

*difference* is the largest difference of a logit between the network for whole photographs and the classifier of
windows, as a share of the largest logit, at 64 pixels; *agreement* is the share of these pixels that get the same
answer. Networks without padding are exact; VGG16, RN50 and IRNv2 pad, and are applied to whole photographs
approximately.

## The second prediction: figures 6 to 9

![First prediction, its edges, second prediction, its edges](figures-6-to-9.png)

{_table(tables["second"], list(tables["second"].columns), {})}

Means over networks and test photographs. *column maxima* is the report's max argument function: it marks one pixel in
every column, so that its IoU is low by construction; *precision* is the share of them that lie on the avalanche.

## Boosted trees: figure 5

{_table(tables["boosted"], list(tables["boosted"].columns), {})}

The report's prediction with XGBoost ended in a runtime disconnection; with dense prediction the trees are what takes
the time.

## Colour: figure 10

{_colours(settings, frames)}

## Principal components of windows

![Share of the variance that the first components hold](components.png)

{_table(tables["variance"], list(tables["variance"].columns), {})}

## The networks shrunk

{_table(tables["shrunk"], _SHRUNK, {})}

{_table(tables["shrunk"], _FILES, {})}

![Score and cost of every trial](shrinking.png)

*default* is the strategy that `minimize` takes by itself. The control is the uncut network trained on as many batches.
IoU is that of whole test photographs, which no decision saw, at a threshold chosen on the validation photographs for
each network. Megapixels a second are those of dense prediction in Keras; of the LiteRT file, on one thread.

## The report's arithmetic

{_table(tables["arithmetic"], list(tables["arithmetic"].columns), {"published": 0, "right": 0})}

The report adds the positions of windows up instead of counting them; see `applications/avalanche/published.py`.
"""


def _colours(settings: Avalanche, frames: Frames) -> str:
    if frames["histograms"].empty:
        return "No `light.csv` says which photographs are sunny and which are shady."
    figure = "![Histograms of four sunny and four shady slopes](figure-10.png)"
    if settings.data:
        return figure
    return (f"{figure}\n\nThe colours of synthetic slopes are those that the generator was given: these verdicts check "
            "the drawing more than\nnature.")  # fmt: skip


def _setting(settings: Avalanche, frames: Frames) -> str:
    count = frames["networks"]["repetition"].nunique()
    slopes = (f"{settings.slopes} synthetic slopes of {settings.size} x {settings.size} pixels" if not settings.data
              else "a folder of slopes")  # fmt: skip
    return (
        f"{count} repetition{'s' if count > 1 else ''}, each with another division of {slopes} into training, "
        f"validation and test (60, 20 and 20 %) and other kernels. Small networks: {settings.epochs} epochs of "
        f"{settings.each} windows a photograph; bodies, in {min(settings.body_repetitions, count)} of the repetitions: "
        f"{settings.body_epochs} epochs of {settings.body_each}. Minimization to {100 * settings.left:.0f} % "
        f"of the multiply-adds: {settings.steps} steps a trial at most, {settings.final_steps} at the end."
    )


def _table(frame: pd.DataFrame, columns: list[str], digits: dict[str, int]) -> str:
    """Some columns as Markdown, each number in the digits that it needs."""
    chosen = frame[columns].copy()
    for name in columns:
        if pd.api.types.is_float_dtype(chosen[name]):
            chosen[name] = [_number(value, digits.get(name)) for value in chosen[name]]
    return markdown_table(chosen)


def _number(value: float, digits: int | None) -> str:
    if not math.isfinite(value):
        return "-"
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}"
