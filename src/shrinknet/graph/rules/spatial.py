"""Spatial operations: they mix positions, never channels."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.ops import image as image_ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import channel_axis, classes

_NAMES = """MaxPooling{n}D AveragePooling{n}D ZeroPadding{n}D Cropping{n}D UpSampling{n}D GlobalMaxPooling{n}D
GlobalAveragePooling{n}D AdaptiveAveragePooling{n}D AdaptiveMaxPooling{n}D"""
POOLING = classes(layers, " ".join(_NAMES.format(n=n) for n in (1, 2, 3)))


@rule(*POOLING, layers.Resizing)
def pooling(call: Call) -> list[np.ndarray]:
    """Pooling, padding, cropping, up-sampling: every channel is treated the same way."""
    axis = channel_axis(call.operation)
    return [call.spread(call.channels(0, axis), axis)]


@rule(nn_ops.MaxPool, nn_ops.AveragePool, nn_ops.AdaptiveMaxPool, nn_ops.AdaptiveAveragePool, image_ops.Resize)
def pooling_operation(call: Call) -> list[np.ndarray]:
    """The same, as a bare operation."""
    return list(pooling(call))


@rule(*classes(numpy_ops, "Mean Sum Prod Max Min Amax Amin Std Var Median Any All"))
def reduction(call: Call) -> list[np.ndarray]:
    """Over positions it is a pooling; over channels nothing can be cut exactly."""
    rank = len(call.shapes[0])
    axis = call.operation.axis
    axes = {index % rank for index in (range(rank) if axis is None else np.atleast_1d(axis).tolist())}
    if 0 in axes or any(call.labels[0].shape[index] > 1 for index in axes) or rank - 1 in axes:
        return call.opaque(f"the reduction {call.path} runs over its channels")
    if call.operation.keepdims:
        return [call.labels[0]]
    return [np.squeeze(call.labels[0], tuple(axes))]


@rule(numpy_ops.Pad)
def pad(call: Call) -> list[np.ndarray]:
    """Spatial padding; padding that adds channels is refused."""
    rank = len(call.shapes[0])
    widths = np.broadcast_to(np.asarray(call.operation.pad_width), (rank, 2))
    if any(
        widths[index].any() and (call.labels[0].shape[index] > 1 or index in (0, rank - 1)) for index in range(rank)
    ):
        return call.opaque(f"{call.path} adds channels by padding")
    return [call.labels[0]]
