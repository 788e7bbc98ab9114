"""Elementwise: each number by itself, or several tensors place by place, which ties their channels."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.ops import core as core_ops
from keras.src.ops import math as math_ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import activated


def _classes(module: object, names: str) -> list[type]:
    return [getattr(module, name) for name in names.split() if hasattr(module, name)]


@rule(
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Dropout, layers.GaussianNoise, layers.GaussianDropout,
    layers.AlphaDropout, layers.ActivityRegularization, layers.Identity,
    layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    *_classes(nn_ops, "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus "
              "LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu TanhShrink HardTanh HardShrink Threshold"),
    *_classes(numpy_ops, "Absolute Arcsinh Arctan Ceil Clip Copy Cos Cosh Exp Exp2 Expm1 Floor Log Log10 Log1p Log2 "
              "LogicalNot NanToNum Negative Reciprocal Round Sign Sin Sinh Sqrt Square Tan Tanh Trunc"),
    *_classes(core_ops, "Cast SaturateCast StopGradient"),
    *_classes(math_ops, "Rsqrt Erf"),
)  # fmt: skip
def unary(call: Call) -> list[np.ndarray]:
    """Treats each number, or each channel, by itself."""
    return [call.labels[0]]


@rule(layers.Activation)
def activation(call: Call) -> list[np.ndarray]:
    """As its function does."""
    return activated(call, call.labels[0], call.operation.activation)


@rule(layers.Softmax, nn_ops.Softmax, nn_ops.LogSoftmax)
def softmax(call: Call) -> list[np.ndarray]:
    """Divides by a sum: over channels it cannot be cut, over places it can."""
    axes = np.atleast_1d(-1 if call.operation.axis is None else call.operation.axis)
    if any(call.labels[0].shape[axis] > 1 or axis in (-1, len(call.shapes[0]) - 1) for axis in axes):
        return call.opaque(f"the softmax {call.path} mixes its channels")
    return [call.labels[0]]


@rule(layers.Rescaling)
def rescaling(call: Call) -> list[np.ndarray]:
    """One factor and offset for all numbers; with one for each channel only what is never cut passes."""
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset):
        return call.opaque(f"{call.path} has constants of its own for each channel")
    return [call.labels[0]]


@rule(layers.Normalization)
def normalization(call: Call) -> list[np.ndarray]:
    """Constants of its own for each channel: meant for model inputs, which are never cut."""
    return call.opaque(f"{call.path} has constants of its own for each channel")


@rule(
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum,
    *_classes(numpy_ops, "Add Subtract Multiply Divide DivideNoNan TrueDivide Maximum Minimum Power Where Equal "
              "NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr Logaddexp Fmax Fmin"),
)  # fmt: skip
def tied(call: Call) -> list[np.ndarray]:
    """Place by place: the channels that meet stay or go together."""
    return [call.tied()]
