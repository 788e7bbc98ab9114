"""Unpooling without weights, built from Keras operations: a model that uses it does not need shrinknet.

Bed of nails, max-unpooling and average-unpooling are the counterparts of strided selection, max-pooling and
average-pooling (Zeiler, Fergus, arXiv 1311.2901; Badrinarayanan et al., SegNet, arXiv 1511.00561). Channels are the
last axis and are processed independently, so that filters on both sides can be cut.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from shrinknet.errors import ModelError


def bed_of_nails(x: Any, size: int = 2) -> Any:
    """Puts each value at the upper left of a window of zeros.

    Args:
        x: (batch, height, width, channels); size: height and width of a window.

    Returns:
        (batch, height x size, width x size, channels).

    Raises:
        ModelError: height or width is undefined.
    """
    if None in x.shape[1:3]:
        raise ModelError(f"Expected a tensor of a fixed size, (batch, height, width, channels); received {x.shape}.")
    nail = ops.pad(ops.ones((1, 1, 1, 1)), ((0, 0), (0, size - 1), (0, size - 1), (0, 0)))
    return layers.UpSampling2D(size)(x) * ops.tile(nail, (1, *x.shape[1:3], 1))


def average_unpooling(x: Any, size: int = 2) -> Any:
    """Spreads each value evenly over its window, which sums to the value; shapes as in `bed_of_nails`."""
    return layers.UpSampling2D(size)(x) / size**2


def max_unpooling(x: Any, before: Any, size: int = 2) -> Any:
    """Puts each value where its window had its maximum before pooling, with zeros around it.

    If a window has several maxima, the value is put at each of them.

    Args:
        x: (batch, height, width, channels); before: the input of `MaxPooling2D(size)`, (batch, height x size,
            width x size, channels).
    """
    highest = layers.UpSampling2D(size)(layers.MaxPooling2D(size)(before))
    return layers.UpSampling2D(size)(x) * ops.cast(ops.equal(before, highest), x.dtype)
