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
    sections = (
        _introduction(settings, frames, findings),
        _windows(findings.tables),
        _photographs(findings.tables),
        _colour(settings, frames, findings.tables),
        _shrinking(findings.tables),
        _arithmetic(findings.tables),
    )
    return "\n\n".join(sections) + "\n"


def _introduction(settings: Avalanche, frames: Frames, findings: Findings) -> str:
    return f"""# Avalanches: the report's networks on {"your" if settings.data else "synthetic"} slopes

{_setting(settings, frames)} {" ".join(findings.notes)}

The report (Alharbi, Faut, Gumina, Kelso, Miller, *Predicting Avalanche Field in Images Using Convolutional Neural
Networks and Edge Detection*, April 2020) used sixty photographs, a TPU with eight cores, and bodies pretrained on
ImageNet. Its numbers are printed beside ours for reference only: the images, the machine and the weights all differ.

## Verdicts

{markdown_claims(findings.claims, "the report")}

Differences are paired by repetition and photograph; brackets are 95 % bootstrap intervals over repetitions. A claim
holds if its interval lies above zero, fails if it lies at or below zero, and is undecided otherwise. A single
repetition has no interval, so its claims stay undecided."""


def _windows(tables: Frames) -> str:
    """Training time, loss and accuracy of windows."""
    return f"""## Tables 1 and 2: training time, loss and accuracy of windows

{_table(tables["table"], _NETWORKS, {"loss": 3, "accuracy": 3})}

Loss and accuracy are measured on windows drawn uniformly from the test photographs, at a probability of 1/2. Half of
the training windows are avalanche, far more than in a photograph, so a threshold of 1/2 marks too much. Whole
photographs are therefore marked at the threshold that is best on the validation photographs.

![Accuracy of windows in training and validation: the report's figure 2](figure-2.png)

![Loss of windows in training and validation: the report's figure 3](figure-3.png)"""


def _photographs(tables: Frames) -> str:
    """Scores of whole photographs, the second prediction, and boosted trees."""
    return f"""## Whole test photographs

{_table(tables["table"], _WHOLE, {})}

*difference* is the largest difference between the logits of the dense network and those of the window classifier at 64
pixels, as a share of the largest logit; *agreement* is the share of those pixels with the same decision. Networks
without padding are exact. VGG16, RN50 and IRNv2 pad, so their dense form is an approximation.

## The second prediction: figures 6 to 9

![First prediction, its edges, second prediction, its edges](figures-6-to-9.png)

{_table(tables["second"], list(tables["second"].columns), {})}

Means over test photographs and the networks in the figure. *column maxima* is the report's argmax over each column. It
marks one pixel per column, so its IoU is low by construction; *precision* is the share of those pixels that lie on the
avalanche.

## Boosted trees: figure 5

{_table(tables["boosted"], list(tables["boosted"].columns), {})}

The report's prediction with XGBoost ended in a runtime disconnection. With dense prediction, the trees take most of the
time."""


def _colour(settings: Avalanche, frames: Frames, tables: Frames) -> str:
    """Histograms, and principal components."""
    return f"""## Colour: figure 10

{_colours(settings, frames)}

## Principal components of windows

![Share of the variance explained by the first components](components.png)

{_table(tables["variance"], list(tables["variance"].columns), {})}"""


def _shrinking(tables: Frames) -> str:
    return f"""## The networks shrunk

{_table(tables["shrunk"], _SHRUNK, {"filters after": 1, "trials": 1, "accepted": 1})}

{_table(tables["shrunk"], _FILES, {})}

![Score and cost of every trial](shrinking.png)

*default* is the strategy that `minimize` uses unless told otherwise. The control is the uncut network, trained on as
many batches. IoU is measured on whole test photographs, which no decision saw, at a threshold chosen for each network
on the validation photographs. Megapixels a second are those of dense prediction, in Keras and in LiteRT on one
thread; they were measured in the first repetition only."""


def _arithmetic(tables: Frames) -> str:
    return f"""## The report's arithmetic

{_table(tables["arithmetic"], list(tables["arithmetic"].columns), {"published": 0, "right": 0})}

The report adds up the positions of windows instead of counting the windows; see
`applications/avalanche/published.py`."""


def _colours(settings: Avalanche, frames: Frames) -> str:
    if frames["histograms"].empty:
        return "There is no `light.csv` that says which photographs are sunny and which are shady."
    figure = "![Histograms of four sunny and four shady slopes](figure-10.png)"
    if settings.data:
        return figure
    return (f"{figure}\n\nThe generator chose the colours of these synthetic slopes: the verdicts on colour test the "
            "generator, and say\nnothing about nature.")  # fmt: skip


def _setting(settings: Avalanche, frames: Frames) -> str:
    count = frames["networks"]["repetition"].nunique()
    slopes = (f"{settings.slopes} synthetic slopes of {settings.size} x {settings.size} pixels" if not settings.data
              else "a folder of slopes")  # fmt: skip
    return (
        f"{count} repetition{'s' if count > 1 else ''}, each with its own split of {slopes} into training, "
        f"validation and test (60, 20 and 20 %) and its own initial weights. Small networks are trained for "
        f"{settings.epochs} epochs of {settings.each} windows of each photograph, bodies for {settings.body_epochs} "
        f"epochs of {settings.body_each}. {min(settings.other_repetitions, count)} of the repetitions "
        f"{'trains' if settings.other_repetitions == 1 else 'train'} more than the three CNNs of the report. Networks "
        f"are shrunk to {100 * settings.left:.0f} % of the multiply-adds: "
        f"{settings.steps} steps a trial at most, {settings.final_steps} at the end."
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
