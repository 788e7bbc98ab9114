"""ChannelGraph: which filters form groups, what weights they have, what reads them, and why the rest cannot be cut."""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shrinknet.errors import ModelError
from shrinknet.filters import Filter, Group
from shrinknet.graph import rules
from shrinknet.graph.calls import Book, Call, Registered, Tensor, registered
from shrinknet.graph.following import (
    follow,
    is_composite,
    is_over_time,
    is_recorded,
    name_of,
    sublayers,
    why_left_alone,
)
from shrinknet.graph.probing import probed
from shrinknet.internals import functional_of, given_to, layers_of, nodes_of


@dataclass(frozen=True)
class Weight:
    """One axis of one variable: index i belongs to channel `channels[i]` (`owned`), or reads it."""

    layer: Any
    path: str
    variable: Any
    axis: int
    channels: np.ndarray
    owned: bool

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """`chosen` (one bool for each channel of the graph), laid along this axis and broadcastable to the variable."""
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = -1
        return chosen[self.channels].reshape(shape)


@dataclass(frozen=True)
class ChannelGraph:
    """The solved graph. Channels are numbered from 0; everything with the same number is cut together.

    Attributes:
        size: number of channels.
        producers: path of each layer that has filters, in network order -> the channel of each filter.
        weights: every labelled axis of every variable.
        counts: path -> key in the layer's config -> the channels that it counts.
        pins: channel -> why it cannot be cut.
        layers: path -> layer, in network order.
        calls: the network's operations in order, as the rules saw them.
        averages: (layer, channels) for each layer that takes statistics over channels.
        constants: (path, number of the call) -> the channels that constant arguments of an operation are combined
            with, broadcastable to its output.
        moves: (path, number of the call) -> for operations that only move numbers: the call, and the channel of each
            position of its input.
        products: for each call that multiplies by a kernel: (path, kernel, how often each number of the kernel is
            used for one sample; None if sizes are unknown).
        solved: label -> channel.
        outputs: the tensors that the model returns.
        hidden: path of a layer with filters inside a layer that is not followed -> why they cannot be cut.
    """

    size: int
    producers: dict[str, np.ndarray]
    weights: tuple[Weight, ...]
    counts: dict[str, dict[str, np.ndarray]]
    pins: dict[int, str]
    layers: dict[str, Any]
    calls: tuple[Call, ...]
    products: tuple[tuple[str, Any, float | None], ...]
    averages: tuple[tuple[Any, np.ndarray], ...]
    constants: dict[tuple[str, int], np.ndarray]
    moves: dict[tuple[str, int], tuple[Call, np.ndarray]]
    solved: np.ndarray
    outputs: tuple[Tensor, ...]
    hidden: dict[str, str] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[int, Group]:
        """Channel -> its group of filters, in network order, including groups that cannot be cut."""
        members: dict[int, list[Filter]] = {}
        for path, channels in self.producers.items():
            for index, channel in enumerate(channels.tolist()):
                members.setdefault(channel, []).append(Filter(path, index))
        return {channel: Group(tuple(filters)) for channel, filters in members.items()}

    @cached_property
    def cuttable(self) -> dict[int, Group]:
        """Channel -> its group, for groups that can be cut, in network order."""
        return {channel: group for channel, group in self.groups.items() if channel not in self.pins}

    @cached_property
    def unswitchable(self) -> dict[str, str]:
        """Path of a layer -> why its filters cannot be cut; if only some cannot, which ones."""
        reasons = dict(self.hidden)
        for path, channels in self.producers.items():
            pinned = {
                index: self.pins[channel] for index, channel in enumerate(channels.tolist()) if channel in self.pins
            }
            if pinned:
                which = "" if len(pinned) == channels.size else f"filters {_ranges(sorted(pinned))}: "
                reasons[path] = which + "; ".join(dict.fromkeys(pinned.values()))
        return reasons

    @cached_property
    def axes(self) -> dict[int, dict[int, np.ndarray]]:
        """Id of a variable -> axis -> the channel of each index on it."""
        axes: dict[int, dict[int, np.ndarray]] = {}
        for weight in self.weights:
            axes.setdefault(id(weight.variable), {})[weight.axis] = weight.channels
        return axes

    def kept(self, variable: Any, gone: np.ndarray) -> dict[int, np.ndarray]:
        """Axis -> the indices of the variable that are left when the channels in `gone` (bools) are cut."""
        return {axis: np.flatnonzero(~gone[channels]) for axis, channels in self.axes.get(id(variable), {}).items()}

    def read_by(self, variable: Any, chosen: np.ndarray) -> dict[int, np.ndarray]:
        """Axis -> the indices of the variable that read the channels in `chosen` (bools)."""
        reading = self._readers.get(id(variable), ()) if chosen.any() else ()
        return {weight.axis: np.flatnonzero(chosen[weight.channels]) for weight in reading}

    @cached_property
    def _readers(self) -> dict[int, list[Weight]]:
        readers: dict[int, list[Weight]] = {}
        for weight in self.weights:
            if not weight.owned:
                readers.setdefault(id(weight.variable), []).append(weight)
        return readers

    @cached_property
    def tensors(self) -> tuple[np.ndarray, ...]:
        """The sets of channels that form a tensor and can be cut, each once, in network order."""
        arrays = {id(labels): labels for call in self.calls for labels, _ in (*call.taken, *call.given)}
        sets = (np.unique(self.solved[labels]) for labels in arrays.values())
        return tuple({channels.tobytes(): channels for channels in sets if channels[0] not in self.pins}.values())

    def hulls(self, gone: np.ndarray) -> np.ndarray:
        """Which channels in `gone` (bools) have to stay as placeholder filters, so that no tensor becomes empty.

        Nothing reads a placeholder filter: the kernel slices that would read it are zero.

        Raises:
            ModelError: none can stay, because a normalisation averages over them together with channels that are left.
        """
        stays, stuck = np.zeros_like(gone), np.zeros_like(gone)
        for _, channels in self.averages:
            stuck[channels] |= not gone[channels].all()
        for channels in self.tensors:
            if gone[channels].all() and not stays[channels].any():
                free = channels[~stuck[channels]]
                if not free.size:
                    named = ", ".join(str(self.groups[one]) for one in channels[:5].tolist() if one in self.groups)
                    raise ModelError(
                        f"All channels of a tensor are disabled ({named}), and a normalisation averages over them "
                        "together with others, so none of them can stay as a placeholder. Enable one of them."
                    )
                stays[free[0]] = True
        return stays

    def channel(self, filter: Filter) -> int | None:
        """The channel of a filter; None if there is no such filter."""
        channels = self.producers.get(filter.layer)
        if channels is None or not 0 <= filter.index < channels.size:
            return None
        return int(channels[filter.index])


