"""Layers of dense networks: reflected borders, pooling with stride one and dilation, and stacking into channels."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shrinknet.errors import OptionError

POOLINGS = ("max", "average")


@keras.saving.register_keras_serializable(package="shrinknet")
class ReflectedBorders(keras.layers.Layer):
    """Pads images by reflection; the border pixel is not repeated.

    An image smaller than the padding is mirrored several times.

    Args:
        before: rows added above and columns added on the left; behind: below and on the right.
    """

    def __init__(self, before: tuple[int, int], behind: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.before, self.behind = tuple(before), tuple(behind)

    def call(self, images: Any) -> Any:
        """Images of shape (images, height, width, channels), larger by what is added."""
        for axis in (1, 2):
            size = ops.shape(images)[axis]
            places = ops.arange(-self.before[axis - 1], size + self.behind[axis - 1])
            period = ops.maximum(2 * (size - 1), 1)
            folded = ops.mod(places, period)
            images = ops.take(images, ops.where(folded < size, folded, period - folded), axis=axis)
        return images

    def compute_output_spec(self, images: Any) -> Any:
        sizes = [None if size is None else size + self.before[axis] + self.behind[axis]
                 for axis, size in enumerate(images.shape[1:3])]  # fmt: skip
        return keras.KerasTensor((images.shape[0], *sizes, images.shape[3]), images.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "before": self.before, "behind": self.behind}


@keras.saving.register_keras_serializable(package="shrinknet")
class SlidingPool(keras.layers.Layer):
    """The maximum or average over `size` values that lie `step` pixels apart, at every pixel.

    It shifts and combines rows, then columns: `size` operations an axis, whatever the step is.

    Args:
        size: rows and columns of values; step: pixels between them.
        pooling: "max" or "average".
    """

    def __init__(self, size: tuple[int, int], step: tuple[int, int], pooling: str = "max", **options: Any) -> None:
        super().__init__(**options)
        if pooling not in POOLINGS:
            raise OptionError(f"Expected one of {', '.join(POOLINGS)}; received {pooling!r}.")
        self.size, self.step, self.pooling = tuple(size), tuple(step), pooling

    def call(self, images: Any) -> Any:
        """Images of shape (images, height, width, channels), smaller by (size - 1) * step."""
        combine = ops.maximum if self.pooling == "max" else ops.add
        for axis in (1, 2):
            size, step = self.size[axis - 1], self.step[axis - 1]
            pooled = images
            for number in range(size):
                shifted = _part(images, axis, number * step, (size - 1 - number) * step)
                pooled = shifted if number == 0 else combine(pooled, shifted)
            images = pooled if self.pooling == "max" or size == 1 else pooled / size
        return images

    def compute_output_spec(self, images: Any) -> Any:
        sizes = [None if size is None else size - (self.size[axis] - 1) * self.step[axis]
                 for axis, size in enumerate(images.shape[1:3])]  # fmt: skip
        return keras.KerasTensor((images.shape[0], *sizes, images.shape[3]), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "step": self.step, "pooling": self.pooling}


@keras.saving.register_keras_serializable(package="shrinknet")
class SideBySide(keras.layers.Layer):
    """Values that lie `step` pixels apart as channels of one pixel: row by row, the channels of each together.

    Args:
        size: rows and columns of values; step: pixels between them.
    """

    def __init__(self, size: tuple[int, int], step: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.size, self.step = tuple(size), tuple(step)

    def call(self, images: Any) -> Any:
        """Images of shape (images, height, width, channels) with size[0] * size[1] times as many channels."""
        parts = []
        for row in range(self.size[0]):
            band = _part(images, 1, row * self.step[0], (self.size[0] - 1 - row) * self.step[0])
            for column in range(self.size[1]):
                parts.append(_part(band, 2, column * self.step[1], (self.size[1] - 1 - column) * self.step[1]))
        return ops.concatenate(parts, axis=-1)

    def compute_output_spec(self, images: Any) -> Any:
        sizes = [None if size is None else size - (self.size[axis] - 1) * self.step[axis]
                 for axis, size in enumerate(images.shape[1:3])]  # fmt: skip
        channels = images.shape[3] * self.size[0] * self.size[1]
        return keras.KerasTensor((images.shape[0], *sizes, channels), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "step": self.step}


def _part(images: Any, axis: int, before: int, behind: int) -> Any:
    """Images without the first and the last rows (axis 1) or columns (axis 2)."""
    kept = slice(before, -behind if behind else None)
    return images[:, kept] if axis == 1 else images[:, :, kept]
