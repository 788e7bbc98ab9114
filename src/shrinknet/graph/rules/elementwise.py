"""Elementwise operations: each number by itself, or several tensors position by position, which ties their channels."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.activations import activations
from keras.src.ops import core as core_ops
from keras.src.ops import math as math_ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import classes, mixing


@rule(
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.GaussianNoise, layers.GaussianDropout,
    layers.AlphaDropout, layers.ActivityRegularization, layers.Identity,
    layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    *classes(nn_ops, "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus "
              "LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu TanhShrink HardTanh HardShrink Threshold"),
    *classes(numpy_ops, "Absolute Abs Fabs Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Cbrt Ceil Copy Cos Cosh "
              "Deg2rad Exp Exp2 Expm1 Floor Isfinite Isinf Isnan Log Log10 Log1p Log2 LogicalNot NanToNum Negative "
              "OnesLike Rad2deg Reciprocal Round Sign Signbit Sin Sinc Sinh Sqrt Square Tan Tanh Trunc ZerosLike"),
    *classes(core_ops, "Cast SaturateCast StopGradient"),
    activations.ReLU,  # what keras.activations.relu records
    *classes(math_ops, "Rsqrt Erf Erfc Erfinv"),
    pointwise=True,
)  # fmt: skip
def unary(call: Call) -> list[np.ndarray]:
    """Works on each number, or each channel, by itself."""
    return [call.labels[0]]


@rule(layers.Dropout, pointwise=True)
def dropout(call: Call) -> list[np.ndarray]:
    """Each number by itself, or shared along axes; a `noise_shape` that fixes the number of channels rules out cuts."""
    sizes = call.operation.noise_shape or ()
    if any(size not in (None, 1) and count > 1 for size, count in zip(sizes, call.labels[0].shape, strict=False)):
        return call.opaque(f"the noise_shape of {call.path} fixes the number of channels")
    return [call.labels[0]]


@rule(numpy_ops.Clip)
def clip(call: Call) -> list[np.ndarray]:
    """Clips to two numbers; with bounds per channel, nothing can be cut."""
    if np.ndim(call.operation.x_min) or np.ndim(call.operation.x_max):
        return call.opaque(f"{call.path} has bounds of its own for each channel")
    return [call.labels[0]]


@rule(layers.Activation, pointwise=True)
def activation(call: Call) -> list[np.ndarray]:
    """Treated as its activation function is."""
    reason = mixing(call.operation.activation)
    return call.opaque(f"the activation {reason.format(call.path)}") if reason else [call.labels[0]]


@rule(layers.Softmax, nn_ops.Softmax, nn_ops.LogSoftmax)
def softmax(call: Call) -> list[np.ndarray]:
    """Divides by a sum: if that runs over channels nothing can be cut, if over positions it can."""
    rank = len(call.shapes[0])
    axes = range(rank) if call.operation.axis is None else np.atleast_1d(call.operation.axis) % rank
    if any(call.labels[0].shape[axis] > 1 or axis in (0, rank - 1) for axis in axes):
        return call.opaque(f"the softmax {call.path} mixes its channels")
    return [call.labels[0]]


@rule(layers.Rescaling)
def rescaling(call: Call) -> list[np.ndarray]:
    """One factor and offset for all numbers; with constants per channel, nothing can be cut."""
    if np.ndim(call.operation.scale) or np.ndim(call.operation.offset):
        return call.opaque(f"{call.path} has constants of its own for each channel")
    return [call.labels[0]]


@rule(layers.Normalization)
def normalization(call: Call) -> list[np.ndarray]:
    """Constants per channel, or one for all. The layer is meant for model inputs, which are never cut."""
    if not call.operation.axis:
        return [call.labels[0]]
    return call.opaque(f"{call.path} has constants of its own for each channel")


@rule(
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum,
    *classes(numpy_ops, "Add Subtract Multiply Divide DivideNoNan TrueDivide Maximum Minimum Power Where Equal "
              "NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalXor Logaddexp Logaddexp2 Fmax "
              "Fmin Mod Fmod FloorDivide Arctan2 Hypot Isclose"),
)  # fmt: skip
def tied(call: Call) -> list[np.ndarray]:
    """Combined position by position: channels that are added together are cut together."""
    return [call.tied()]
