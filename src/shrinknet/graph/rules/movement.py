"""Movements: numbers change position, not value; the operation is run on the labels themselves."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from keras.src.ops import core as core_ops
from keras.src.ops import nn as nn_ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule

OPEN = 4  # stands in for an unknown size while labels are moved


def run_on(call: Call, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The operation's outputs for these int arrays, one for each input tensor, each with a batch axis of 1."""
    tensors = [keras.ops.convert_to_tensor(array.astype("int32")) for array in arrays]
    known = {id(tensor): value for tensor, value in zip(call.arguments.keras_tensors, tensors, strict=True)}
    arguments, keywords = call.arguments.fill_in(known)
    outputs = call.operation.call(*arguments, **keywords)
    return [keras.ops.convert_to_numpy(output).astype(int) for output in keras.tree.flatten(outputs)]


def full(labels: np.ndarray, shape: Any) -> np.ndarray:
    """Labels broadcast to every position of a tensor; the batch is 1, unknown sizes are `OPEN`."""
    return np.broadcast_to(labels, (1, *(OPEN if size is None else size for size in shape[1:])))


def collapse(labels: np.ndarray) -> np.ndarray:
    """The labels with size 1 on every axis along which they do not change."""
    for axis in range(labels.ndim):
        first = np.take(labels, [0], axis)
        if labels.shape[axis] > 1 and (labels == first).all():
            labels = first
    return labels


@rule(
    layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector,
    numpy_ops.Reshape, numpy_ops.Transpose, numpy_ops.Moveaxis, numpy_ops.Swapaxes, numpy_ops.Squeeze,
    numpy_ops.ExpandDims, numpy_ops.GetItem, numpy_ops.Split, numpy_ops.Ravel, numpy_ops.Repeat,
    numpy_ops.Tile, numpy_ops.Flip, numpy_ops.Roll, numpy_ops.Take,
    core_ops.Unstack, core_ops.Slice, nn_ops.DepthToSpace, nn_ops.SpaceToDepth,
    moves=True,
)  # fmt: skip
def movement(call: Call) -> list[np.ndarray]:
    """Every output number is one of the input numbers, so every output label is one of the input labels."""
    if len(call.labels) != 1:
        return call.opaque(f"{call.kind} {call.path} moves numbers to positions given by another tensor")
    labels = full(call.labels[0], call.shapes[0])
    samples = np.concatenate([labels, labels + call.book.size])  # a second sample, to detect mixing across samples
    try:
        outputs = run_on(call, [samples])
    except Exception as error:
        return call.opaque(f"{call.kind} {call.path} cannot be followed ({str(error).splitlines()[0][:80]})")
    for index, (output, shape) in enumerate(zip(outputs, call.output_shapes, strict=True)):
        apart = output.shape[0] == 2 and output.ndim == len(shape) and shape[0] == call.shapes[0][0]
        if not apart or (output[1] != output[0] + call.book.size).any() or (output[0] >= call.book.size).any():
            return call.opaque(f"{call.kind} {call.path} mixes samples")
        outputs[index] = collapse(output[:1])
        if any(size is None and count > 1 for size, count in zip(shape, outputs[index].shape, strict=True)):
            return call.opaque(f"{call.kind} {call.path} spreads channels over an axis of unknown size")
    call.book.moves[call.path, call.number] = call
    return outputs


@rule(layers.Concatenate, numpy_ops.Concatenate)
def concatenation(call: Call) -> list[np.ndarray]:
    """Channels follow each other; joined along another axis, channels at the same index are tied.

    The channels of a constant are never cut.
    """
    rank = len(call.output_shapes[0])
    axis = call.operation.axis % rank
    known, given = iter(zip(call.labels, call.shapes, strict=True)), call.arguments.args or call.arguments.kwargs
    parts = []
    for leaf in keras.tree.flatten(given):
        if isinstance(leaf, keras.KerasTensor):
            parts.append(next(known))
        elif np.ndim(leaf) == rank:
            parts.append((call.book.pinned(f"it is joined with a constant in {call.path}", rank), np.shape(leaf)))
    if any(shape[axis] is None for _, shape in parts):
        if all(labels.shape[axis] == 1 for labels in call.labels) and len(parts) == len(call.labels):
            return [call.tied()]
        return call.opaque(f"{call.path} joins parts of unknown size")
    sizes = list(np.broadcast_shapes(*(np.delete(labels.shape, axis) for labels, _ in parts)))
    spread = [np.broadcast_to(labels, (*sizes[:axis], shape[axis], *sizes[axis:])) for labels, shape in parts]
    return [call.book.settle(collapse(np.concatenate(spread, axis)))]


@rule(numpy_ops.Stack)
def stack(call: Call) -> list[np.ndarray]:
    """Stacked along a new axis: channels at the same index are tied."""
    if len(call.labels) != len(keras.tree.flatten(call.arguments.args or call.arguments.kwargs)):
        return call.opaque(f"{call.path} stacks constants")
    first, *others = np.broadcast_arrays(*call.labels)
    for labels in others:
        call.book.tie(first, labels)
    return [np.expand_dims(first, call.operation.axis)]
