"""Readers: multiply the channels of their input by a kernel and produce new channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import layers

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import activated, channel_axis, einsum_size, places


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D, reads=[("kernel", -2)], count="filters")
def convolution(call: Call) -> list[np.ndarray]:
    """Kernel: (kernel axes, channels in / groups, filters)."""
    layer, axis = call.operation, channel_axis(call.operation)
    inputs = call.channels(0, axis)
    filters = call.produces(layer.filters, "filters")
    call.multiplies(layer.kernel, places(call.output_shapes[0], axis))
    if layer.groups == 1:
        call.reads(layer.kernel, -2, inputs)
    else:
        _tie_groups(call, inputs, filters)
    call.owns(layer.kernel, -1, filters)
    call.owns(layer.bias, -1, filters)
    return activated(call, call.spread(filters, axis), layer.activation)


def _tie_groups(call: Call, inputs: np.ndarray, filters: np.ndarray) -> None:
    """A grouped convolution loses whole groups, or the same position in every group: whichever ties fewer channels.

    With as many groups as channels (depthwise), a group is one channel with its filters.
    """
    layer = call.operation
    inputs, filters = inputs.reshape(layer.groups, -1), filters.reshape(layer.groups, -1)
    if layer.groups <= inputs.shape[1]:
        call.book.tie(inputs, inputs[:1])
        call.book.tie(filters, filters[:1])
        call.reads(layer.kernel, -2, inputs[0])
    else:
        call.book.tie(inputs, inputs[:, :1])
        call.book.tie(filters, inputs[:, :1])
        call.counts("groups", inputs[:, 0])


@rule(
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose, reads=[("kernel", -1)], count="filters"
)  # fmt: skip
def transposed_convolution(call: Call) -> list[np.ndarray]:
    """Kernel: (kernel axes, filters, channels in)."""
    layer, axis = call.operation, channel_axis(call.operation)
    filters = call.produces(layer.filters, "filters")
    # Counted as in TensorFlow's profiler: an output position uses 1 / prod(strides) of the kernel, at borders too.
    call.multiplies(layer.kernel, places(call.output_shapes[0], axis), 1 / math.prod(layer.strides))
    call.reads(layer.kernel, -1, call.channels(0, axis))
    call.owns(layer.kernel, -2, filters)
    call.owns(layer.bias, -1, filters)
    return activated(call, call.spread(filters, axis), layer.activation)


@rule(layers.SeparableConv1D, layers.SeparableConv2D, reads=[("pointwise_kernel", -2)], count="filters")
def separable_convolution(call: Call) -> list[np.ndarray]:
    """Depthwise kernel: (kernel axes, channels in, multiplier); pointwise: (1s, channels in x multiplier, filters)."""
    layer, axis = call.operation, channel_axis(call.operation)
    inputs = call.channels(0, axis)
    filters = call.produces(layer.filters, "filters")
    for kernel in (layer.depthwise_kernel, layer.pointwise_kernel):
        call.multiplies(kernel, places(call.output_shapes[0], axis))
    call.owns(layer.depthwise_kernel, -2, inputs)
    call.reads(layer.pointwise_kernel, -2, np.repeat(inputs, layer.depth_multiplier))
    call.owns(layer.pointwise_kernel, -1, filters)
    call.owns(layer.bias, -1, filters)
    return activated(call, call.spread(filters, axis), layer.activation)


@rule(layers.Dense, reads=[("kernel", 0)], count="units")
def dense(call: Call) -> list[np.ndarray]:
    """Works on the last axis; kernel: (channels in, units)."""
    layer = call.operation
    units = call.produces(layer.units, "units")
    call.multiplies(layer.kernel, places(call.output_shapes[0], -1))
    call.reads(layer.kernel, 0, call.channels(0))
    call.owns(layer.kernel, 1, units)
    call.owns(layer.bias, 0, units)
    return activated(call, call.spread(units), layer.activation)


@rule(layers.Embedding, count="output_dim")
def embedding(call: Call) -> list[np.ndarray]:
    """Embeddings: (tokens, dimensions); each token has one vector, and its dimensions are the filters."""
    numbers = call.produces(call.operation.output_dim, "output_dim")
    call.owns(call.operation.embeddings, 1, numbers)
    return [call.spread(numbers)]


CELLS = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)


def input_cells(layer: Any) -> list[Any]:
    """The cells of a recurrent layer that read its inputs: one, or one for each direction."""
    if hasattr(layer, "forward_layer"):
        return [*input_cells(layer.forward_layer), *input_cells(layer.backward_layer)]
    cell = getattr(layer, "cell", None)
    return [cell.cells[0] if isinstance(cell, layers.StackedRNNCells) else cell]


def _all_cells(layer: Any) -> list[Any]:
    """Every cell of a recurrent layer: those that are stacked, and those of both directions."""
    if hasattr(layer, "forward_layer"):
        return [*_all_cells(layer.forward_layer), *_all_cells(layer.backward_layer)]
    cell = layer.cell
    return list(cell.cells) if isinstance(cell, layers.StackedRNNCells) else [cell]


@rule(layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN, reads=[("input_kernel", 0)])
@rule(layers.Bidirectional, reads=[("input_kernel", 0), ("backward_kernel", 0)])
@rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, reads=[("input_kernel", -2)])
def recurrent(call: Call) -> list[np.ndarray]:
    """The cell's input kernel, (kernel axes, channels in, units x gates), reads the inputs; its own channels are fed
    back.
    """
    layer, cells = call.operation, input_cells(call.operation)
    reason = f"the recurrent layer {call.path} feeds its channels back into itself"
    convolves = isinstance(layer, (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D))
    if not convolves and not all(type(cell) in CELLS for cell in cells):
        return call.opaque(f"the recurrent layer {call.path} has a cell for which there is no rule")
    for index in range(1, len(call.labels)):
        call.pin(index, reason)  # initial states passed as inputs
    channels = call.channels(0, 2 if convolves and channel_axis(layer) == 1 else -1)
    steps, result = call.shapes[0][1], call.output_shapes[0]
    if convolves:
        result = result[1:] if layer.return_sequences else result
        steps_and_places = (steps, *places(result, channel_axis(layer)))
    for cell in cells:
        call.reads(cell.kernel, -2 if convolves else 0, channels)
    every = _all_cells(layer)
    is_known = convolves or all(type(cell) in CELLS for cell in every)
    for cell in every if is_known else ():  # else it is said that they are not counted
        for kernel in (cell.kernel, cell.recurrent_kernel):
            call.multiplies(kernel, steps_and_places if convolves else (steps,))
    return [call.book.pinned(reason, len(shape)) for shape in call.output_shapes]


@rule(layers.EinsumDense, reads=[("kernel", 0)])
def einsum_dense(call: Call) -> list[np.ndarray]:
    """Reads the last axis of its input if the kernel's first axis runs over it; its own outputs are never cut."""
    layer = call.operation
    left, _, output = layer.equation.replace(" ", "").replace("...", "").partition("->")
    inputs, kernel = left.split(",")
    if kernel[0] != inputs[-1] or kernel[0] in output or inputs.count(kernel[0]) != 1:
        return call.opaque(f"{call.path} does not contract the last axis of its input with the first of its kernel")
    call.reads(layer.kernel, 0, call.channels(0))
    is_open = None in call.shapes[0][1:]
    uses = None if is_open else einsum_size(layer.equation, [call.shapes[0], tuple(layer.kernel.shape)])
    call.multiplies(layer.kernel, (uses,), 1 / math.prod(layer.kernel.shape))
    return [call.book.pinned(f"EinsumDense {call.path} produces it", len(shape)) for shape in call.output_shapes]
