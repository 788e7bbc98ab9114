"""The page of the experiment `steel`: ours beside the report's and its benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from shrinknet.applications.steel import published
from shrinknet.experiments.frame import Findings, Frames, markdown_claims, markdown_table

if TYPE_CHECKING:
    from shrinknet.experiments.steel_settings import Steel


def page(settings: Steel, frames: Frames, findings: Findings) -> str:
    """The verdicts, figures 16 to 19 reproduced, segmentation, and shrinking."""
    repetitions = frames["histories"]["repetition"].nunique()
    height, width = settings.size
    return f"""# Steel plates: classified, outlined, and by a smaller network

{repetitions} repetitions, each with its own split and weights. {" ".join(findings.notes)}

The report: R. Terra, *Severstal Image Classification*, 2020. Its plates have 256 x 512 pixels, ours {height} x {width};
{_amount(settings)}.

## Verdicts

{markdown_claims(findings.claims, "the report (or the aim)")}

## The two-step classifier

### Loss and F1 over the epochs (figures 16 and 18)

One repetition, at the batch size that the report found best.

![binary model](figure-16.png)

![multiclass model](figure-18.png)

Validation F1 at each batch size, mean and range over repetitions:

![binary model, batch sizes](figure-16-batches.png)

![multiclass model, batch sizes](figure-18-batches.png)

### Scores (figures 17 and 19)

`f1`, `precision`, `recall` are of the whole set (micro). `_m` marks the report's: the mean over batches of each batch's
own value. `report` rows are what it prints; B1 and B2 are the benchmarks that it compares its F1 with, although theirs
are Dice of a segmentation, another task.

{markdown_table(beside_the_report(findings.tables["classifier-scores"]), 3)}

With four sigmoids and categorical cross-entropy Keras takes the softmax of what went into the sigmoids, so that both
activations have the same weights, loss and accuracy; they differ in what exceeds one half.

### The two steps as one

{markdown_table(findings.tables["system"], 3)}

`accuracy` is over five answers: clean, or one of four classes. `detected`: share of plates with a defect that are
found; `false_alarms`: share of clean plates that are not found clean; `named`: share of detected plates with the right
class.

{markdown_table(findings.tables["confusion-sums"])}

## Segmentation

![history of the U-Net](unet-history.png)

Dice, IoU and pixel accuracy on test plates: means over plates and classes, then over repetitions. `dice` counts a
blank mask that is found blank as 1, as the competition does; `dice_marked` leaves those out; `dice_pooled` is of all
pixels together. B1 reports a Dice of 0.8 and B2 0.7 on the real plates.

{markdown_table(_of_all_classes(findings.tables["segmentation"]), 3)}

By class, for the first of them and for the slim network:

{markdown_table(_by_class(findings.tables["segmentation"]), 3)}

## Shrinking

The control is the uncut network, trained for as many steps as the slim one. Shares of what was there before; frames a
second in LiteRT, one thread, one plate at a time; scores on test plates, which no decision saw: `dice_marked` for the
U-Net, F1 for classifiers.

{markdown_table(findings.tables["table"], 3)}

![score and cost](score-cost.png)

### Exported files of the slim U-Net

{_files(findings)}
"""


def _amount(settings: Steel) -> str:
    each = (
        f"{settings.each_class} plates of each class" if settings.each_class else "as many of each class as there are"
    )
    return (
        f"it took 180 plates of each class and 720 clean ones, we {each}, and {settings.epochs} epochs (the report: 30)"
    )


_SHOWN = ["dice", "dice_marked", "dice_pooled", "iou", "accuracy"]


def _of_all_classes(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[table["class"] == "all", ["masks_of", *_SHOWN]]


def _by_class(table: pd.DataFrame) -> pd.DataFrame:
    slim = next((name for name in table["masks_of"] if name.startswith("slim")), "")
    rows = table[table["masks_of"].isin(["before", slim]) & (table["class"] != "all")]
    return rows[["masks_of", "class", "present", *_SHOWN]]


def _files(findings: Findings) -> str:
    table = findings.tables.get("exports")
    if table is None:
        return "None were written."
    return (
        "Bytes; frames a second at one thread; the share of pixels whose decision differs from Keras's, and the Dice "
        f"between the two masks.\n\n{markdown_table(table.assign(bytes=table['bytes'].round().astype(int)), 4)}"
    )


def beside_the_report(scores: pd.DataFrame) -> pd.DataFrame:
    """Our scores, then the report's and its benchmarks', one table."""
    rows: list[dict[str, Any]] = []
    for step, report in (("binary", published.BINARY), ("multiclass", published.MULTICLASS)):
        ours = scores[scores["step"] == step]
        rows += [{"source": "ours", **{str(name): value for name, value in row.items()}}
                 for row in ours.to_dict("records")]  # fmt: skip
        batch = 32 if step == "binary" else 16
        rows += [
            {"source": "report", "step": step, "batch": batch, "part": part, "activation": "sigmoid",
             "loss": one.loss, "accuracy": one.accuracy, "f1_m": one.f1, "precision_m": one.precision,
             "recall_m": one.recall}
            for part, one in report.items()
        ]  # fmt: skip
    rows += [
        {"source": name, "step": "segmentation", "batch": "-", "part": "-", "activation": "-", "loss": one["loss"],
         "f1_m": one["dice"]}
        for name, one in published.BENCHMARKS.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)
