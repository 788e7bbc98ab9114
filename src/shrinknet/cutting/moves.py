"""Movements after a cut: what reshapes, splits and shuffles become when channels are missing.

A movement is followed by the positions of its numbers. While channels are missing, a chain of movements is only
recorded. When another operation reads the end of the chain, one operation gathers the remaining numbers from their
new positions.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import ModelError, NotEquivalentError
from shrinknet.graph import Call, ChannelGraph
from shrinknet.graph.calls import Shape
from shrinknet.graph.rules.movement import full, run_on


@dataclass(frozen=True)
class Moved:
    """The end of a chain of movements that has not been carried out.

    Attributes:
        source: the small tensor at the start of the chain.
        shape: the uncut shape at the end of the chain, None where a size is open.
        kept: which positions of the uncut source are left, bool, batch of 1.
        places: for each position of the uncut end of the chain, its flat index in the uncut source.
        steps: the movements, each as its call and a function that performs it on tensors.
    """

    source: Any
    shape: Shape
    kept: np.ndarray
    places: np.ndarray
    steps: tuple[tuple[Call, Callable[[Any], Any]], ...] = ()

    @classmethod
    def begin(cls, source: Any, channels: np.ndarray, shape: Shape, gone: np.ndarray) -> Moved:
        """A chain that starts at a tensor with these channels, broadcastable to its uncut shape."""
        kept = full(~gone[channels], shape)
        return cls(source, shape, kept, np.arange(kept.size).reshape(kept.shape))

    def then(self, call: Call, perform: Callable[[Any], Any]) -> list[Moved]:
        """The chain extended by one movement; one chain for each of its outputs."""

        def step(index: int) -> tuple[Call, Callable[[Any], Any]]:
            return call, lambda tensor: keras.tree.flatten(perform(tensor))[index]

        ends = enumerate(zip(call.output_shapes, run_on(call, [self.places]), strict=True))
        return [Moved(self.source, shape, self.kept, end, (*self.steps, step(i))) for i, (shape, end) in ends]

    def carry_out(self) -> Any:
        """The small tensor at the end of the chain.

        It is made by the chain's own movements if they still give the right numbers; otherwise by one reshape, one
        selection along an axis, or one selection of single numbers.
        """
        left = self.kept.reshape(-1)[self.places]
        where = (np.cumsum(self.kept) - 1)[self.places[left]].reshape(_box(left))
        have = np.arange(int(self.kept.sum())).reshape(_box(self.kept))
        if self._native(have, where):
            return functools.reduce(lambda tensor, step: step[1](tensor), self.steps, self.source)
        shape = [-1 if self.shape[axis] is None else size for axis, size in enumerate(where.shape)][1:]
        last = self.steps[-1][0]
        if where.size == have.size and (where.reshape(-1) == have.reshape(-1)).all() and shape.count(-1) < 2:
            name = last.operation.name if isinstance(last.operation, keras.layers.Layer) else None
            return keras.layers.Reshape(shape, name=name)(self.source)
        for axis in range(1, have.ndim if where.ndim == have.ndim else 1):
            line = where[tuple(slice(None) if index == axis else 0 for index in range(where.ndim))]
            chosen = line // math.prod(have.shape[axis + 1 :]) % have.shape[axis]
            if np.array_equal(np.take(have, chosen, axis), where):
                return ops.take(self.source, chosen, axis)
        if -1 in shape or None in self.source.shape[1:]:
            raise ModelError(
                f"{last.kind} {last.path} cannot be followed after the cut while the model leaves sizes open. Build "
                "the model with inputs of a fixed size, such as keras.Input((128, 128, 3))."
            )
        flat = keras.layers.Reshape((have.size,))(self.source)
        return keras.layers.Reshape(shape)(ops.take(flat, where.reshape(-1), 1))

    def _native(self, have: np.ndarray, where: np.ndarray) -> bool:
        """Whether the chain's own movements, run on the small tensor, give the right numbers."""
        if len({id(step[0].operation) for step in self.steps}) < len(self.steps):
            return False
        try:
            for call, _ in self.steps:
                ends = run_on(call, [have])
                have = ends[0] if len(ends) == 1 else np.empty(0)
        except Exception:  # a shape that no longer fits, so another operation must replace the movement
            return False
        return np.array_equal(have, where)


