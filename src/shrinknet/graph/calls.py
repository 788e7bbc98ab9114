"""Call: one operation of the network as a rule sees it; and the register of rules.

A tensor is described by its shape and an array of integer labels that broadcasts to it: size 1 on every axis on
which the label does not change. Two positions with the same label, or with labels that were tied, are one channel:
they stay together or go together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int | None, ...]
Rule = Callable[["Call"], "Sequence[np.ndarray]"]
Tensor = tuple[np.ndarray, Any]  # its labels, and Keras's description: shape and dtype

_RULES: dict[type, Rule] = {}


def rule(*operations: type) -> Callable[[Rule], Rule]:
    """Registers how channels pass through layers or operations of these very classes.

    A rule gets a `Call` and returns one array of labels for each output tensor. For a layer of your own:

    Example:
        >>> @rule(MyScale)                        # doctest: +SKIP
        ... def my_scale(call):                   # one weight a channel, on the last axis
        ...     call.owns(call.operation.scale, axis=0, labels=call.channels(0))
        ...     return [call.labels[0]]
    """

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(operations, function))
        return function

    return register


def rule_for(operation: Any) -> Rule | None:
    """The rule of the operation's own class; None where there is none.

    A subclass may compute something else, so it does not inherit a rule; a switched layer has that of its plain class.
    """
    return _RULES.get(getattr(type(operation), "plain_class", type(operation)))


@dataclass(frozen=True)
class LabelledWeight:
    """One axis of one variable: `labels[i]` is the channel that position i belongs to (`owned`) or reads."""

    layer: Any
    path: str
    variable: Any
    axis: int
    labels: np.ndarray
    owned: bool


@dataclass
class Book:
    """What the rules wrote down about the whole network, before it is solved."""

    size: int = 1  # label 0 is nobody's
    ties: list[np.ndarray] = field(default_factory=list)  # each of shape (pairs, 2)
    pins: list[tuple[np.ndarray, str]] = field(default_factory=list)
    weights: list[LabelledWeight] = field(default_factory=list)
    producers: dict[str, np.ndarray] = field(default_factory=dict)  # path of the layer -> a label for each filter
    counts: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # path -> entry of its config -> labels
    products: list[tuple[str, Any, float | None]] = field(default_factory=list)  # path, kernel, uses of each number
    averages: list[tuple[Any, str, np.ndarray]] = field(default_factory=list)  # layer, path, labels it averages over
    constants: dict[str, np.ndarray] = field(default_factory=dict)  # path -> labels that constant arguments meet

    def fresh(self, count: int) -> np.ndarray:
        """`count` labels that nobody has."""
        self.size += count
        return np.arange(self.size - count, self.size)

    def pinned(self, reason: str, rank: int) -> np.ndarray:
        """One label for a whole tensor of this rank, which cannot be cut for this reason."""
        label = self.fresh(1)
        self.pins.append((label, reason))
        return label.reshape((1,) * rank)

    def settle(self, labels: np.ndarray) -> np.ndarray:
        """Labels that change along one axis at most, the last that they change on: what lies across it is tied.

        Only then whatever is cut leaves an array without holes. Movements are followed without it.
        """
        axes = [axis for axis, size in enumerate(labels.shape) if size > 1]
        if len(axes) < 2:
            return labels
        rows = np.moveaxis(labels, axes[-1], 0).reshape(labels.shape[axes[-1]], -1)
        rows = np.unique(rows, axis=1)  # pixels by the thousand say the same
        self.tie(rows, rows[:, :1])
        shape = [1] * labels.ndim
        shape[axes[-1]] = -1
        return rows[:, 0].reshape(shape)

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Position by position, these labels are one channel."""
        pairs = np.stack(np.broadcast_arrays(first, second), axis=-1).reshape(-1, 2)
        self.ties.append(pairs[pairs[:, 0] != pairs[:, 1]])


