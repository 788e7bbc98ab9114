"""How well masks agree, in NumPy: Dice, intersection over union and pixel accuracy, image by image.

With TP, FP, FN and TN the pixels of one mask: Dice is 2 TP / (2 TP + FP + FN), intersection over union
TP / (TP + FP + FN), pixel accuracy (TP + TN) / all. Two blank masks agree: they score 1, as in the Severstal
competition. Because most masks are blank, that alone gives a high mean; `present` says which masks are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from shrinknet.errors import DataError

SCORES = ("dice", "iou", "accuracy")


def mask_scores(
    output: ArrayLike, truth: ArrayLike, *, names: Sequence[str] | None = None, classes: Sequence[str | int] = ()
) -> pd.DataFrame:
    """A row for each image and class.

    Args:
        output: predicted masks, shape (images, height, width, classes), 0 or 1.
        truth: true masks of the same shape.
        names: of the images; None: their numbers, from 0.
        classes: their names; none: numbers, from 1.

    Returns:
        image, class; tp, fp, fn, tn in pixels; dice, iou and accuracy in [0, 1], higher is better; present: whether
        the true mask has a pixel.

    Raises:
        DataError: the shapes differ, or a value is neither 0 nor 1.
    """
    found, wanted = _masks(output, truth)
    images, height, width, channels = found.shape
    axes = (1, 2)
    tp = np.count_nonzero(found & wanted, axes)
    fp = np.count_nonzero(found, axes) - tp
    fn = np.count_nonzero(wanted, axes) - tp
    tn = height * width - tp - fp - fn
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    table = pd.DataFrame({name: count.ravel() for name, count in counts.items()})
    table.insert(0, "image", np.repeat(list(names) if names is not None else range(images), channels))
    table.insert(1, "class", np.tile(list(classes) or range(1, channels + 1), images))
    return with_scores(table)


def mask_agreement(expected: ArrayLike, received: ArrayLike, threshold: float = 0.5) -> float:
    """Dice between two networks' masks, of all pixels together: 1 if both mark the same, or nothing.

    Args:
        expected, received: probabilities of one shape, (images, height, width, classes).
        threshold: a pixel of greater probability is marked.
    """
    one, other = np.asarray(expected) > threshold, np.asarray(received) > threshold
    both = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / both if both else 1.0


def with_scores(counts: pd.DataFrame) -> pd.DataFrame:
    """The table with dice, iou, accuracy and present added, from its columns tp, fp, fn and tn."""
    tp, fp, fn, tn = (counts[name].to_numpy(float) for name in ("tp", "fp", "fn", "tn"))
    union = tp + fp + fn
    blank = union == 0
    safe = np.where(blank, 1, union)
    return counts.assign(
        dice=np.where(blank, 1.0, 2 * tp / (safe + tp)),
        iou=np.where(blank, 1.0, tp / safe),
        accuracy=(tp + tn) / (union + tn),
        present=(tp + fn) > 0,
    )


def mean_and_spread(scores: pd.DataFrame, by: str | None = "class") -> pd.DataFrame:
    """Mean and standard deviation of the scores over masks, for each class and for all.

    Args:
        scores: of `mask_scores`.
        by: the column that makes the rows; None: one row for all.

    Returns:
        The first column names the row, "all" last; masks, their number; dice, dice_std, iou, iou_std, accuracy,
        accuracy_std; present, the number of true masks that are not blank, and dice_present, the mean Dice over those;
        dice_marked, the mean Dice over masks that are not blank on both sides, so that false alarms count as 0;
        dice_pooled, Dice of all pixels together.
    """
    groups = [] if by is None else [(str(key), rows) for key, rows in scores.groupby(by, sort=False)]
    return pd.DataFrame([_summary(name, rows, by or "rows") for name, rows in [*groups, ("all", scores)]])


def _summary(name: str, rows: pd.DataFrame, label: str) -> dict[str, object]:
    present, hits = rows[rows["present"]], float(rows["tp"].sum())
    total = 2 * hits + float(rows["fp"].sum()) + float(rows["fn"].sum())
    summary: dict[str, object] = {label: name, "masks": len(rows)}
    for score in SCORES:
        summary[score] = float(rows[score].mean())
        summary[f"{score}_std"] = float(rows[score].std(ddof=1)) if len(rows) > 1 else float("nan")
    summary["present"] = len(present)
    summary["dice_present"] = float(present["dice"].mean()) if len(present) else float("nan")
    marked = rows.loc[rows["tp"] + rows["fp"] + rows["fn"] > 0, "dice"]
    summary["dice_marked"] = float(marked.mean()) if len(marked) else float("nan")
    summary["dice_pooled"] = 2 * hits / total if total else 1.0
    return summary


def _masks(output: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    found, wanted = np.asarray(output), np.asarray(truth)
    if found.shape != wanted.shape or found.ndim != 4:
        raise DataError(
            "Expected predicted and true masks of one shape (images, height, width, classes); "
            f"received {found.shape} and {wanted.shape}."
        )
    for what, masks in (("predicted", found), ("true", wanted)):
        if masks.dtype != bool and not np.array_equal(masks, masks != 0):
            raise DataError(
                f"Expected {what} masks of 0 and 1; received values from {masks.min()} to {masks.max()}: compare with "
                "a threshold first, as in masks > 0.5."
            )
    return found.astype(bool), wanted.astype(bool)
