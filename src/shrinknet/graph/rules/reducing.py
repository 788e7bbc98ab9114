"""Reducing: operations such as `ops.mean(x, axis=-1)`, taken over some of the channels only."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.ops import linalg as linalg_ops
from keras.src.ops import math as math_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Shape
from shrinknet.graph.rules.common import classes

NEUTRAL: dict[type, float] = {
    **dict.fromkeys(classes(numpy_ops, "Mean Sum Std Var"), 0.0),
    **dict.fromkeys(classes(numpy_ops, "Max Amax"), -np.inf),
    **dict.fromkeys(classes(numpy_ops, "Min Amin"), np.inf),
    **dict.fromkeys(classes(math_ops, "Logsumexp"), -np.inf),
    **dict.fromkeys(classes(linalg_ops, "Norm"), 0.0),
}
"""Operations over channels that can do without some of them -> the number that counts for nothing in them."""


def counts_channels(operation: Any, shape: Shape, dtype: Any) -> bool:
    """Whether an operation of `NEUTRAL` reduces the last axis of a tensor such that `reduced` can do it."""
    rank, axis = len(shape), operation.axis
    if axis is None or not keras.backend.is_float_dtype(keras.backend.standardize_dtype(dtype)):
        return False
    axes = {index % rank for index in np.atleast_1d(axis).tolist()}
    plain = getattr(operation, "initial", None) is None and getattr(operation, "ord", None) in (None, 1, 2)
    alone = len(axes) == 1 or not hasattr(operation, "ord")  # else it is the norm of a matrix
    return 0 not in axes and rank - 1 in axes and shape[-1] is not None and plain and alone


def reduced(operation: Any, x: Any, live: Any) -> Any:
    """What an operation gives for the channels that are live, the same bits as for `x` if all are.

    Args:
        operation: of `NEUTRAL`; x: a tensor; live: bool, shape (channels,), the last axis of `x`.
    """
    kind = type(operation).__name__
    if kind == "Mean":
        return live_mean(x, live, operation.axis, operation.keepdims)
    if kind in ("Var", "Std"):
        around = ops.square(x - live_mean(x, live, operation.axis, keepdims=True))
        variance = live_mean(around, live, operation.axis, operation.keepdims)
        return variance if kind == "Var" else ops.sqrt(variance)
    return operation(ops.where(live, x, ops.cast(NEUTRAL[type(operation)], x.dtype)))


def live_mean(x: Any, live: Any, axis: Any, keepdims: bool = True) -> Any:
    """The mean over axes, the last of which is the channel axis, of what is live; 0 where nothing is.

    `live`: bool, shape (channels,); or (groups, channels of a group), if the last two axes of `x` are these.
    """
    share = ops.mean(ops.cast(live, x.dtype), axis=-1, keepdims=True)
    total = ops.mean(ops.where(live, x, ops.zeros((), x.dtype)), axis=axis, keepdims=keepdims)
    return total / ops.where(share > 0, share, ops.ones((), x.dtype))