def _ranges(indices: list[int]) -> str:
    """[0, 1, 2, 5] as "0-2, 5"."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)


def trace(model: Any, input_shape: Sequence[Any] | None = None) -> ChannelGraph:
    """The channels of a Functional or Sequential model.

    Args:
        input_shape: shape of one sample, without the batch axis, for a model with open sizes; for a model with
            several inputs, one shape for each.

    Raises:
        ModelError: the model is not built, or is a subclassed model whose operations are not recorded.
    """
    book = Book()
    functional = functional_of(model)
    has_switches = hasattr(type(model), "plain_class") or any(map(_has_switches, layers_of(model)))
    walker = _Walker(book, fixed=input_shape is not None, has_switches=has_switches)
    labels = [book.pinned("it is a model input", len(tensor.shape)) for tensor in functional.inputs]
    outputs = walker.walk(functional, list(zip(labels, input_specs(functional, input_shape), strict=True)), "")
    for out, _ in outputs:
        book.pins.append((out.reshape(-1), "it reaches the model's output"))
    return _solve(book, walker, tuple(outputs))


def input_specs(functional: Any, input_shape: Sequence[Any] | None) -> list[Any]:
    """Symbolic inputs of a model, with the sizes of `input_shape` (as in `trace`) if it is given.

    Raises:
        ModelError: the shape does not fit the model.
    """
    if input_shape is None:
        return list(functional.inputs)
    shapes = list(input_shape) if isinstance(input_shape[0], Sequence) else [input_shape]
    if len(shapes) != len(functional.inputs):
        raise ModelError(f"Expected a shape for each of {len(functional.inputs)} inputs; received {input_shape!r}.")
    specs = []
    for tensor, shape in zip(functional.inputs, shapes, strict=True):
        wanted = tuple(tensor.shape[1:])
        if len(shape) != len(wanted) or any(b is not None and a != b for a, b in zip(shape, wanted, strict=True)):
            raise ModelError(f"Expected input_shape to fit {wanted} (None: any size); received {tuple(shape)}.")
        specs.append(keras.KerasTensor((tensor.shape[0], *shape), dtype=tensor.dtype, name=tensor.name))
    return specs


_PROBED: weakref.WeakKeyDictionary[Any, Registered | None] = weakref.WeakKeyDictionary()  # a layer -> its rule


class _Walker:
    """Runs the rules over a network, nested models included, in execution order.

    Labels travel together with the tensor that they describe. If input sizes were given (`fixed`), shapes are computed
    again from them; otherwise they are the recorded ones.
    """

    def __init__(self, book: Book, fixed: bool, has_switches: bool) -> None:
        self.book = book
        self.fixed = fixed
        self.has_switches = has_switches  # if so, every layer that can be followed is already a nested model
        self.followed: dict[int, Any] = {}  # id of a composite layer -> its model, or the reason why there is none
        self.hidden: dict[str, str] = {}
        self.layers: dict[str, Any] = {}
        self.calls: list[Call] = []
        self.times: Counter[str] = Counter()
        self.entries: dict[int, list[np.ndarray]] = {}  # id of a nested model -> the labels of its first call

    def walk(self, functional: Any, inputs: list[Tensor], prefix: str) -> list[Tensor]:
        known = {id(tensor): item for tensor, item in zip(functional.inputs, inputs, strict=True)}
        for node in nodes_of(functional):
            items = [known[id(tensor)] for tensor in node.arguments.keras_tensors]
            outputs = self.visit(node, items, prefix + name_of(node.operation))
            known.update({id(tensor): item for tensor, item in zip(node.outputs, outputs, strict=True)})
        return [known[id(tensor)] for tensor in functional.outputs]

    def visit(self, node: Any, inputs: list[Tensor], path: str) -> list[Tensor]:
        operation, reason = node.operation, None
        if isinstance(operation, keras.Model) and is_recorded(operation):
            by_tensor = {id(one): item for one, item in zip(node.arguments.keras_tensors, inputs, strict=True)}
            given = [by_tensor[id(tensor)] for tensor in given_to(functional_of(operation), node)]
            return self.as_called(node, self.enter(functional_of(operation), operation, given, path))
        if is_over_time(operation):
            return self.at_each_time(node, inputs, f"{path}/{operation.layer.name}")
        if is_composite(operation):
            inner = self.inner(node)
            if isinstance(inner, keras.Model):
                return self.as_called(node, self.enter(inner, operation, inputs, path))
            reason = str(inner)
        outputs = node.outputs
        if self.fixed:
            specs = {id(tensor): spec for tensor, (_, spec) in zip(node.arguments.keras_tensors, inputs, strict=True)}
            arguments, keywords = node.arguments.fill_in(specs)
            try:
                outputs = keras.tree.flatten(operation.compute_output_spec(*arguments, **keywords))
            except Exception as error:
                sizes = ", ".join(str(tuple(spec.shape[1:])) for _, spec in inputs)
                raise ModelError(
                    f"The input_shape does not fit the model: {path} cannot take {sizes} "
                    f"({str(error).strip().splitlines()[0][:160]}). Give the shape of a larger sample."
                ) from error
        known = registered(type(operation)) or self.found(node) or Registered(rules.unknown)
        if self.has_switches and (known.reads or known.count) and not _has_switches(operation):
            reason = why_left_alone(operation) or f"{operation.name} has no switches"
        if reason is not None:
            known = Registered(functools.partial(Call.opaque, reason=reason))
        call = Call(
            operation,
            path,
            [labels if known.moves else self.book.settle(labels) for labels, _ in inputs],
            [tuple(spec.shape) for _, spec in inputs],
            [tuple(tensor.shape) for tensor in outputs],
            node.arguments,
            self.book,
            self.times[path],
        )
        self.times[path] += 1
        self.layers.setdefault(path, operation)
        self.calls.append(call)
        call.taken, call.given = inputs, list(zip(call.checked(known.rule(call)), outputs, strict=True))
        if isinstance(operation, keras.layers.Layer):
            self.hide(operation, path, call.refused)
        return call.given

    def as_called(self, node: Any, outputs: list[Tensor]) -> list[Tensor]:
        """What a nested model gives in this call; inside, the sizes of the first call were recorded."""
        if self.fixed:
            return outputs
        return [(labels, tensor) for (labels, _), tensor in zip(outputs, node.outputs, strict=True)]

    def at_each_time(self, node: Any, inputs: list[Tensor], path: str) -> list[Tensor]:
        """TimeDistributed: applies the rule of its layer to tensors without their time axis."""
        layer = node.operation.layer
        labels = [self.book.settle(one) for one, _ in inputs]
        if any(one.ndim > 1 and one.shape[1] > 1 for one in labels):
            self.book.pins.append((labels[0].reshape(-1), f"its channels lie along the time axis of {path}"))
        before = len(self.book.products)
        call = Call(
            layer,
            path,
            [np.take(one, 0, 1) if one.ndim > 1 else one for one in labels],
            [(spec.shape[0], *spec.shape[2:]) for _, spec in inputs],
            [(tensor.shape[0], *tensor.shape[2:]) for tensor in node.outputs],
            node.arguments,
            self.book,
            self.times[path],
        )
        self.times[path] += 1
        self.layers.setdefault(path, layer)
        self.calls.append(call)
        known = registered(type(layer)) or Registered(rules.unknown)
        outputs = [np.expand_dims(one, 1) for one in call.checked(known.rule(call))]
        steps = node.outputs[0].shape[1]
        self.book.products[before:] = [
            (where, kernel, None if times is None or steps is None else times * steps)
            for where, kernel, times in self.book.products[before:]
        ]
        call.taken, call.given = inputs, list(zip(outputs, node.outputs, strict=True))
        return call.given

    def found(self, node: Any) -> Registered | None:
        """The rule that probing found for a layer without one; each layer is probed once."""
        if not isinstance(node.operation, keras.layers.Layer):
            return None
        if node.operation not in _PROBED:
            _PROBED[node.operation] = probed(node.operation, node)
        return _PROBED[node.operation]

    def inner(self, node: Any) -> Any:
        """The model that following a composite layer gave, or the reason why it was not followed."""
        operation = node.operation
        if self.has_switches:
            return why_left_alone(operation) or f"the layer {operation.name} is left as it is"
        if id(operation) not in self.followed:
            try:
                self.followed[id(operation)] = follow(operation, node.arguments.args, node.arguments.kwargs)
            except ModelError as error:
                self.followed[id(operation)] = f"the layer {operation.name} ({type(operation).__name__}): {error}"
        return self.followed[id(operation)]

    def hide(self, operation: Any, path: str, reason: str | None) -> None:
        """Notes why the filters of layers inside a layer that is not followed cannot be cut."""
        for layer in sublayers(operation):
            known = registered(type(layer))
            if known is not None and known.count is not None:
                why = reason or f"it is inside {path} ({type(operation).__name__}), which is treated as one operation"
                self.hidden[f"{path}/{layer.name}"] = why

    def enter(self, functional: Any, operation: Any, given: list[Tensor], path: str) -> list[Tensor]:
        """Walks a nested model; its inputs and outputs have one channel axis; all its calls are cut the same way."""
        items = [(self.book.settle(labels), spec) for labels, spec in given]
        for tensor, (labels, _) in zip(functional.inputs, items, strict=True):
            if labels.ndim != len(tensor.shape):
                raise ModelError(
                    f"The nested model {path} is called with a tensor whose rank differs from that of its input "
                    f"{tensor.name}, of shape {tensor.shape}. Add or remove the axis of size 1 before the call."
                )
        first = self.entries.setdefault(id(operation), [labels for labels, _ in items])
        for known, (labels, _) in zip(first, items, strict=True):
            self.book.tie(known, labels)
        outputs = self.walk(functional, items, path + "/")
        return [(self.book.settle(labels), spec) for labels, spec in outputs]


def _has_switches(layer: Any) -> bool:
    return "switchboard" in getattr(layer, "__dict__", {})


def _solve(book: Book, walker: _Walker, outputs: tuple[Tensor, ...]) -> ChannelGraph:
    first: dict[tuple[int, int], np.ndarray] = {}
    for weight in book.weights:  # a shared layer uses one slice in all its calls: those channels are one
        key = (id(weight.variable), weight.axis)
        book.tie(first.setdefault(key, weight.labels), weight.labels)
    pairs = np.concatenate([np.zeros((0, 2), int), *book.ties])
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(book.size, book.size))
    size, channel = connected_components(links, directed=False)
    pins: dict[int, str] = {}
    for labels, reason in book.pins:
        for pinned in np.unique(channel[labels]).tolist():
            pins.setdefault(pinned, reason)
    return ChannelGraph(
        size=int(size),
        producers={path: channel[labels] for path, labels in book.producers.items()},
        weights=tuple(
            Weight(weight.layer, weight.path, weight.variable, weight.axis, channel[weight.labels], weight.owned)
            for weight in book.weights
        ),
        counts={path: {key: channel[labels] for key, labels in entry.items()} for path, entry in book.counts.items()},
        pins=pins,
        layers=walker.layers,
        calls=tuple(walker.calls),
        products=tuple(book.products),
        averages=tuple((layer, channel[labels]) for layer, _, labels in book.averages),
        constants={key: channel[labels] for key, labels in book.constants.items()},
        moves={key: (call, channel[call.labels[0]]) for key, call in book.moves.items()},
        solved=channel,
        outputs=outputs,
        hidden=walker.hidden,
    )
