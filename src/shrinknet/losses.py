"""Soft F1 for Keras, as a loss and as a metric; `metrics.py` has the NumPy version."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shrinknet.errors import DataError
from shrinknet.metrics import BLANK


def soft_f1_errors(y_true: Any, y_pred: Any) -> Any:
    """The soft F1 error of each image, E / (E + 2 TP), which is one minus its soft F1 score.

    E is the sum of absolute differences, TP the sum of products. Two blank images agree: their error and its gradient
    are 0. If an output without an activation is negative, TP is clipped at zero.

    Args:
        y_true: edge maps, shape (images, ...), values in [0, 1].
        y_pred: outputs of the same shape, 0 or more.

    Returns:
        An error for each image, shape (images,), in [0, 1], lower is better.

    Raises:
        DataError: the shapes differ and would be broadcast silently.
    """
    _check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
    axes = tuple(range(1, len(y_pred.shape)))
    difference = ops.sum(ops.abs(y_pred - y_true), axis=axes)
    hits = ops.sum(y_pred * y_true, axis=axes)
    total = difference + 2 * ops.where(hits < 0, 0, hits)
    blank = total < BLANK
    # the inner `where` keeps the gradient of the division finite; with the outer one alone it would be that of 0 / 0
    return ops.where(blank, 0, difference / ops.where(blank, 1, total))


def _check_shapes(truth: tuple[int | None, ...], output: tuple[int | None, ...]) -> None:
    same_rank = len(truth) == len(output)
    if not same_rank or any(a != b for a, b in zip(truth, output, strict=True) if a is not None and b is not None):
        raise DataError(
            f"Soft F1 compares images with images: expected y_true and y_pred of the same shape, received {truth} and "
            f"{output}; reshape the targets to the shape of the model's output."
        )


@keras.saving.register_keras_serializable(package="shrinknet")
class SoftF1Loss(keras.losses.Loss):
    """Soft F1 as a loss: E / (E + 2 TP) for each image, then the mean over images; in [0, 1], lower is better.

    For continuous outputs of 0 or more against edge maps in [0, 1]. An image without edges and an output without
    edges have loss 0.

    Example:
        >>> import numpy as np
        >>> edges = np.array([[[0.0, 1.0], [0.0, 1.0]]], "float32")
        >>> print(float(SoftF1Loss()(edges, edges / 2)))  # E = 1, TP = 1
        0.3333333432674408
    """

    def __init__(self, name: str = "soft_f1_loss", **options: Any) -> None:
        super().__init__(name=name, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, shape (images,)."""
        return soft_f1_errors(y_true, y_pred)


@keras.saving.register_keras_serializable(package="shrinknet")
class SoftF1(keras.metrics.Mean):
    """Soft F1 score, 2 TP / (2 TP + E) for each image, averaged over all images seen; in [0, 1], higher is better.

    `sample_weight` weighs the images, shape (images,).
    """

    def __init__(self, name: str = "soft_f1", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of images, shape (images, ...)."""
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        super().update_state(1 - soft_f1_errors(y_true, y_pred), sample_weight)
