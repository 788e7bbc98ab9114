"""One small rule for each kind of operation: what its channels are, whom they hang together with, who reads them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from shrinknet.graph.calls import Call, Shape, rule

# Activations that treat each number by itself; softmax and its kin mix channels, and what we do not know may.
ELEMENTWISE = {
    getattr(keras.activations, name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid mish relu "
        "relu6 selu sigmoid silu softplus softsign soft_shrink sparse_plus squareplus tanh tanh_shrink threshold"
    ).split()
    if hasattr(keras.activations, name)
}


def unknown(call: Call) -> list[np.ndarray]:
    """An operation without a rule stops everything that goes in or comes out."""
    return call.opaque(f"it meets {call.kind} {call.path}, which has no rule")


def activated(call: Call, labels: np.ndarray, function: Any) -> list[np.ndarray]:
    """The labels of an output after the activation function of its layer."""
    if function is None or function in ELEMENTWISE or isinstance(function, layers.ReLU | layers.LeakyReLU | layers.ELU):
        return [labels]
    name = getattr(function, "__name__", type(function).__name__)
    mixes = "mixes its channels" if "softmax" in name else "has no rule"
    call.book.pins.append((labels.reshape(-1), f"the activation {name} of {call.path} {mixes}"))
    return [labels]


def _axis(layer: Any) -> int:
    return 1 if layer.data_format == "channels_first" else -1


def places(shape: Shape, axis: int) -> Shape:
    """The sizes of a tensor without the batch axis and the axis of channels."""
    return tuple(size for index, size in enumerate(shape) if index not in (0, axis % len(shape)))


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: Call) -> list[np.ndarray]:
    """Reads its input's channels, makes new ones; kernel: (kernel axes, channels in, filters)."""
    layer = call.operation
    if layer.groups != 1:
        return unknown(call)
    axis = _axis(layer)
    filters = call.produces(layer.filters, "filters")
    call.multiplies(layer.kernel, places(call.output_shapes[0], axis))
    call.reads(layer.kernel, -2, call.channels(0, axis))
    call.owns(layer.kernel, -1, filters)
    call.owns(layer.bias, -1, filters)
    return activated(call, call.spread(filters, axis), layer.activation)


@rule(layers.Dense)
def dense(call: Call) -> list[np.ndarray]:
    """Reads the last axis, makes new channels there; kernel: (channels in, units)."""
    layer = call.operation
    units = call.produces(layer.units, "units")
    call.multiplies(layer.kernel, places(call.output_shapes[0], -1))
    call.reads(layer.kernel, 0, call.channels(0))
    call.owns(layer.kernel, 1, units)
    call.owns(layer.bias, 0, units)
    return activated(call, call.spread(units), layer.activation)


@rule(layers.BatchNormalization)
def batch_normalization(call: Call) -> list[np.ndarray]:
    """One scale, offset and pair of statistics for each channel of its axis."""
    layer = call.operation
    channels = call.channels(0, layer.axis)
    for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        call.owns(variable, 0, channels)
    return [call.labels[0]]


@rule(
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Dropout, layers.GaussianNoise, layers.GaussianDropout,
    layers.AlphaDropout, layers.ActivityRegularization, layers.Identity,
    layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
)  # fmt: skip
def elementwise(call: Call) -> list[np.ndarray]:
    """Treats each number, or each channel, by itself."""
    return [call.labels[0]]


@rule(layers.Activation)
def activation(call: Call) -> list[np.ndarray]:
    """As its function does."""
    return activated(call, call.labels[0], call.operation.activation)


@rule(layers.Softmax)
def softmax(call: Call) -> list[np.ndarray]:
    """Divides by a sum: over channels it cannot be cut, over places it can."""
    axes = np.atleast_1d(call.operation.axis)
    if any(call.labels[0].shape[axis] > 1 or call.shapes[0][axis] is None for axis in axes):
        return call.opaque(f"the softmax {call.path} mixes its channels")
    return [call.labels[0]]


@rule(
    layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D,
    layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D,
    layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D,
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D,
    layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D,
)  # fmt: skip
def spatial(call: Call) -> list[np.ndarray]:
    """Mixes places, never channels."""
    axis = 1 if getattr(call.operation, "data_format", None) == "channels_first" else -1
    return [call.spread(call.channels(0, axis), axis)]


@rule(layers.Flatten)
def movement(call: Call) -> list[np.ndarray]:
    """Moves numbers without changing them: it is run on the labels themselves."""
    shape = call.shapes[0][1:]
    if None in shape:
        return call.opaque(f"it meets {call.kind} {call.path} with places whose number is unknown {shape}")
    labels = np.broadcast_to(call.labels[0], (1, *shape)).astype("int32")
    return [keras.ops.convert_to_numpy(call.operation.call(keras.ops.convert_to_tensor(labels))).astype(int)]
