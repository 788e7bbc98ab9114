"""How well the outlines of masks agree: the F1 score of their boundaries, within a tolerance.

Precision is the share of the predicted boundary that lies at most so many pixels from the true one, recall the share of
the true boundary that lies so near to the predicted one; F1 is their harmonic mean (the boundary measure of DAVIS,
Perazzi et al., CVPR 2016). It tells what intersection over union hides: a large region with a frayed border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.cleaning import checked_mask
from shrinknet.imaging.mask_scores import mask_scores


def boundary(mask: ArrayLike) -> np.ndarray:
    """Marked pixels with an unmarked neighbour above, below, left or right; shape (height, width), bool.

    The border of the image is no boundary: what lies beyond it is unknown.
    """
    values = checked_mask(mask).astype(bool)
    padded = np.pad(values, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return values & ~inner


def boundary_f1(output: ArrayLike, truth: ArrayLike, tolerance: float = 2.0) -> float:
    """The F1 score of two boundaries, in [0, 1], higher is better; 1 where neither mask has one, 0 where one has none.

    Args:
        output, truth: masks, shape (height, width), 0 or 1.
        tolerance: pixels that a boundary may be off, from 0.

    Raises:
        DataError: the shapes differ; OptionError: the tolerance is negative.
    """
    from scipy.ndimage import distance_transform_edt

    if tolerance < 0:
        raise OptionError(f"Expected a tolerance of 0 pixels or more; received {tolerance}.")
    if np.shape(output) != np.shape(truth):
        raise DataError(f"Expected masks of one shape; received {np.shape(output)} and {np.shape(truth)}.")
    found, wanted = boundary(output), boundary(truth)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = float((distance_transform_edt(~wanted)[found] <= tolerance).mean())
    recall = float((distance_transform_edt(~found)[wanted] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline_scores(
    outputs: Sequence[ArrayLike], truths: Sequence[ArrayLike], names: Sequence[str], tolerance: float = 2.0
) -> pd.DataFrame:
    """A row for each image, whose sizes may differ.

    Args:
        outputs, truths: masks, shape (height, width) each, 0 or 1.
        names: of the images.
        tolerance: see `boundary_f1`.

    Returns:
        image; tp, fp, fn and tn in pixels; accuracy, iou, f1 (the same as Dice) and boundary_f1 in [0, 1], higher is
        better. Two blank masks agree and score 1.

    Raises:
        DataError: the shapes differ, or there is not one mask for each name.
    """
    rows = []
    for output, truth, name in zip(outputs, truths, names, strict=True):
        one, other = checked_mask(output), checked_mask(truth)
        if one.shape != other.shape:
            raise DataError(f"The masks of {name} have the shapes {one.shape} and {other.shape}; expected the same.")
        table = mask_scores(one[None, ..., None], other[None, ..., None], names=[name])
        table = table.rename(columns={"dice": "f1"})[["image", "tp", "fp", "fn", "tn", "accuracy", "iou", "f1"]]
        rows.append(table.assign(boundary_f1=boundary_f1(one, other, tolerance)))
    if not rows:
        raise DataError("Expected masks to compare; received none.")
    return pd.concat(rows, ignore_index=True)


def mean_and_spread_of(
    scores: pd.DataFrame, columns: Sequence[str] = ("accuracy", "iou", "f1", "boundary_f1")
) -> pd.DataFrame:
    """Mean and standard deviation of scores over images: score, mean, spread (of a sample), images."""
    rows = [
        (name, float(scores[name].mean()), float(scores[name].std(ddof=1)) if len(scores) > 1 else float("nan"),
         len(scores))
        for name in columns
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["score", "mean", "spread", "images"])
