"""Masks for Keras: Dice, intersection over union and pixel accuracy as metrics, and losses to train with."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shrinknet.errors import DataError, OptionError

LOSSES = ("bce", "dice", "both")
_PLANE = (1, 2)  # height and width


class _MaskMetric(keras.metrics.Mean):
    """The mean of a score over masks, one for each image and class; outputs above the threshold are foreground.

    Args:
        threshold: in (0, 1).
        blank: True: a blank mask that is predicted blank scores 1, as in the Severstal competition; False: it does not
            count, so that the many blank masks do not hide the others.
    """

    def __init__(self, name: str, threshold: float = 0.5, blank: bool = True, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold, self.blank = threshold, blank
        self._direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of masks, shape (images, height, width, classes); `sample_weight` weighs the images."""
        check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        truth = ops.cast(ops.convert_to_tensor(y_true) > 0.5, self.dtype)
        found = ops.cast(ops.convert_to_tensor(y_pred) > self.threshold, self.dtype)
        hits, both = ops.sum(truth * found, _PLANE), ops.sum(truth, _PLANE) + ops.sum(found, _PLANE)
        empty = both == 0
        values = ops.where(empty, ops.ones_like(both), self.score(hits, ops.where(empty, ops.ones_like(both), both)))
        weights = ops.ones_like(values) if self.blank else ops.cast(~empty, self.dtype)
        if sample_weight is not None:
            weights = weights * ops.cast(ops.reshape(sample_weight, (-1, 1)), self.dtype)
        super().update_state(values, weights)

    def score(self, hits: Any, both: Any) -> Any:
        """The score of masks that are not both blank, from TP and from the sum of the two areas."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold, "blank": self.blank}


@keras.saving.register_keras_serializable(package="shrinknet")
class MaskDice(_MaskMetric):
    """Dice, 2 TP / (area + area), of each image and class, averaged; in [0, 1], higher is better.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[[[1.0], [1.0]], [[0.0], [0.0]]]])
        >>> round(float(MaskDice()(truth, truth * [[[1.0], [0.0]]])), 4)  # TP = 1, areas 2 and 1
        0.6667
    """

    def __init__(self, name: str = "dice", threshold: float = 0.5, blank: bool = True, dtype: Any = None) -> None:
        super().__init__(name, threshold, blank, dtype)

    def score(self, hits: Any, both: Any) -> Any:
        return 2 * hits / both


@keras.saving.register_keras_serializable(package="shrinknet")
class MaskIoU(_MaskMetric):
    """Intersection over union of each image and class, averaged; in [0, 1], higher is better."""

    def __init__(self, name: str = "iou", threshold: float = 0.5, blank: bool = True, dtype: Any = None) -> None:
        super().__init__(name, threshold, blank, dtype)

    def score(self, hits: Any, both: Any) -> Any:
        return hits / (both - hits)


@keras.saving.register_keras_serializable(package="shrinknet")
class PixelAccuracy(keras.metrics.Mean):
    """The share of pixels that are right, over all classes and images; in [0, 1], higher is better."""

    def __init__(self, name: str = "pixel_accuracy", threshold: float = 0.5, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.threshold = threshold
        self._direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of masks, shape (images, height, width, classes); `sample_weight` weighs the images."""
        check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        right = (ops.convert_to_tensor(y_true) > 0.5) == (ops.convert_to_tensor(y_pred) > self.threshold)
        super().update_state(ops.mean(ops.cast(right, self.dtype), (1, 2, 3)), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="shrinknet")
class DiceLoss(keras.losses.Loss):
    """One minus the soft Dice of what is marked, plus the false alarms on blank masks; in [0, 2], lower is better.

    Dice is (2 TP + 1) / (area + area + 1), with TP the sum of products, and areas the sums of truth and output over all
    images of the batch; it is averaged over the classes that the batch has. A blank mask of an image costs
    S / (S + alarm), with S the sum of its squared outputs; that is averaged over blank masks.

    Dice image by image would reward outputs of 0 on blank masks, which are most: a network would learn first to mark
    nothing, with outputs so close to 0 that hardly a gradient is left. Squares (arXiv:1606.04797) cost a pixel that is
    marked by mistake as much, and outputs near 0 next to nothing.

    Args:
        alarm: pixels marked on a blank mask that cost one half, above 0.
    """

    def __init__(self, alarm: float = 100.0, name: str = "dice_loss", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.alarm = alarm

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch of masks, shape (images, height, width, classes), as a scalar."""
        check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        areas, alarms = ops.sum(y_true, _PLANE), ops.sum(ops.square(y_pred), _PLANE)
        area, hits = ops.sum(areas, 0), ops.sum(y_true * y_pred, (0, *_PLANE))
        missed = 1 - (2 * hits + 1) / (area + ops.sum(y_pred, (0, *_PLANE)) + 1)
        return _mean_where(area > 0, missed) + _mean_where(areas == 0, alarms / (alarms + self.alarm))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alarm": self.alarm}


def _mean_where(chosen: Any, values: Any) -> Any:
    """The mean of the chosen values; 0 if there are none."""
    weights = ops.cast(chosen, values.dtype)
    return ops.sum(weights * values) / ops.maximum(ops.sum(weights), 1)


@keras.saving.register_keras_serializable(package="shrinknet")
class CrossEntropyDiceLoss(DiceLoss):
    """`DiceLoss` plus weighted binary cross-entropy, which says of every pixel how likely it is marked.

    Args:
        alarm: see `DiceLoss`.
        entropy: weight of the cross-entropy. It is a mean over all pixels, so that its gradient at a pixel is much
            smaller than that of the Dice.
    """

    def __init__(
        self, alarm: float = 100.0, entropy: float = 5.0, name: str = "cross_entropy_dice_loss", **options: Any
    ) -> None:
        super().__init__(alarm=alarm, name=name, **options)
        self.entropy = entropy

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of a batch, as a scalar."""
        entropy = ops.mean(keras.losses.binary_crossentropy(y_true, y_pred))
        return super().call(y_true, y_pred) + self.entropy * entropy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "entropy": self.entropy}


def mask_loss(name: str) -> Any:
    """A loss for masks by its name: "bce", "dice" or "both".

    Raises:
        OptionError: there is no such loss.
    """
    made = {"bce": lambda: keras.losses.BinaryCrossentropy(), "dice": DiceLoss, "both": CrossEntropyDiceLoss}
    if name not in made:
        raise OptionError(f"There is no loss {name!r} for masks; expected one of {', '.join(LOSSES)}.")
    return made[name]()


def check_shapes(truth: tuple[int | None, ...], output: tuple[int | None, ...]) -> None:
    """Refuses masks whose shapes differ and would be broadcast in silence.

    Raises:
        DataError: they do.
    """
    same_rank = len(truth) == len(output)
    if not same_rank or any(a != b for a, b in zip(truth, output, strict=True) if a is not None and b is not None):
        raise DataError(
            "Masks are compared with masks: expected truth and output of one shape (images, height, width, classes), "
            f"received {truth} and {output}."
        )