@dataclass
class Call:
    """One call of one layer or operation.

    Attributes:
        operation: the Keras layer or operation.
        path: its name; in a nested model the path, `body/conv2`.
        labels: an array of labels for each input tensor, broadcastable to its shape.
        shapes: the shapes of the input tensors, the batch axis included, None where unknown.
        output_shapes: the same for the output tensors.
        arguments: Keras's symbolic arguments of the call (args and kwargs, tensors among them).
        taken, given: the tensors that come in and go out, each the same object wherever it is met.
    """

    operation: Any
    path: str
    labels: list[np.ndarray]
    shapes: list[Shape]
    output_shapes: list[Shape]
    arguments: Any
    book: Book
    taken: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The class of the operation, for messages."""
        return type(self.operation).__name__

    def channels(self, index: int = 0, axis: int = -1) -> np.ndarray:
        """Labels along one axis of an input, shape (channels,).

        Where the channels lie on another axis, what reads this one mixes them: they are pinned.
        """
        labels, count = self.labels[index], self.shapes[index][axis]
        if count is None or labels.size != labels.shape[axis]:
            self.pin(index, f"{self.kind} {self.path} reads across the axis that holds its channels")
            return np.broadcast_to(labels.flat[0], (count or 1,))
        return np.broadcast_to(labels.reshape(-1), (count,))

    def tied(self) -> np.ndarray:
        """The labels of an output that all inputs meet in, place by place: what meets is tied.

        One channel that is spread over many cannot go with any of them: it is pinned. Constants among the arguments
        are cut along with the channels.
        """
        shape = self.output_shapes[0]
        rank = len(shape)
        padded = [labels.reshape((1,) * (rank - labels.ndim) + labels.shape) for labels in self.labels]
        sizes = np.broadcast_shapes(*(labels.shape for labels in padded))
        for index, own in enumerate(self.shapes):
            own = (1,) * (rank - len(own)) + own
            if any(size > 1 and have == 1 and want != 1 for size, have, want in zip(sizes, own, shape, strict=True)):
                self.pin(index, f"{self.kind} {self.path} spreads one channel over many")
                padded[index] = np.zeros((1,) * rank, int)  # tied to nothing
        wide = [labels for index, labels in enumerate(padded) if labels.any() or index == 0]
        labels = np.broadcast_to(wide[-1], sizes)
        for other in wide[:-1]:
            self.book.tie(other, labels)
        self.book.constants[self.path] = labels
        return labels

    def averages(self, channels: np.ndarray) -> None:
        """The layer takes statistics over these channels: over the live ones only, once some are disabled."""
        self.book.averages.append((self.operation, self.path, channels))

    def spread(self, labels: np.ndarray, axis: int = -1, output: int = 0) -> np.ndarray:
        """A vector of labels laid along one axis of an output."""
        shape = [1] * len(self.output_shapes[output])
        shape[axis] = labels.size
        return labels.reshape(shape)

    def produces(self, count: int, entry: str | None = None) -> np.ndarray:
        """Fresh labels for the filters of this layer, shape (count,); the same at each call of a shared layer.

        `entry` names the entry of the layer's config that holds their number.
        """
        if self.path not in self.book.producers:
            self.book.producers[self.path] = self.book.fresh(count)
        labels = self.book.producers[self.path]
        if entry is not None:
            self.counts(entry, labels)
        return labels

    def counts(self, entry: str, labels: np.ndarray) -> None:
        """This entry of the layer's config is the number of these channels that are left."""
        self.book.counts.setdefault(self.path, {})[entry] = labels

    def owns(self, variable: Any, axis: int, labels: np.ndarray) -> None:
        """Slices of the variable along this axis belong to these channels: they go, and freeze, with them."""
        self._weigh(variable, axis, labels, owned=True)

    def reads(self, variable: Any, axis: int, labels: np.ndarray) -> None:
        """Slices of the variable along this axis multiply these channels: they are gated, and go, with them."""
        self._weigh(variable, axis, labels, owned=False)

    def multiplies(self, kernel: Any, sizes: Shape, share: float = 1) -> None:
        """For one sample each number of the kernel is multiplied once at each of `sizes` places, or a share of them."""
        times = None if None in sizes else math.prod(sizes) * share  # type: ignore[arg-type]
        self.book.products.append((self.path, kernel, times))

    def _weigh(self, variable: Any, axis: int, labels: np.ndarray, owned: bool) -> None:
        if variable is None:
            return
        axis %= len(variable.shape)
        labels = np.broadcast_to(labels, (variable.shape[axis],))
        self.book.weights.append(LabelledWeight(self.operation, self.path, variable, axis, labels, owned))

    def pin(self, index: int, reason: str) -> None:
        """The channels of this input cannot be cut; `reason` completes the sentence «conv2 cannot be cut: ...»."""
        self.book.pins.append((self.labels[index].reshape(-1), reason))

    def opaque(self, reason: str) -> list[np.ndarray]:
        """The labels of an operation that cannot be looked through: nothing that goes in or comes out is cut."""
        for index in range(len(self.labels)):
            self.pin(index, reason)
        return [self.book.pinned(reason, len(shape)) for shape in self.output_shapes]
