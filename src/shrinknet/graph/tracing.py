"""`trace` runs the rules over a network, nested models included, and gives its `ChannelGraph`."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shrinknet.errors import ModelError
from shrinknet.graph import rules
from shrinknet.graph.calls import Book, Call, Registered, Tensor, makes_channels, registered
from shrinknet.graph.channels import ChannelGraph, Weight
from shrinknet.graph.following import (
    follow,
    is_composite,
    is_over_time,
    is_recorded,
    name_of,
    recorded,
    sublayers,
    why_left_alone,
)
from shrinknet.graph.probing import probed
from shrinknet.internals import functional_of, given_to, layers_of, mentions, nodes_of, single_call


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
    sizes = [tuple(tensor.shape[1:]) for tensor in functional.inputs]
    is_open = any(None in shape for shape in sizes)
    if input_shape is None and not is_open and any(times is None for *_, times in book.products):
        with contextlib.suppress(ModelError):  # a layer may not tell its sizes: they stay open then
            return trace(model, sizes)  # a nested model leaves open what it is called with here
    for out, _ in outputs:
        book.pins.append((out.reshape(-1), "it reaches the model's output"))
    for name, tensor in _shown_to_training(model):
        if id(tensor) in walker.known:
            why = f"the model {name}, an attribute of the network, gives it to a training of the user's own"
            book.pins.append((walker.known[id(tensor)][0].reshape(-1), why))
    return _solve(book, walker, tuple(outputs))


def _shown_to_training(model: Any) -> Iterator[tuple[str, Any]]:
    """The tensors that models among the attributes of a model give to the methods by which its class trains."""
    kind: Any = getattr(type(model), "plain_class", type(model))
    steps = (kind.train_step, kind.test_step, kind.compute_loss)
    own = [step for step in steps if not step.__module__.startswith("keras.")]
    for name, value in vars(model).items() if own else ():
        if isinstance(value, keras.Model) and is_recorded(value) and any(mentions(one, name) for one in own):
            yield from ((name, tensor) for tensor in functional_of(value).outputs)


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


_COUNTED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # a layer -> a model of what it computes
_PROBED: weakref.WeakKeyDictionary[Any, Registered | None] = weakref.WeakKeyDictionary()  # a layer -> its rule


def found_rule(layer: Any) -> Registered | None:
    """The rule that probing found for a layer; None if it found none, or was not tried."""
    return _PROBED.get(layer)


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
        self.paths: dict[int, str] = {}  # id of an operation -> where it is called first, which names it
        self.layers: dict[str, Any] = {}
        self.known: dict[int, Tensor] = {}  # id of a symbolic tensor of the model that was walked last
        self.calls: list[Call] = []
        self.times: Counter[str] = Counter()
        self.entries: dict[int, list[np.ndarray]] = {}  # id of a nested model -> the labels of its first call

    def walk(self, functional: Any, inputs: list[Tensor], prefix: str) -> list[Tensor]:
        known = {id(tensor): item for tensor, item in zip(functional.inputs, inputs, strict=True)}
        for node in nodes_of(functional):
            items = [known[id(tensor)] for tensor in node.arguments.keras_tensors]
            outputs = self.visit(node, items, prefix + name_of(node.operation))
            known.update({id(tensor): item for tensor, item in zip(node.outputs, outputs, strict=True)})
        self.known = known
        return [known[id(tensor)] for tensor in functional.outputs]

    def visit(self, node: Any, inputs: list[Tensor], path: str) -> list[Tensor]:
        operation, reason = node.operation, None
        path = self.paths.setdefault(id(operation), path)
        if isinstance(operation, keras.Model) and is_recorded(operation):
            by_tensor = {id(one): item for one, item in zip(node.arguments.keras_tensors, inputs, strict=True)}
            given = [by_tensor[id(tensor)] for tensor in given_to(functional_of(operation), node)]
            return self.as_called(node, self.enter(functional_of(operation), operation, given, path))
        if is_over_time(operation):
            return self.at_each_time(node, inputs, path)
        if is_composite(operation):
            inner = self.inner(operation, node.arguments.args, node.arguments.kwargs)
            if isinstance(inner, keras.Model):
                return self.as_called(node, self.enter(inner, operation, inputs, path))
            reason = str(inner)
        outputs = self.specs(node, inputs, path)
        known = registered(type(operation)) or self.found(node) or Registered(rules.unknown)
        if self.has_switches and (known.reads or known.count) and not _has_switches(operation):
            reason = why_left_alone(operation) or f"{operation.name} has settings for which there is no rule"
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
        pins = len(self.book.pins)
        call.taken, call.given = inputs, list(zip(call.checked(known.rule(call)), outputs, strict=True))
        if reason is not None:
            self.count_inside(call)
        if isinstance(operation, keras.layers.Layer):
            self.hide(operation, path, call.refused)
            if makes_channels(type(operation)) and known.count is None:
                reasons = [why for _, why in self.book.pins[pins:]]
                self.hidden[path] = call.refused or (reasons[-1] if reasons else "there is no rule for its filters")
        return call.given

    def count_inside(self, call: Call) -> None:
        """Notes what a layer that is left as it is multiplies by, as if it were looked into: it costs as much."""
        walker = _Walker(Book(), self.fixed, has_switches=False)
        inputs = [(walker.book.pinned("", labels.ndim), spec) for labels, spec in call.taken]
        known = registered(type(call.operation))
        try:
            if known is not None:
                known.rule(replace(call, labels=[labels for labels, _ in inputs], book=walker.book))
            else:
                walker.walk(_to_count(call), inputs, "")
        except Exception:  # what it computes is unknown, and so is what it costs: `cost` says that it is not counted
            return
        self.book.products += [(call.path, kernel, times) for _, kernel, times in walker.book.products]
        if known is None:
            told = {path for path, *_ in walker.book.products}
            call.inside = [one for one in walker.calls if one.path not in told]

    def as_called(self, node: Any, outputs: list[Tensor]) -> list[Tensor]:
        """What a nested model gives in this call; inside, the sizes of the first call were recorded."""
        if self.fixed:
            return outputs
        return [(labels, tensor) for (labels, _), tensor in zip(outputs, node.outputs, strict=True)]

    def specs(self, node: Any, inputs: list[Tensor], path: str) -> list[Any]:
        """The symbolic outputs of a call, with the sizes that these inputs give them."""
        if not self.fixed:
            return list(node.outputs)
        known = {id(tensor): spec for tensor, (_, spec) in zip(node.arguments.keras_tensors, inputs, strict=True)}
        arguments, keywords = node.arguments.fill_in(known)
        try:
            return list(keras.tree.flatten(node.operation.compute_output_spec(*arguments, **keywords)))
        except Exception as error:
            sizes = ", ".join(str(tuple(spec.shape[1:])) for _, spec in inputs)
            raise ModelError(
                f"The input_shape does not fit the model: {path} cannot take {sizes} "
                f"({str(error).strip().splitlines()[0][:160]}). Give the shape of a larger sample."
            ) from error

    def at_each_time(self, node: Any, inputs: list[Tensor], path: str) -> list[Tensor]:
        """TimeDistributed: visits its layer with tensors that lack the time axis."""
        layer, outer = node.operation.layer, self.specs(node, inputs, path)
        path = f"{path}/{layer.name}"
        labels, spec = self.book.settle(inputs[0][0]), inputs[0][1]
        if labels.ndim > 1 and labels.shape[1] > 1:
            self.book.pins.append((labels.reshape(-1), f"its channels lie along the time axis of {path}"))
        each = np.take(labels, 0, 1) if labels.ndim > 1 else labels
        frame = keras.KerasTensor((spec.shape[0], *spec.shape[2:]), dtype=spec.dtype)
        steps, products, calls = spec.shape[1], len(self.book.products), len(self.calls)
        frames = [keras.KerasTensor((one.shape[0], *one.shape[2:]), dtype=one.dtype) for one in outer]
        outputs = self.visit(single_call(layer, frame, frames), [(each, frame)], path)
        self.book.products[products:] = [
            (where, kernel, None if times is None or steps is None else times * steps)
            for where, kernel, times in self.book.products[products:]
        ]
        inside = self.calls[calls:]
        each_frame = {id(one): one for call in inside for one in (*call.taken, *call.given)}
        whole = {key: _at_all_times(one, steps) for key, one in each_frame.items()}
        for call in inside:
            call.taken, call.given = ([whole[id(one)] for one in some] for some in (call.taken, call.given))
        return [(np.expand_dims(one, 1), tensor) for (one, _), tensor in zip(outputs, outer, strict=True)]

    def found(self, node: Any) -> Registered | None:
        """The rule that probing found for a layer without one; each layer is probed once."""
        if not isinstance(node.operation, keras.layers.Layer):
            return None
        if node.operation not in _PROBED:
            _PROBED[node.operation] = probed(node.operation, node)
        return _PROBED[node.operation]

    def inner(self, operation: Any, arguments: Any, keywords: Any) -> Any:
        """The model that following a composite layer gave, or the reason why it was not followed."""
        if self.has_switches:
            return why_left_alone(operation) or f"the layer {operation.name} is left as it is"
        if id(operation) not in self.followed:
            try:
                self.followed[id(operation)] = follow(operation, arguments, keywords)
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


def _to_count(call: Call) -> Any:
    """What a composite layer computes, as a model that is looked at and not used; made once for each layer."""
    if call.operation not in _COUNTED:
        _COUNTED[call.operation] = recorded(call.operation, call.arguments.args, call.arguments.kwargs)
    return _COUNTED[call.operation]


def _at_all_times(frame: Tensor, steps: int | None) -> Tensor:
    """The tensor of all time steps, of which a layer inside a TimeDistributed sees one."""
    labels, spec = frame
    return np.expand_dims(labels, 1), keras.KerasTensor((spec.shape[0], steps, *spec.shape[1:]), dtype=spec.dtype)


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
        averages=tuple((layer, channel[labels], needs_one) for layer, labels, needs_one in book.averages),
        constants={key: channel[labels] for key, labels in book.constants.items()},
        moves={key: (call, channel[call.labels[0]]) for key, call in book.moves.items()},
        solved=channel,
        outputs=outputs,
        hidden=walker.hidden,
    )
