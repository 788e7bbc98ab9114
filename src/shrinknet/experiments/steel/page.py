"""The page of the experiment `steel`: ours beside the report's and its benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from shrinknet.applications.steel import published
from shrinknet.experiments.frame import Findings, Frames, markdown_claims, markdown_table

if TYPE_CHECKING:
    from shrinknet.experiments.steel.settings import Steel


def page(settings: Steel, frames: Frames, findings: Findings) -> str:
    """The verdicts, figures 16 to 19 reproduced, segmentation, and shrinking."""
    sections = (
        _introduction(settings, frames, findings),
        _classifier(findings.tables),
        _segmentation(findings.tables, frames),
        _shrinking(findings.tables),
    )
    return "\n\n".join(sections) + "\n"


def _introduction(settings: Steel, frames: Frames, findings: Findings) -> str:
    repetitions = frames["histories"]["repetition"].nunique()
    height, width = settings.size
    return f"""# Steel plates: classified, outlined, and by a smaller network

{repetitions} repetition{"s" if repetitions > 1 else ""}, each with its own split and initial weights.
{" ".join(findings.notes)}

The report is R. Terra, *Severstal Image Classification*, 2020. Its classifiers take plates of 256 x 512 pixels, ours
{height} x {width}. {_amount(settings)}

## Verdicts

{markdown_claims(findings.claims, "the report (or the aim)")}

Brackets are 95 % bootstrap intervals over repetitions."""


def _classifier(tables: Frames) -> str:
    """Figures 16 to 19, and the two steps as one system."""
    return f"""## The two-step classifier

### Loss and F1 over the epochs (figures 16 and 18)

One repetition, at the batch size that the report found best:

![binary model](figure-16.png)

![multiclass model](figure-18.png)

Validation F1 at each batch size, mean and range over repetitions:

![binary model, batch sizes](figure-16-batches.png)

![multiclass model, batch sizes](figure-18-batches.png)

### Scores (figures 17 and 19)

`f1`, `precision` and `recall` are computed over the whole set (micro-averaged). `_m` marks the report's own average:
the mean of the values of each batch. Rows of the `report` are what it prints. B1 and B2 are the benchmarks that it
compares its F1 with, although their numbers are Dice scores of a segmentation, which is another task.

{markdown_table(beside_the_report(tables["classifier-scores"]), 3)}

With four sigmoids and categorical cross-entropy, Keras computes the loss from the softmax of the logits. Both
activations therefore share their weights, loss and accuracy; they differ in which outputs exceed one half.

### The two steps as one

{markdown_table(tables["system"], 3)}

`accuracy` is over five answers: clean, or one of four classes. `detected` is the share of defective plates that are
found; `false_alarms` the share of clean plates that are called defective; `named` the share of detected plates that get
the right class. The confusion matrix, summed over repetitions; rows are the true classes, 0 is clean:

{markdown_table(tables["confusion-sums"], 0)}"""


def _segmentation(tables: Frames, frames: Frames) -> str:
    return f"""## Segmentation

![history of the U-Net](unet-history.png)

Dice, IoU and pixel accuracy on test plates: means over plates and classes, then over repetitions. `dice` counts a blank
mask that is predicted blank as 1, as the competition does; `dice_marked` leaves those out; `dice_pooled` pools all
pixels. On the real plates, B1 reports a Dice of 0.8 and B2 one of 0.7.

A speck on a clean plate counts as much as a defect that was missed. The masks are therefore scored without small
regions, as `shrinknet predict steel --least` writes them. For each class, the least size is the one with the best Dice
of the uncut network on validation plates; it is the same for all networks of a repetition: {_least(frames)}.

{markdown_table(_of_all_classes(tables["segmentation"], cleaned=True), 3)}

With every region that the networks mark:

{markdown_table(_of_all_classes(tables["segmentation"], cleaned=False), 3)}

By class, before shrinking and for the slim network:

{markdown_table(_by_class(tables["segmentation"]), 3)}"""


def _shrinking(tables: Frames) -> str:
    return f"""## Shrinking

The control is the uncut network, trained for as many steps as the slim one. `filters`, `parameters` and `multiply_adds`
are the shares that are left. `frames_before` and `frames_after` are plates a second in LiteRT, on one thread, one
plate at a time. Scores are those of test plates, which no decision saw: F1 for classifiers, and for the U-Net
`dice_marked` with every region that it marks, by which cuts are decided. Without small regions they are in the tables
above, and in the verdicts.

{markdown_table(tables["table"], 3)}

![score and cost](score-cost.png)

### Exported files of the slim U-Net

{_files(tables)}"""


def _amount(settings: Steel) -> str:
    each = f"{settings.each_class} plates" if settings.each_class else "as many plates as the rarest class has"
    return (f"The report trains on 180 plates of each class and 720 clean ones for 30 epochs; here it is {each} of "
            f"each\nclass and {settings.epochs} epochs.")  # fmt: skip


_SHOWN = ["dice", "dice_marked", "dice_pooled", "iou", "accuracy"]


def _of_all_classes(table: pd.DataFrame, cleaned: bool) -> pd.DataFrame:
    return table.loc[(table["class"] == "all") & (table["cleaned"] == cleaned), ["masks_of", *_SHOWN]]


def _least(frames: Frames) -> str:
    """The least sizes of each repetition, in pixels of the network's masks."""
    masks = frames["masks"]
    rows = masks[masks["cleaned"]].drop_duplicates("repetition")
    sizes = zip(rows["repetition"], rows["least"].astype(str), strict=True)
    return "; ".join(f"{', '.join(size.split())} pixels in repetition {number}" for number, size in sizes)


def _by_class(table: pd.DataFrame) -> pd.DataFrame:
    slim = next((name for name in table["masks_of"] if name.startswith("slim")), "")
    rows = table[table["masks_of"].isin(["before", slim]) & (table["class"] != "all") & table["cleaned"]]
    return rows[["masks_of", "class", "present", *_SHOWN]]


def _files(tables: Frames) -> str:
    table = tables.get("exports")
    if table is None:
        return "None were written."
    return (
        "File size in bytes, frames a second on one thread, the share of pixels that are decided differently than in "
        "Keras,\nand the Dice between the masks of the file and those of Keras.\n\n"
        + markdown_table(table.assign(bytes=table["bytes"].round().astype(int)), 4)
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
