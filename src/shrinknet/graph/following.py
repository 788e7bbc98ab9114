"""Following: the call of a composite layer, traced into a Functional model.

A composite layer, whose call consists of other layers and `keras.ops`, is called with symbolic tensors, and Keras
records its graph as it does for a model. The model is made of the layer's own sublayers, so the weights are shared.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from shrinknet.errors import ModelError, first_line
from shrinknet.graph.calls import registered
from shrinknet.internals import as_before, functional_of, input_like, layers_of, nodes_of, own_variables

_LEFT_ALONE = "_shrinknet_left_alone"  # key in a layer's __dict__; its value says why the layer is not followed


def is_composite(operation: Any) -> bool:
    """Whether an operation is a layer made of other layers and without a rule, or a subclassed model."""
    if not isinstance(operation, keras.layers.Layer) or registered(type(operation)) is not None:
        return False
    if is_over_time(operation):
        return False
    if isinstance(operation, keras.Model):
        return not is_recorded(operation)
    return any(layer.weights for layer in sublayers(operation))


def is_over_time(operation: Any) -> bool:
    """Whether an operation applies a layer that can be looked into, or a nested model, to every time step."""
    if type(operation) is not keras.layers.TimeDistributed:
        return False
    layer = operation.layer
    inside = isinstance(layer, keras.Model) and is_recorded(layer)
    return inside or registered(type(layer)) is not None or is_composite(layer) or is_over_time(layer)


def leave_alone(layer: Any, reason: str) -> None:
    """Marks a layer that is not to be followed; `reason` completes the sentence "conv2 cannot be cut: ..."."""
    vars(layer)[_LEFT_ALONE] = reason


def why_left_alone(layer: Any) -> str | None:
    """The reason that was passed to `leave_alone`; None if it was not called."""
    reason = getattr(layer, "__dict__", {}).get(_LEFT_ALONE)
    return None if reason is None else str(reason)


def sublayers(layer: Any) -> list[Any]:
    """The layers inside a layer, at any depth."""
    return [one for one in layers_of(layer) if one is not layer and not isinstance(one, keras.metrics.Metric)]


def is_recorded(model: Any) -> bool:
    """Whether Keras recorded the operations of the model."""
    try:
        functional_of(model)
    except ModelError:
        return False
    return True


def follow(layer: Any, arguments: Any, keywords: Any, *, as_given: bool = False) -> Any:
    """A Functional model that computes the same as the layer when it is called with these arguments.

    Args:
        layer: a built composite layer or subclassed model; it is not changed.
        arguments, keywords: the arguments of a call, with symbolic tensors in place of tensors; everything else
            becomes part of the model.
        as_given: the model takes the first argument in the structure that it has here, with the names of its tensors.

    Returns:
        A model that takes the tensors among the arguments, in order. It shares the weights of the layer.

    Raises:
        ModelError: the call cannot be followed; the message says why.
    """
    reason = why_left_alone(layer)
    if reason is not None:
        raise ModelError(reason)
    try:
        followed = recorded(layer, arguments, keywords, as_given)
    except Exception as error:
        if "add_loss()" in str(error):
            raise ModelError("its call adds a loss with add_loss(), which Keras does not record") from None
        if not any(isinstance(one, keras.Sequential) for one in sublayers(layer)):
            raise ModelError(f"its call cannot be followed with symbolic tensors ({first_line(error)})") from error
        with _spelled_out(layer):
            try:
                followed = recorded(layer, arguments, keywords, as_given)
            except Exception:
                raise ModelError(f"its call cannot be followed with symbolic tensors ({first_line(error)})") from error
    missed = {id(one) for one in layer.variables} - {id(one) for one in (*followed.variables, *_seeds_inside(layer))}
    if missed and _has_constants(followed):  # else nothing was computed with them, and nothing depends on them
        names = ", ".join(one.path for one in layer.variables if id(one) in missed)
        apart = [one.name for one in sublayers(layer) if not missed.isdisjoint(map(id, own_variables(one)))]
        if apart:
            raise ModelError(
                f"it uses the weights of its layer {apart[0]} without its inputs (a call with constants, or none), "
                "which Keras does not record"
            )
        raise ModelError(f"its call uses weights that belong to none of its layers ({names[:160]})")
    if layer.activity_regularizer is not None:
        raise ModelError("it regularizes its output")
    followed._trainable = layer._trainable
    return followed


def open_shapes(tensors: Sequence[Any]) -> list[tuple[int | None, ...]]:
    """The shapes of tensors that go into one layer, with an open batch; one without a batch, as a table, keeps all."""
    some_are_open = any(tensor.shape[0] is None for tensor in tensors if tensor.shape)
    return [tuple(one.shape) if some_are_open or not one.shape else (None, *one.shape[1:]) for one in tensors]


def _leave_batch_open(followed: Any) -> bool:
    """Lets a reshape infer the one size that was not known when it was recorded, as `ops.shape(x)[0]` of a batch.

    Returns whether the reshape left another size (-1) to be inferred, which is computed now, from those of one sample.
    """
    for node in nodes_of(followed):
        wanted = getattr(node.operation, "newshape", None)
        if not isinstance(wanted, tuple | list) or None not in wanted:
            continue
        known = tuple(node.outputs[0].shape)
        if known.count(None) == 1:
            node.operation.newshape = tuple(-1 if size is None else size for size in known)
            continue
        sample = tuple(node.arguments.keras_tensors[0].shape[1:])
        sizes = [size for size in wanted[1:] if size != -1]
        if wanted[0] is None and -1 in wanted and None not in (*sample, *sizes):
            rest = math.prod(sample) // max(math.prod(sizes), 1)
            node.operation.newshape = (-1, *(rest if size == -1 else size for size in wanted[1:]))
            return True
    return False


def _has_constants(followed: Any) -> bool:
    """Whether numbers that a recorded call does not show went into it: a weight that was read may be among them."""
    for node in nodes_of(followed):
        operation = node.operation
        hidden = [] if isinstance(operation, keras.layers.Layer) else list(vars(operation).values())
        leaves = tree.flatten((node.arguments.args, node.arguments.kwargs, hidden))
        if isinstance(operation, keras.layers.Lambda) or any(map(_is_number, leaves)):
            return True
    return False


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, keras.Variable | np.ndarray) or (
        ops.is_tensor(leaf) and not isinstance(leaf, keras.KerasTensor)
    )


def _seeds_inside(layer: Any) -> list[Any]:
    """The seeds of the layers inside: a dropout that is never called is missing in a graph, and is not missed."""
    generators = [getattr(one, "seed_generator", None) for one in sublayers(layer)]
    return [one.state for one in generators if isinstance(one, keras.random.SeedGenerator)]


def recorded(layer: Any, arguments: Any, keywords: Any, as_given: bool = False) -> Any:
    """The layer's call with symbolic tensors, as Keras records it."""
    tensors = [leaf for leaf in tree.flatten((arguments, keywords)) if isinstance(leaf, keras.KerasTensor)]
    shapes = zip(tensors, open_shapes(tensors), strict=True)
    taken = {one.name for one in layers_of(layer)}
    inputs = [
        input_like(tensor, shape, tensor.name if as_given and tensor.name not in taken else None)
        for tensor, shape in shapes
    ]
    known = dict(zip(map(id, tensors), inputs, strict=True))
    given, named = tree.map_structure(lambda leaf: known.get(id(leaf), leaf), (arguments, keywords))
    ends = given[0] if as_given else inputs if len(inputs) > 1 else inputs[0]
    with recording(layer):
        followed = keras.Model(ends, layer.call(*given, **named), name=layer.name)
        while _leave_batch_open(followed):  # sizes that were unknown are known now: they are recorded anew
            followed = keras.Model(ends, keras.Function.call(followed, ends), name=layer.name)
    return followed


