"""Projections: the other layers that read channels, such as recurrent ones and those of the user's own rules.

At each place of the input the channels are multiplied by one matrix. For Keras's recurrent cells and for EinsumDense
that is all that becomes of the input, so they are repaired like a dense layer. For any other layer it is how much it
minds each channel, which is what a ranking asks for: its kernel's taps count as outputs of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import layers, ops

from shrinknet.graph import Call, ChannelGraph
from shrinknet.graph.channels import Weight
from shrinknet.graph.rules.readers import CELLS, input_cells
from shrinknet.layers.reductions import Reduction
from shrinknet.network.assembling import plain_class
from shrinknet.repair.program import Program, Step
from shrinknet.repair.readers import KINDS, Reader, regressions

_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN, layers.Bidirectional)


@dataclass(frozen=True, eq=False)
class Projection(Reader):
    """A layer that is no dense layer or convolution, and reads channels; or an operation that reduces them.

    Attributes:
        parts: the kernels, each with the axis along which it reads.
        shifts: the variables that add a constant to each column of the matrix, in its order; GRU's has two rows, the
            first of which belongs to the input.
        along: the axis of the input that holds its channels.
    """

    parts: tuple[Weight, ...] = ()
    shifts: tuple[Any, ...] = ()
    along: int = -1

    known_outputs: ClassVar[bool] = False

    def matrix(self) -> np.ndarray:
        """The kernels as they stand, side by side, float32, shape (1, channels, outputs); ones for a reduction."""
        if not self.parts:
            return np.ones((*self.reads.shape, 1), "float32")
        return np.concatenate([self._flat(part) for part in self.parts], axis=1)[np.newaxis]

    def assign(self, matrix: np.ndarray) -> None:
        """Sets the kernels."""
        first = 0
        for part, width in zip(self.parts, self._widths, strict=True):
            shape = np.moveaxis(np.empty(part.variable.shape, "bool"), part.axis, 0).shape
            part.variable.assign(np.moveaxis(matrix[0, :, first : first + width].reshape(shape), 0, part.axis))
            first += width

    @property
    def _widths(self) -> list[int]:
        """How many columns of the matrix each kernel has."""
        return [int(np.prod(part.variable.shape)) // len(part.channels) for part in self.parts]

    def _flat(self, part: Weight) -> np.ndarray:
        kernel = np.moveaxis(ops.convert_to_numpy(ops.cast(part.variable, "float32")), part.axis, 0)
        return kernel.reshape(len(kernel), -1)

    @property
    def has_bias(self) -> bool:
        """Whether a constant can be added to each output."""
        return bool(self.shifts)

    def constants(self) -> np.ndarray:
        """What is added to each output, float32, shape (1, outputs)."""
        if not self.shifts:
            return np.zeros(self.makes.shape, "float32")
        arrays = [ops.convert_to_numpy(ops.cast(shift, "float32")).reshape(-1) for shift in self.shifts]
        return np.concatenate([array[:width] for array, width in zip(arrays, self._widths, strict=True)])[np.newaxis]

    def set_constants(self, constants: np.ndarray) -> None:
        """Sets them."""
        first = 0
        for shift, width in zip(self.shifts, self._widths, strict=True):
            value = np.array(ops.convert_to_numpy(ops.cast(shift, "float32")))
            value.reshape(-1)[:width] = constants[0, first : first + width]
            shift.assign(value)
            first += width

    def fields(self, tensor: Any) -> np.ndarray:
        """An input tensor, float32, shape (samples, places, channels)."""
        return self.by_channel(ops.convert_to_numpy(ops.cast(tensor, "float32")))

    def table(self, tensor: Any) -> None:
        """Each row reads one place."""

    @property
    def _axis(self) -> int:
        return self.along


def readers(graph: ChannelGraph, program: Program) -> tuple[Reader, ...]:
    """Every layer of a network that reads channels, in network order."""
    found = {one.path: one for one in (*regressions(graph, program), *_projections(graph, program.by_path))}
    return tuple(found[path] for path in program.by_path if path in found)


def _projections(graph: ChannelGraph, steps: Mapping[str, list[Step]]) -> Iterator[Projection]:
    reading: dict[str, list[Weight]] = {}
    for weight in graph.weights:
        if not weight.owned and plain_class(type(weight.layer)) not in KINDS:
            reading.setdefault(weight.path, []).append(weight)
    calls = {call.path: call for call in reversed(graph.calls)}
    for path, made in steps.items():
        if path in calls and (path in reading or isinstance(made[0].operation, Reduction)):
            found = _projection(graph, tuple(made), tuple(reading.get(path, ())), calls[path])
            if found is not None:
                yield found


def _projection(
    graph: ChannelGraph, steps: tuple[Step, ...], parts: tuple[Weight, ...], call: Call
) -> Projection | None:
    layer, labels = steps[0].operation, call.labels[0]
    along = int(np.argmax(labels.shape)) - labels.ndim
    channels = graph.solved[labels.reshape(-1)]
    if channels.size != call.shapes[0][along]:
        return None  # none of them can be cut
    parts = tuple({id(part.variable): part for part in parts}.values())  # a layer that is called twice says it twice
    if not all(np.array_equal(part.channels, channels) for part in parts):
        return None  # it reads another input, or in another order
    width = sum(int(np.prod(part.variable.shape)) // channels.size for part in parts) or 1
    makes = np.full((1, width), graph.solved[0])  # of no channel that can be cut
    repairable, shifts = _fate(layer, width)
    return Projection(
        steps[0].path, layer, steps, None, channels[np.newaxis], makes, channels, gated=True, norm=None,
        beside=(), rectified=False, parts=parts, shifts=shifts, along=along, repairable=repairable,
    )  # fmt: skip


def _fate(layer: Any, width: int) -> tuple[bool, tuple[Any, ...]]:
    """Whether a layer can be repaired, and its constants."""
    kind = plain_class(type(layer))
    if kind in _RECURRENT:
        cells = input_cells(layer)
        if all(type(cell) in CELLS for cell in cells):
            return True, tuple(cell.bias for cell in cells if cell.use_bias)
    if kind is layers.EinsumDense:
        inputs, output = layer.equation.replace(" ", "").replace("...", "").split("->")
        features, kernel = inputs.split(",")
        alone = not set(kernel[1:]) & set(features) and set(kernel[1:]) <= set(output)
        in_order = "".join(letter for letter in output if letter in kernel[1:]) == kernel[1:]
        whole = layer.bias is not None and int(np.prod(layer.bias.shape)) == width
        return alone, (layer.bias,) if in_order and whole else ()
    return False, ()
