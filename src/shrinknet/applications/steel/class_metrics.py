"""F1, precision and recall for Keras: over all images, and the report's means over batches."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class _Counts(keras.metrics.Metric):
    """Counts true positives, false positives and false negatives over all outputs above 0.5."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        self.counts = [self.add_variable((), "zeros", name=part) for part in ("tp", "fp", "fn")]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch, shape (images, outputs); every image weighs the same."""
        for variable, count in zip(self.counts, _counts(y_true, y_pred, self.dtype), strict=True):
            variable.assign(variable + count)


@keras.saving.register_keras_serializable(package="shrinknet")
class WholeF1(_Counts):
    """F1 of all images and outputs seen, 2 TP / (2 TP + FP + FN); in [0, 1], higher is better; 0 for nothing."""

    def __init__(self, name: str = "f1", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> Any:
        tp, fp, fn = (variable.value for variable in self.counts)
        total = 2 * tp + fp + fn
        return ops.where(total > 0, 2 * tp / ops.where(total > 0, total, 1), 0)


class _BatchMean(keras.metrics.Mean):
    """The mean of the scores of single batches, like the report's `f1_score_m`; an incomplete batch counts
    as much as a whole one.
    """

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch, shape (images, outputs)."""
        tp, fp, fn = _counts(y_true, y_pred, self.dtype)
        epsilon = keras.config.epsilon()
        super().update_state(self.score(tp / (tp + fp + epsilon), tp / (tp + fn + epsilon), epsilon))

    def score(self, precision: Any, recall: Any, epsilon: float) -> Any:
        """What is averaged."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="shrinknet")
class BatchwiseF1(_BatchMean):
    """The report's F1: of each batch, then the mean over batches."""

    def __init__(self, name: str = "f1_score_m", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def score(self, precision: Any, recall: Any, epsilon: float) -> Any:
        return 2 * precision * recall / (precision + recall + epsilon)


@keras.saving.register_keras_serializable(package="shrinknet")
class BatchwisePrecision(_BatchMean):
    """The report's precision: of each batch, then the mean over batches."""

    def __init__(self, name: str = "precision_m", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def score(self, precision: Any, recall: Any, epsilon: float) -> Any:
        return precision


@keras.saving.register_keras_serializable(package="shrinknet")
class BatchwiseRecall(_BatchMean):
    """The report's recall: of each batch, then the mean over batches."""

    def __init__(self, name: str = "recall_m", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def score(self, precision: Any, recall: Any, epsilon: float) -> Any:
        return recall


def _counts(y_true: Any, y_pred: Any, dtype: Any) -> tuple[Any, Any, Any]:
    wanted = ops.cast(ops.convert_to_tensor(y_true) > 0.5, dtype)
    found = ops.cast(ops.convert_to_tensor(y_pred) > 0.5, dtype)
    tp = ops.sum(wanted * found)
    return tp, ops.sum(found) - tp, ops.sum(wanted) - tp
