"""Call: one operation of the network as a rule sees it; and the registry of rules.

A tensor is described by its shape and an array of integer labels that broadcasts to it, with size 1 on every axis
along which the label does not change. Two positions with the same label, or with tied labels, are one channel and are
cut together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shrinknet.errors import ModelError

Shape = tuple[int | None, ...]
Rule = Callable[["Call"], "Sequence[np.ndarray]"]
Tensor = tuple[np.ndarray, Any]  # its labels, and Keras's description of it: shape and dtype


@dataclass(frozen=True)
class Registered:
    """What is known about a kind of operation.

    Attributes:
        rule: how channels pass through it.
        reads: for each kernel that reads channels: (name of the attribute that holds it, axis that it reads along).
        count: name of the attribute that holds the number of filters; None if the layer has none.
        moves: it moves numbers without changing them, so that it can be followed position by position.
        pointwise: an output number depends only on the same input number and its channel.
        found: of a rule that probing found, what it found; see `probed_rule`.
    """

    rule: Rule
    reads: tuple[tuple[str, int], ...] = ()
    count: str | None = None
    moves: bool = False
    pointwise: bool = False
    found: Mapping[str, Any] | None = None


_KNOWN: dict[type, Registered] = {}
_LISTENERS: list[Callable[[type, Registered], None]] = []


def rule(
    *operations: type,
    reads: Sequence[tuple[str, int]] = (),
    count: str | None = None,
    moves: bool = False,
    pointwise: bool = False,
) -> Callable[[Rule], Rule]:
    """Registers how channels pass through layers or operations of exactly these classes.

    A rule gets a `Call` and returns one array of labels for each output tensor. A subclass inherits the rule only if it
    computes the same as its parent; see `registered`.

    Args:
        reads: for a layer that multiplies the channels of its input by a kernel: the name of the attribute that holds
            the kernel, and the kernel's input-channel axis; one pair for each such kernel. The layer must create it
            in `build`. In a switched network the layer's `call` sees zeros in the slices that read disabled channels.
        count: for a layer that produces channels: the name of the attribute that holds their number.
        moves: for an operation that moves numbers without changing them, such as a reshape. Its rule gets labels that
            may change along several axes, and it is replaced by another movement when channels are missing.
        pointwise: for an operation that works on each number, or each channel, by itself. If its input is constant,
            its output is constant too, and is computed once.

    Raises:
        ModelError: a layer with `reads` or `count` has no `build` of its own.

    Example:
        A layer with one weight per channel, on the last axis:

        >>> @rule(MyScale)                                                       # doctest: +SKIP
        ... def my_scale(call):
        ...     call.owns(call.operation.scale, axis=0, labels=call.channels(0))
        ...     return [call.labels[0]]

        A layer that reads channels with `self.kernel`, of shape (channels in, filters), and produces new ones:

        >>> @rule(MyDense, reads=[("kernel", 0)], count="width")                 # doctest: +SKIP
        ... def my_dense(call):
        ...     layer = call.operation
        ...     filters = call.produces(layer.width, entry="width")              # a key of the layer's get_config()
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
    """Calls `listener` now for every class that has a rule, and later for each that is registered."""
    _LISTENERS.append(listener)
    for operation, known in _KNOWN.items():
        listener(operation, known)


def registered(kind: type) -> Registered | None:
    """What is registered for a class of layers or operations; None if nothing is.

    A subclass has the rule of its parent if it overrides nothing that affects what is computed; it may have its own
    constructor and configuration. A switched layer has the rule of its plain class.
    """
    kind = getattr(kind, "plain_class", kind)
    if kind in _KNOWN:
        return _KNOWN[kind]
    for parent in kind.__mro__[1:]:
        if parent in _KNOWN:
            return _KNOWN[parent] if _computes_alike(kind, parent) else None
    return None


def makes_channels(kind: type) -> bool:
    """Whether a class of layers, or one that it is derived from, makes channels by weights of its own."""
    known = [_KNOWN[one] for one in kind.__mro__ if one in _KNOWN]
    return any(one.count or one.reads for one in known)


def is_users(known: Registered) -> bool:
    """Whether a rule was registered by the user, not by shrinknet; with `rule`, or with a declaration in one line."""
    return not known.rule.__module__.startswith("shrinknet.") or known.rule.__module__ == "shrinknet.graph.declare"


_DESCRIBES = {"__init__", "get_config", "from_config", "build", "compute_output_shape", "__repr__", "__new__"}