@contextlib.contextmanager
def recording(layer: Any) -> Iterator[None]:
    """While the block lasts, the layer's call may be recorded with symbolic tensors."""
    with _unrecorded(layer), _backend_followed(), as_before(layer):
        yield


def _backend_followed() -> Any:
    """While the block lasts, functions of the backend may be recorded; only for TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    from shrinknet.graph.following_tensorflow import tensorflow_followed

    return tensorflow_followed()


class _Spelled(keras.Sequential):
    """Calls its layers one by one, on sizes that it was not built for as well."""

    def __call__(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs


@contextlib.contextmanager
def _spelled_out(layer: Any) -> Iterator[None]:
    """While the block lasts, the layers of Sequential models inside are recorded each for itself.

    A Sequential accepts tensors of other sizes than it was built for, but not symbolic ones.
    """
    inner = [one for one in sublayers(layer) if type(one) is keras.Sequential]
    for one in inner:
        one.__class__ = _Spelled
    try:
        yield
    finally:
        for one in inner:
            one.__class__ = keras.Sequential


@contextlib.contextmanager
def _unrecorded(layer: Any) -> Iterator[None]:
    """Lets Keras record calls of the sublayers under unique names; names and records are restored afterwards.

    The Functional model that was made in the meantime keeps its own records.
    """
    inner = list(layers_of(layer))
    before = [(one, one.name, len(one._inbound_nodes), len(one._outbound_nodes)) for one in inner]
    times = Counter(one.name for one in inner)
    seen: Counter[str] = Counter()
    for one in inner:
        seen[one.name] += 1
        if times[one.name] > 1 and seen[one.name] > 1:
            vars(one)["_shrinknet_name"] = one.name = f"{one.name}_{seen[one.name] - 1}"
    try:
        yield
    finally:
        for one, name, inbound, outbound in before:
            one.name = name
            del one._inbound_nodes[inbound:]
            del one._outbound_nodes[outbound:]


def name_of(operation: Any) -> str:
    """The name of an operation, unique within its model."""
    return str(getattr(operation, "__dict__", {}).get("_shrinknet_name", operation.name))
