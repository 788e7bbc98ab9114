"""Readers: layers that multiply channels by a kernel, seen as linear regressions with one row for each output place.

A row holds what the kernel's taps read at that place: its columns are (taps, channels in). A grouped convolution is
one regression for each of its groups, a depthwise one a regression for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph import Call, ChannelGraph
from shrinknet.graph.rules.common import channel_axis
from shrinknet.network.assembling import plain_class
from shrinknet.repair.places import TRANSPOSED, places
from shrinknet.repair.program import Program, Step

_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
KINDS = (
    layers.Conv1D, layers.Conv2D, layers.Conv3D, *TRANSPOSED, *_DEPTHWISE, *_SEPARABLE, layers.Dense,
)  # fmt: skip
"""The layers that can be repaired. A subclass may compute something else, so it is left alone."""


@dataclass(frozen=True, eq=False)
class Reader:
    """One layer that can be repaired.

    Attributes:
        path, layer: the layer and its name; in a nested model the path.
        steps: its calls, in network order.
        kernel: the variable that multiplies channels; of a separable convolution the pointwise one.
        reads: the channel of the graph that each column reads, int, shape (groups, columns).
        makes: the channel of the graph that each output is, int, shape (groups, outputs).
        inputs: the channel of the graph of each position on the channel axis of the layer's input, int.
        gated: whether disabling a channel makes this layer count it as 0: not where it treats each channel by itself.
        norm: the batch normalization that alone takes the layer's output; its moving mean can stand in for a bias that
            the layer does not have. None where there is none.
        rectified: whether nothing but a ReLU takes the output, once it was normalized and added to what is `beside`.
        beside: numbers of the tensors that the layer's output, normalized, is added to; empty where it is not.
        repairable: whether rows times matrix are all that becomes of the input.
    """

    path: str
    layer: Any
    steps: tuple[Step, ...]
    kernel: Any
    reads: np.ndarray
    makes: np.ndarray
    inputs: np.ndarray
    gated: bool
    norm: Any
    beside: tuple[int, ...]
    rectified: bool
    repairable: bool = True

    known_outputs: ClassVar[bool] = True  # whether rows times matrix are its outputs before the activation function

    @property
    def kind(self) -> type:
        """The plain Keras class of the layer."""
        return plain_class(type(self.layer))

    @property
    def has_bias(self) -> bool:
        """Whether the layer adds a constant to each output."""
        return bool(self.layer.use_bias)

    def constants(self) -> np.ndarray:
        """The bias, float32, shape (groups, outputs); zeros where the layer has none."""
        if not self.has_bias:
            return np.zeros(self.makes.shape, "float32")
        return ops.convert_to_numpy(ops.cast(self.layer.bias, "float32")).reshape(self.makes.shape)

    def set_constants(self, constants: np.ndarray) -> None:
        """Sets the bias."""
        self.layer.bias.assign(constants.reshape(self.layer.bias.shape))

    def matrix(self) -> np.ndarray:
        """The kernel as it stands, float32, shape (groups, columns, outputs)."""
        kernel = ops.convert_to_numpy(ops.cast(self.kernel, "float32"))
        if self.kind in TRANSPOSED:
            kernel = kernel.swapaxes(-1, -2)
        kernel = kernel.reshape(-1, *kernel.shape[-2:])  # (taps, channels in, outputs)
        if self.kind in _DEPTHWISE:
            return kernel.transpose(1, 0, 2)
        groups = len(self.reads)
        kernel = kernel.reshape(*kernel.shape[:2], groups, -1)
        return kernel.transpose(2, 0, 1, 3).reshape(groups, -1, kernel.shape[-1])

    def assign(self, matrix: np.ndarray) -> None:
        """Sets the kernel to one of the shape that `matrix()` gives."""
        shape = list(self.kernel.shape)
        if self.kind in TRANSPOSED:
            shape[-1], shape[-2] = shape[-2], shape[-1]
        if self.kind in _DEPTHWISE:
            kernel = matrix.transpose(1, 0, 2)
        else:
            groups, _, outputs = matrix.shape
            kernel = matrix.reshape(groups, -1, shape[-2], outputs).transpose(1, 2, 0, 3)
        kernel = kernel.reshape(shape)
        self.kernel.assign(kernel.swapaxes(-1, -2) if self.kind in TRANSPOSED else kernel)

    def fields(self, tensor: Any) -> np.ndarray:
        """An input tensor as the kernel meets it, float32, shape (samples, places, channels)."""
        layer = self.layer
        if self.kind in _SEPARABLE:
            size, rank = self.reads.shape[1], len(layer.kernel_size)
            eye = np.eye(size, dtype="float32").reshape(*[1] * rank, size, size)
            tensor = ops.separable_conv(
                ops.cast(tensor, "float32"),
                ops.cast(layer.depthwise_kernel, "float32"),
                eye,
                strides=layer.strides,
                padding=layer.padding,
                dilation_rate=layer.dilation_rate,
                data_format=layer.data_format,
            )
        return self.by_channel(ops.convert_to_numpy(ops.cast(tensor, "float32")))

    def by_channel(self, array: np.ndarray) -> np.ndarray:
        """An input or output of the layer with its axes as (samples, places, channels)."""
        array = np.moveaxis(array, self._axis, -1)
        return array.reshape(array.shape[0], -1, array.shape[-1])

    def table(self, tensor: Any) -> np.ndarray | None:
        """The place in `fields` that each tap reads, or -1 for padding, int, shape (places of the output, taps).

        None: each place of the output reads the place of the same number.
        """
        if self.kind is layers.Dense or self.kind in _SEPARABLE:
            return None
        axis = self._axis % len(tensor.shape)
        sizes = tuple(int(size) for index, size in enumerate(tensor.shape) if index not in (0, axis))
        return places(self.layer, sizes)

    def rows(self, fields: np.ndarray, table: np.ndarray | None, images: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The rows of the regressions at these places of the output, float32, shape (groups, rows, columns).

        Args:
            fields, table: of the chunk.
            images, at: int, shape (rows,): the sample in the chunk and the place of the output.
        """
        if table is None:
            return fields[images, at][np.newaxis]
        taps = table[at]  # (rows, taps)
        found = fields[images[:, np.newaxis], taps]  # (rows, taps, channels)
        found[taps < 0] = 0
        groups = len(self.reads)
        if groups == 1:
            return found.reshape(1, len(found), -1)
        found = found.reshape(*found.shape[:2], groups, -1)
        return np.ascontiguousarray(found.transpose(2, 0, 1, 3)).reshape(groups, len(found), -1)

    def sums(self, terms: Sequence[Any], images: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The sum of tensors of the shape of the layer's output at these places, shape (groups, rows, outputs)."""
        total = sum(self.by_channel(ops.convert_to_numpy(ops.cast(term, "float32")))[images, at] for term in terms)
        groups, outputs = self.makes.shape
        return np.asarray(total).reshape(len(at), groups, outputs).swapaxes(0, 1)

    @property
    def _axis(self) -> int:
        return -1 if self.kind is layers.Dense else channel_axis(self.layer)


def regressions(graph: ChannelGraph, program: Program) -> tuple[Reader, ...]:
    """The dense layers and convolutions of a network, in network order."""
    calls = {(call.path, call.number): call for call in graph.calls}
    return tuple(
        _reader(graph, program, tuple(made), calls[path, 0])
        for path, made in program.by_path.items()
        if plain_class(type(made[0].operation)) in KINDS
    )


def _reader(graph: ChannelGraph, program: Program, steps: tuple[Step, ...], call: Call) -> Reader:
    layer, path = steps[0].operation, steps[0].path
    kind = plain_class(type(layer))
    inputs = _channels(graph, call, -1 if kind is layers.Dense else channel_axis(layer))
    if kind in _DEPTHWISE:
        makes = np.repeat(inputs[:, np.newaxis], layer.depth_multiplier, axis=1)
        reads = np.repeat(inputs[:, np.newaxis], np.prod(layer.kernel_size), axis=1)
    elif kind in _SEPARABLE:
        reads, makes = np.repeat(inputs, layer.depth_multiplier)[np.newaxis], graph.producers[path][np.newaxis]
    else:
        groups = getattr(layer, "groups", 1)
        taps = 1 if kind is layers.Dense else int(np.prod(layer.kernel_size))
        reads, makes = np.tile(inputs.reshape(groups, -1), (1, taps)), graph.producers[path].reshape(groups, -1)
    kernel = layer.pointwise_kernel if kind in _SEPARABLE else layer.kernel
    gated = any(weight.variable is kernel and not weight.owned for weight in graph.weights)
    norm = following_norm(program, path)
    beside, rectified = _fate(program, steps, norm)
    return Reader(path, layer, steps, kernel, reads, makes, inputs, gated, norm, beside, rectified)


def _channels(graph: ChannelGraph, call: Call, axis: int) -> np.ndarray:
    """The channel of each position along an axis of the call's input."""
    labels, count = call.labels[0], call.shapes[0][axis]
    along = labels.reshape(-1) if labels.size == labels.shape[axis] else labels.flat[:1]
    return np.broadcast_to(graph.solved[along], (count or along.size,))


def following_norm(program: Program, path: str) -> Any:
    """The batch normalization that alone takes what a layer returns, channel by channel; None where there is none."""
    steps = [step for step in program.steps if step.path == path]
    slot = steps[0].gives[0]
    takers = program.consumers.get(slot, ())
    if len(steps) != 1 or len(takers) != 1 or slot in program.outputs:
        return None
    layer, norm = steps[0].operation, takers[0].operation
    alone = sum(step.operation is norm for step in program.steps) == 1
    linear = getattr(layer, "activation", None) in (None, keras.activations.linear)
    if plain_class(type(norm)) is not layers.BatchNormalization or not alone or not linear:
        return None
    axis = -1 if plain_class(type(layer)) is layers.Dense else channel_axis(layer)
    rank = len(steps[0].arguments.keras_tensors[0].shape)
    return norm if norm.axis % rank == axis % rank else None


_HANDED_ON = (layers.BatchNormalization, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D)


def _fate(program: Program, steps: tuple[Step, ...], norm: Any) -> tuple[tuple[int, ...], bool]:
    """What the output of a layer is added to, once it was normalized; and whether nothing but a ReLU takes it then."""
    activation = getattr(steps[0].operation, "activation", None)
    if activation is keras.activations.relu:
        return (), True
    if len(steps) != 1 or activation not in (None, keras.activations.linear):
        return (), False
    slot = steps[0].gives[0]
    beside: tuple[int, ...] = ()
    while True:
        takers = program.consumers.get(slot, ())
        if len(takers) != 1 or slot in program.outputs:
            return beside, False
        taker, kind = takers[0], plain_class(type(takers[0].operation))
        if kind in (layers.Add, numpy_ops.Add) and not beside:
            others = tuple(one for one in taker.takes if one != slot)
            alike = len({tuple(tensor.shape) for tensor in taker.arguments.keras_tensors}) == 1
            if not alike or len(others) != len(taker.takes) - 1:
                return (), False
            beside = others
        elif kind not in _HANDED_ON or (kind is layers.BatchNormalization and (taker.operation is not norm or beside)):
            return beside, _is_relu(taker.operation)
        slot = taker.gives[0]


def _is_relu(operation: Any) -> bool:
    kind = plain_class(type(operation))
    if kind is layers.ReLU:
        return operation.max_value is None and not operation.negative_slope and not operation.threshold
    return kind is nn_ops.Relu or (kind is layers.Activation and operation.activation is keras.activations.relu)