def _computes_alike(kind: type, parent: type) -> bool:
    """Whether the classes between the two override only how a layer is constructed and described."""
    between = kind.__mro__[: kind.__mro__.index(parent)]
    own = {
        name for one in between for name, value in vars(one).items() if callable(value) or isinstance(value, property)
    }
    return not any(name in dir(parent) and name not in _DESCRIBES for name in own if not name.startswith("__")) and (
        "__call__" not in own
    )


@dataclass(frozen=True)
class LabelledWeight:
    """One axis of one variable: `labels[i]` is the channel that index i belongs to (`owned`) or reads."""

    layer: Any
    path: str
    variable: Any
    axis: int
    labels: np.ndarray
    owned: bool


@dataclass
class Book:
    """What the rules recorded about the whole network, before it is solved."""

    size: int = 1  # label 0 belongs to no channel
    ties: list[np.ndarray] = field(default_factory=list)  # each of shape (pairs, 2)
    pins: list[tuple[np.ndarray, str]] = field(default_factory=list)
    weights: list[LabelledWeight] = field(default_factory=list)
    producers: dict[str, np.ndarray] = field(default_factory=dict)  # path of the layer -> a label for each filter
    counts: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # path -> key in its config -> labels
    products: list[tuple[str, Any, float | None]] = field(default_factory=list)  # path, kernel, uses of each number
    averages: list[tuple[Any, np.ndarray, bool]] = field(default_factory=list)  # layer, labels, whether it needs one
    moves: dict[tuple[str, int], Call] = field(default_factory=dict)  # path, call -> a movement that can be followed
    constants: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)  # path, call -> labels of the output

    def fresh(self, count: int) -> np.ndarray:
        """`count` new labels."""
        self.size += count
        return np.arange(self.size - count, self.size)

    def pinned(self, reason: str, rank: int) -> np.ndarray:
        """One label for a whole tensor of this rank that cannot be cut, with the reason."""
        label = self.fresh(1)
        self.pins.append((label, reason))
        return label.reshape((1,) * rank)

    def settle(self, labels: np.ndarray) -> np.ndarray:
        """Labels that change along one axis at most, the last one that they change along; across it they are tied.

        Only then does every cut leave a rectangular array. Movements are followed without this step.
        """
        axes = [axis for axis, size in enumerate(labels.shape) if size > 1]
        if len(axes) < 2:
            return labels
        rows = np.moveaxis(labels, axes[-1], 0).reshape(labels.shape[axes[-1]], -1)
        rows = np.unique(rows, axis=1)  # thousands of pixels carry the same labels
        self.tie(rows, rows[:, :1])
        shape = [1] * labels.ndim
        shape[axes[-1]] = -1
        return rows[:, 0].reshape(shape)

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        """Makes these labels one channel each, position by position."""
        pairs = np.stack(np.broadcast_arrays(first, second), axis=-1).reshape(-1, 2)
        self.ties.append(pairs[pairs[:, 0] != pairs[:, 1]])


