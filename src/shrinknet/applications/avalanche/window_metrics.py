"""Intersection over union for window classifiers, at the best of several thresholds: the score that decides a cut."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

THRESHOLDS = 41
RANGE = 6.0  # greatest logit of the grid: a probability of 0.9975


@keras.saving.register_keras_serializable(package="shrinknet")
class BestIoU(keras.metrics.Metric):
    """Intersection over union of the marked class over all windows, at the threshold that is best for it.

    Networks are trained on half marked and half unmarked windows, so that a logit of 0 is not where they mark best. A
    score at a fixed threshold would therefore reward a cut that merely shifts the logits.

    Args:
        thresholds: how many, at equal distances between logits of -6 and 6.

    Example:
        >>> import numpy as np
        >>> score = BestIoU()
        >>> score.update_state(np.array([[1.0], [1.0], [0.0]]), np.array([[4.0], [2.0], [1.0]]))  # 2 > t >= 1 is right
        >>> float(score.result())
        1.0
    """

    def __init__(self, name: str = "iou", thresholds: int = THRESHOLDS, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.thresholds = thresholds
        self._direction = "up"
        self.hits = self.add_variable((thresholds,), "zeros", name="hits")
        self.marked = self.add_variable((thresholds,), "zeros", name="marked")
        self.wanted = self.add_variable((), "zeros", name="wanted")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds labels of 0 and 1 and logits, shape (windows, 1) each; `sample_weight` weighs the windows."""
        truth = ops.reshape(ops.cast(ops.convert_to_tensor(y_true) > 0.5, self.dtype), (-1, 1))
        logits = ops.reshape(ops.cast(y_pred, self.dtype), (-1, 1))
        grid = ops.cast(ops.linspace(-RANGE, RANGE, self.thresholds), self.dtype)
        found = ops.cast(logits > grid, self.dtype)
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
            found, truth_weight = found * weight, truth * weight
        else:
            truth_weight = truth
        self.hits.assign_add(ops.sum(found * truth, 0))
        self.marked.assign_add(ops.sum(found, 0))
        self.wanted.assign_add(ops.sum(truth_weight))

    def result(self) -> Any:
        """In [0, 1], higher is better; 0 where nothing is marked."""
        union = self.marked + self.wanted - self.hits
        return ops.max(self.hits / ops.maximum(union, keras.config.epsilon()))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.thresholds}