def slice_constants(structure: Any, channels: np.ndarray, gone: np.ndarray) -> Any:
    """Arguments of an operation, with its constant arrays sliced to the channels that are left.

    `channels` are those of the operation's output, broadcastable to it; constants are aligned with its last axes.
    """

    def cut(value: Any) -> Any:
        if isinstance(value, keras.KerasTensor) or not hasattr(value, "shape") or not len(value.shape):
            return value
        array = np.asarray(ops.convert_to_numpy(value))
        for offset in range(1, min(array.ndim, channels.ndim) + 1):
            if channels.shape[-offset] > 1 and array.shape[-offset] == channels.shape[-offset]:
                line = np.moveaxis(channels, -offset, 0).reshape(channels.shape[-offset], -1)[:, 0]
                array = np.take(array, np.flatnonzero(~gone[line]), axis=-offset)
        return array

    return keras.tree.map_structure(cut, structure)


class Movements:
    """Performs the operations of a network while it is rebuilt without some of its channels.

    Args:
        graph: of the uncut network; gone: which of its channels are cut, bool.
    """

    def __init__(self, graph: ChannelGraph, gone: np.ndarray) -> None:
        self.graph = graph
        self.gone = gone
        self.chains: dict[int, tuple[Any, Moved]] = {}  # id of a placeholder -> (the placeholder, its chain)
        self.carried: dict[int, Any] = {}  # id of a placeholder -> the tensor, once a reader needed it
        self.calls: Counter[str] = Counter()  # path of an operation -> number of calls so far, for shared layers

    def perform(self, path: str, operation: Any, arguments: Any, keywords: Any) -> Any:
        """Calls an operation; a movement with missing channels is recorded, and carried out when its output is read."""
        key = path, self.calls[path]
        self.calls[path] += 1
        if key in self.graph.moves:
            call, channels = self.graph.moves[key]
            leaves = keras.tree.flatten((arguments, keywords))
            (tensor,) = (leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor))
            _, chain = self.chains.get(id(tensor), (None, None))
            if chain is not None or self.gone[channels].any():
                chain = chain or Moved.begin(tensor, channels, call.shapes[0], self.gone)
                return self._note(chain.then(call, _replacing(tensor, operation, arguments, keywords)), call)
        arguments, keywords = keras.tree.map_structure(self._carried_out, (arguments, keywords))
        if key in self.graph.constants and self.gone[self.graph.constants[key]].any():
            arguments, keywords = slice_constants((arguments, keywords), self.graph.constants[key], self.gone)
        return operation(*arguments, **keywords)

    def _note(self, chains: list[Moved], call: Call) -> Any:
        """Placeholders for outputs that are not computed yet."""
        notes = [
            keras.KerasTensor(shape, dtype=chain.source.dtype)
            for chain, shape in zip(chains, call.output_shapes, strict=True)
        ]
        self.chains.update({id(note): (note, chain) for note, chain in zip(notes, chains, strict=True)})
        return notes

    def _carried_out(self, value: Any) -> Any:
        if id(value) not in self.chains:
            return value
        if id(value) not in self.carried:
            self.carried[id(value)] = self.chains[id(value)][1].carry_out()
        return self.carried[id(value)]


def _replacing(tensor: Any, operation: Any, arguments: Any, keywords: Any) -> Callable[[Any], Any]:
    """A function that performs the operation with another tensor in place of this one."""

    def perform(other: Any) -> Any:
        given, named = keras.tree.map_structure(
            lambda value: other if value is tensor else value, (arguments, keywords)
        )
        return operation(*given, **named)

    return perform


def _box(left: np.ndarray) -> tuple[int, ...]:
    """The shape of what is left of an array: on each axis, the number of indices with anything left."""
    axes = [left.any(tuple(other for other in range(left.ndim) if other != axis)) for axis in range(left.ndim)]
    if not left[np.ix_(*axes)].all():
        raise NotEquivalentError("A cut would leave holes in a tensor. This is a bug in shrinknet: please report it.")
    return tuple(int(axis.sum()) for axis in axes)