@dataclass
class Call:
    """One call of one layer or operation.

    Attributes:
        operation: the Keras layer or operation.
        path: its name; in a nested model a path, such as `body/conv2`.
        labels: an array of labels for each input tensor, broadcastable to its shape.
        shapes: the shapes of the input tensors, the batch axis included, None where unknown.
        output_shapes: the same for the output tensors.
        arguments: Keras's symbolic arguments of the call (args and kwargs, tensors among them).
        number: how often the operation was called before; 0 except for shared layers.
        taken, given: the input and output tensors; the same tensor is the same object in every call.
        refused: why no channel that passes through it can be cut; None if channels can.
        inside: of a layer that is left as it is, the calls in it without kernels of their own; None: unknown.
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
    inside: list[Call] | None = None

    @property
    def kind(self) -> str:
        """The class of the operation, for messages."""
        return getattr(type(self.operation), "plain_class", type(self.operation)).__name__

    def channels(self, index: int = 0, axis: int = -1) -> np.ndarray:
        """Labels along one axis of an input, shape (channels,).

        If the channels lie on another axis, an operation along this one mixes them, so they are pinned.
        """
        labels, count = self.labels[index], self.shapes[index][axis]
        if count is None or labels.size != labels.shape[axis]:
            self.pin(index, f"{self.kind} {self.path} reads across the axis that holds its channels")
            return np.broadcast_to(labels.flat[0], (count or 1,))
        return np.broadcast_to(labels.reshape(-1), (count,))

    def tied(self) -> np.ndarray:
        """The labels of an output that combines its inputs position by position: combined channels are tied.

        A channel that is broadcast over several others cannot be cut with any of them, so it is pinned. Constants among
        the arguments are cut along with the channels.
        """
        shape = self.output_shapes[0]
        rank = len(shape)
        padded = [labels.reshape((1,) * (rank - labels.ndim) + labels.shape) for labels in self.labels]
        sizes = np.broadcast_shapes(*(labels.shape for labels in padded))
        for index, own in enumerate(self.shapes):
            own = (1,) * (rank - len(own)) + own
            if any(size > 1 and have == 1 and want != 1 for size, have, want in zip(sizes, own, shape, strict=True)):
                self.pin(index, f"{self.kind} {self.path} broadcasts one channel over many")
                padded[index] = np.zeros((1,) * rank, int)  # tied to nothing
        wide = [labels for labels in padded if labels.any()] or padded[:1]
        labels = np.broadcast_to(wide[-1], sizes)
        for other in wide[:-1]:
            self.book.tie(other, labels)
        self.book.constants[self.path, self.number] = labels
        return labels

    def averages(self, channels: np.ndarray, needs_one: bool = False) -> None:
        """Records that the layer takes statistics over these channels; later, over the enabled ones only.

        `needs_one`: the statistics themselves go on, so one of the channels has to stay enabled.
        """
        first = next((labels for layer, labels, _ in self.book.averages if layer is self.operation), channels)
        if first.size != channels.size:  # the switches of a shared layer have one size
            self.pin(0, f"{self.kind} {self.path} is also applied to another number of channels")
            return
        self.book.tie(first, channels)
        self.book.averages.append((self.operation, channels, needs_one))

    def spread(self, labels: np.ndarray, axis: int = -1, output: int = 0) -> np.ndarray:
        """A vector of labels laid along one axis of an output."""
        shape = [1] * len(self.output_shapes[output])
        shape[axis] = labels.size
        return labels.reshape(shape)

    def produces(self, count: int, entry: str | None = None) -> np.ndarray:
        """New labels for the filters of this layer, shape (count,); the same for every call of a shared layer.

        `entry` is the key in the layer's config that holds their number.
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
        """Records that this key of the layer's config is the number of these channels."""
        self.book.counts.setdefault(self.path, {})[entry] = labels

    def owns(self, variable: Any, axis: int, labels: np.ndarray) -> None:
        """Records that slices of the variable along this axis belong to these channels: cut and frozen with them."""
        self._weigh(variable, axis, labels, owned=True)

    def reads(self, variable: Any, axis: int, labels: np.ndarray) -> None:
        """Records that slices of the variable along this axis multiply these channels: gated and cut with them."""
        known = registered(type(self.operation))
        if not known or not known.reads:
            raise ModelError(
                f"The rule of {self.kind} lets a kernel of the layer {self.path} read channels, but was registered "
                f"without that kernel. Register it with @rule({self.kind}, reads=[(name of the attribute, axis)])."
            )
        self._weigh(variable, axis, labels, owned=False)

    def multiplies(self, kernel: Any, sizes: Shape, share: float = 1) -> None:
        """Records that each number of the kernel is used once per position, in a share of prod(sizes) positions."""
        times = None if None in sizes else math.prod(sizes) * share  # type: ignore[arg-type]
        self.book.products.append((self.path, kernel, times))

    def _weigh(self, variable: Any, axis: int, labels: np.ndarray, owned: bool) -> None:
        if variable is None:
            return
        axis %= len(variable.shape)
        labels = np.broadcast_to(labels, (variable.shape[axis],))
        self.book.weights.append(LabelledWeight(self.operation, self.path, variable, axis, labels, owned))

    def pin(self, index: int, reason: str) -> None:
        """Marks the channels of this input as uncuttable; `reason` completes "conv2 cannot be cut: ..."."""
        self.book.pins.append((self.labels[index].reshape(-1), reason))

    def checked(self, answer: Any) -> list[np.ndarray]:
        """The labels that the rule returned: for each output, an array that broadcasts to it.

        Raises:
            ModelError: the rule returned something else.
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
        """The output labels of an operation with no exact rule: no channel that goes in or comes out can be cut."""
        self.refused = reason
        for index in range(len(self.labels)):
            self.pin(index, reason)
        return [self.book.pinned(reason, len(shape)) for shape in self.output_shapes]
