"""Scores of classifiers in NumPy, with the averaging stated: over the whole set, over classes, and over batches.

The report's F1, precision and recall are means over batches (`batchwise`). They depend on the batch size and the order,
and are not the F1, precision and recall of the whole set (`whole`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from shrinknet.applications.steel.layout import CLASSES, NAMES
from shrinknet.errors import DataError, OptionError

_EPSILON = 1e-7  # Keras's: what the report's functions add to a denominator


def whole(truth: ArrayLike, probability: ArrayLike, threshold: float = 0.5) -> dict[str, float]:
    """Accuracy, precision, recall and F1 from the counts of the whole set ("micro").

    Args:
        truth: 0 or 1, shape (images,) or (images, classes).
        probability: in [0, 1], the same shape; above the threshold is positive.
        threshold: in (0, 1).

    Returns:
        accuracy, precision, recall and f1 in [0, 1]. With one output, accuracy is the share of right images; with
        several, of images whose largest output is the right one. A share of nothing is 0.

    Raises:
        DataError: the shapes differ.
    """
    wanted, found, outputs = _decided(truth, probability, threshold)
    right = wanted == found if wanted.shape[1] == 1 else (wanted.argmax(1) == outputs.argmax(1))[:, None]
    return {"accuracy": float(right.mean()), **_shares(*_counts(wanted, found))}


def batchwise(truth: ArrayLike, probability: ArrayLike, batch: int, threshold: float = 0.5) -> dict[str, float]:
    """Precision, recall and F1 as the report has them: of each batch, then the mean over batches.

    Args:
        truth, probability, threshold: see `whole`; in the order in which the batches are made.
        batch: images a batch, from 1; the last may be smaller and counts as much as the others.

    Raises:
        DataError: the shapes differ.
        OptionError: the batch is empty.
    """
    if batch < 1:
        raise OptionError(f"Expected a batch of at least 1 image; received {batch}.")
    wanted, found, _ = _decided(truth, probability, threshold)
    rows = []
    for start in range(0, len(wanted), batch):
        tp, fp, fn = _counts(wanted[start : start + batch], found[start : start + batch])
        precision, recall = tp / (tp + fp + _EPSILON), tp / (tp + fn + _EPSILON)
        rows.append((precision, recall, 2 * precision * recall / (precision + recall + _EPSILON)))
    return dict(zip(("precision", "recall", "f1"), np.mean(rows, axis=0).tolist(), strict=True))


def by_class(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[int] = (0, *CLASSES)) -> pd.DataFrame:
    """Precision, recall and F1 of each class, and their plain mean ("macro"), which counts rare classes as much.

    Args:
        truth, predicted: labels, shape (images,).
        labels: all that there can be; one that no image has is left out of the mean.

    Returns:
        class, its name, images, found (images given this label), precision, recall, f1; "macro" is the last row.

    Raises:
        DataError: the shapes differ.
    """
    wanted, found = np.asarray(truth), np.asarray(predicted)
    if wanted.shape != found.shape or wanted.ndim != 1 or not wanted.size:
        raise DataError(f"Expected labels of one shape (images,); received {wanted.shape} and {found.shape}.")
    rows = []
    for label in labels:
        tp, fp, fn = _counts(wanted == label, found == label)
        rows.append({"class": str(label), "name": NAMES.get(label, "clean"), "images": int(tp + fn),
                     "found": int(tp + fp), **_shares(tp, fp, fn)})  # fmt: skip
    table = pd.DataFrame(rows)
    macro = table.loc[table["images"] > 0, ["precision", "recall", "f1"]].mean()
    last = {
        "class": "macro",
        "name": "mean over classes",
        "images": len(wanted),
        "found": len(found),
        **macro.to_dict(),
    }
    return pd.DataFrame([*rows, last])


def confusion(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[int] = (0, *CLASSES)) -> pd.DataFrame:
    """How many images of each true class (row) were given each label (column)."""
    wanted, found = np.asarray(truth), np.asarray(predicted)
    table = pd.DataFrame(
        [[int(((wanted == row) & (found == column)).sum()) for column in labels] for row in labels],
        columns=[str(label) for label in labels],
    )
    table.insert(0, "class", [str(label) for label in labels])
    return table


def system_scores(truth: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Scores of the two steps as one: an image is right when it is found clean, or with its class.

    Args:
        truth, predicted: 0 for clean or the class, shape (images,).

    Returns:
        accuracy over all five answers; macro_f1, the mean F1 of the five; detected, the share of images with a defect
        that are found to have one, whichever; false_alarms, the share of clean images that are not found clean;
        named, the share of detected images whose class is right. A share of nothing is NaN.
    """
    wanted, found = np.asarray(truth), np.asarray(predicted)
    table = by_class(wanted, found)
    defect, detected = wanted > 0, (wanted > 0) & (found > 0)

    def share(values: np.ndarray) -> float:
        return float(values.mean()) if values.size else float("nan")

    return {
        "accuracy": share(wanted == found),
        "macro_f1": float(table["f1"].iloc[-1]),
        "detected": share(found[defect] > 0),
        "false_alarms": share(found[~defect] > 0),
        "named": share(wanted[detected] == found[detected]),
    }


def _decided(truth: ArrayLike, probability: ArrayLike, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and decisions as bool and outputs as numbers, each of shape (images, outputs)."""
    wanted, outputs = np.asarray(truth), np.asarray(probability, np.float64)
    if wanted.shape != outputs.shape or wanted.ndim not in (1, 2) or not wanted.size:
        raise DataError(
            "Expected truth and probabilities of one shape, (images,) or (images, classes); "
            f"received {wanted.shape} and {outputs.shape}."
        )
    shape = (len(wanted), -1)
    return wanted.reshape(shape) > 0.5, outputs.reshape(shape) > threshold, outputs.reshape(shape)


def _counts(wanted: np.ndarray, found: np.ndarray) -> tuple[float, float, float]:
    """True positives, false positives and false negatives."""
    tp = float(np.count_nonzero(wanted & found))
    return tp, float(np.count_nonzero(found)) - tp, float(np.count_nonzero(wanted)) - tp


def _shares(tp: float, fp: float, fn: float) -> dict[str, float]:
    return {
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
    }
