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

from shrinknet.errors import ModelError

Shape = tuple[int | None, ...]
Rule = Callable[["Call"], "Sequence[np.ndarray]"]
Tensor = tuple[np.ndarray, Any]  # its labels, and Keras's description: shape and dtype


@dataclass(frozen=True)
class Registered:
    """What is known of a kind of operation.

    Attributes:
        rule: how channels pass through it.
        reads: (attribute of the layer that holds a kernel, axis of the channels that it reads), for each such kernel.
        count: attribute of the layer that holds the number of its filters; None where it has none.
        moves: it moves numbers without changing them, so that it can be followed place by place.
        pointwise: what it makes of a number depends on that number and its channel alone.
    """

    rule: Rule
    reads: tuple[tuple[str, int], ...] = ()
    count: str | None = None
    moves: bool = False
    pointwise: bool = False


_KNOWN: dict[type, Registered] = {}
_LISTENERS: list[Callable[[type, Registered], None]] = []


def rule(
    *operations: type,
    reads: Sequence[tuple[str, int]] = (),
    count: str | None = None,
    moves: bool = False,
    pointwise: bool = False,
) -> Callable[[Rule], Rule]:
    """Registers how channels pass through layers or operations of these very classes.

    A rule gets a `Call` and returns one array of labels for each output tensor. A subclass does not inherit it.

    Args:
        reads: for a layer that multiplies its input's channels by a kernel: the name of the attribute that holds the
            kernel, and the kernel's axis of channels in; one pair for each such kernel. The layer must make it in
            `build`. In a switched network the layer's `call` then sees zeros in what reads a disabled channel.
        count: for a layer that makes channels: the name of the attribute that holds their number.
        moves: for an operation that moves numbers without changing them, as a reshape: its rule gets labels that may
            change along several axes, and it becomes another movement where channels are missing.
        pointwise: for an operation that treats each number by itself, or each channel: where a branch is constant, its
            constant is computed through it.

    Raises:
        ModelError: a layer with `reads` or `count` has no `build` of its own.

    Example:
        A layer with one weight a channel, on the last axis:

        >>> @rule(MyScale)                                                       # doctest: +SKIP
        ... def my_scale(call):
        ...     call.owns(call.operation.scale, axis=0, labels=call.channels(0))
        ...     return [call.labels[0]]

        A layer that reads channels with `self.kernel`, of shape (channels in, filters), and makes new ones:

        >>> @rule(MyDense, reads=[("kernel", 0)], count="width")                 # doctest: +SKIP
        ... def my_dense(call):
        ...     layer = call.operation
        ...     filters = call.produces(layer.width, entry="width")              # of the layer's get_config()
        ...     call.reads(layer.kernel, axis=0, labels=call.channels(0))
        ...     call.owns(layer.kernel, axis=1, labels=filters)
        ...     return [call.spread(filters)]
    """

    def register(function: Rule) -> Rule:
        known = Registered(function, tuple((name, int(axis)) for name, axis in reads), count, moves, pointwise)
        for operation in operations:
            _KNOWN[operation] = known
            for listener in _LISTENERS:
                listener(operation, known)
        return function

    return register


def listen(listener: Callable[[type, Registered], None]) -> None:
    """Calls `listener` with every class that has a rule, at once, and with each that is registered later."""
    _LISTENERS.append(listener)
    for operation, known in _KNOWN.items():
        listener(operation, known)


def registered(kind: type) -> Registered | None:
    """What is registered for a class of layers or operations; None where nothing is.

    A subclass has the rule of its parent if it overrides nothing of what the parent computes: its constructor and its
    configuration may be its own. A switched layer has the rule of its plain class.
    """
    kind = getattr(kind, "plain_class", kind)
    if kind in _KNOWN:
        return _KNOWN[kind]
    for parent in kind.__mro__[1:]:
        if parent in _KNOWN:
            return _KNOWN[parent] if _computes_alike(kind, parent) else None
    return None


def is_users(known: Registered) -> bool:
    """Whether a rule is not one of shrinknet's own."""
    return not known.rule.__module__.startswith("shrinknet.")


_DESCRIBES = {"__init__", "get_config", "from_config", "build", "compute_output_shape", "__repr__", "__new__"}


def _computes_alike(kind: type, parent: type) -> bool:
    """Whether the classes between the two override nothing but how a layer is made and described."""
    between = kind.__mro__[: kind.__mro__.index(parent)]
    own = {
        name for one in between for name, value in vars(one).items() if callable(value) or isinstance(value, property)
    }
    return not any(name in dir(parent) and name not in _DESCRIBES for name in own if not name.startswith("__")) and (
        "__call__" not in own
    )


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
    moves: dict[tuple[str, int], Call] = field(default_factory=dict)  # path, call -> a movement that can be followed
    constants: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)  # path, call -> labels constants meet

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
        number: how often the operation was called before: 0 but for shared layers.
        taken, given: the tensors that come in and go out, each the same object wherever it is met.
        refused: why nothing can be cut through it; None where it can.
    """

    operation: Any
    path: str
    labels: list[np.ndarray]
    shapes: list[Shape]
    output_shapes: list[Shape]
    arguments: Any
    book: Book
    number: int = 0
    taken: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)
    refused: str | None = None

    @property
    def kind(self) -> str:
        """The class of the operation, for messages."""
        return getattr(type(self.operation), "plain_class", type(self.operation)).__name__

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
        wide = [labels for labels in padded if labels.any()] or padded[:1]
        labels = np.broadcast_to(wide[-1], sizes)
        for other in wide[:-1]:
            self.book.tie(other, labels)
        self.book.constants[self.path, self.number] = labels
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
        known = registered(type(self.operation))
        if known is None or known.count is None:
            raise ModelError(
                f"The rule of {self.kind} gives the layer {self.path} filters, but was registered without the name of "
                f"the attribute that holds their number. Register it with @rule({self.kind}, count=...)."
            )
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
        known = registered(type(self.operation))
        if not known or not known.reads:
            raise ModelError(
                f"The rule of {self.kind} lets a kernel of the layer {self.path} read channels, but was registered "
                f"without it. Register it with @rule({self.kind}, reads=[(name of the attribute, axis)])."
            )
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

    def checked(self, answer: Any) -> list[np.ndarray]:
        """What the rule returned: an array of labels for each output that broadcasts to it.

        Raises:
            ModelError: it is something else.
        """
        labels = [np.asarray(one) for one in answer]
        shapes = [one.shape for one in labels]
        if len(shapes) == len(self.output_shapes) and all(
            len(have) == len(want) and all(size == 1 or size == full for size, full in zip(have, want, strict=True))
            for have, want in zip(shapes, self.output_shapes, strict=True)
        ):
            return labels
        raise ModelError(
            f"The rule of {self.kind} must return labels that broadcast to the outputs of {self.path}, of shapes "
            f"{self.output_shapes}; it returned arrays of shapes {shapes}. Use size 1 where the channel is the same."
        )

    def opaque(self, reason: str) -> list[np.ndarray]:
        """The labels of an operation that cannot be looked through: nothing that goes in or comes out is cut."""
        self.refused = reason
        for index in range(len(self.labels)):
            self.pin(index, reason)
        return [self.book.pinned(reason, len(shape)) for shape in self.output_shapes]
