"""Spatial operations: they mix positions, not channels; and those that reduce positions or channels."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.ops import image as image_ops
from keras.src.ops import linalg as linalg_ops
from keras.src.ops import math as math_ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import channel_axis, classes
from shrinknet.graph.rules.reducing import NEUTRAL, counts_channels

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


@rule(
    *classes(numpy_ops, "Mean Sum Prod Max Min Amax Amin Std Var Median Any All"), math_ops.Logsumexp, linalg_ops.Norm
)
def reduction(call: Call) -> list[np.ndarray]:
    """Over positions it is a pooling; over channels, it is of the enabled ones where `NEUTRAL` knows how."""
    rank = len(call.shapes[0])
    axis = call.operation.axis
    axes = {index % rank for index in (range(rank) if axis is None else np.atleast_1d(axis).tolist())}
    kind = getattr(type(call.operation), "plain_class", type(call.operation))
    counted = kind in NEUTRAL and counts_channels(call.operation, call.shapes[0], call.arguments.keras_tensors[0].dtype)
    if counted and max(call.labels[0].shape[:-1]) == 1:
        call.averages(call.channels(0), needs_one=True)
        return [np.zeros((1,) * len(call.output_shapes[0]), int)]
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
