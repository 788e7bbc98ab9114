"""Following: the call of a composite layer, traced into a Functional model.

A composite layer, whose call consists of other layers and `keras.ops`, is called with symbolic tensors, and Keras
records its graph as it does for a model. The model is made of the layer's own sublayers, so the weights are shared.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from shrinknet.errors import ModelError
from shrinknet.graph.calls import registered
from shrinknet.internals import functional_of, layers_of

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
    """Whether an operation applies a layer that has a rule to every time step."""
    return type(operation) is keras.layers.TimeDistributed and registered(type(operation.layer)) is not None


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


def follow(layer: Any, arguments: Any, keywords: Any) -> Any:
    """A Functional model that computes the same as the layer when it is called with these arguments.

    Args:
        layer: a built composite layer or subclassed model; it is not changed.
        arguments, keywords: the arguments of a call, with symbolic tensors in place of tensors; everything else
            becomes part of the model.

    Returns:
        A model that takes the tensors among the arguments, in order. It shares the weights of the layer.

    Raises:
        ModelError: the call cannot be followed; the message says why.
    """
    reason = why_left_alone(layer)
    if reason is not None:
        raise ModelError(reason)
    tensors = [leaf for leaf in tree.flatten((arguments, keywords)) if isinstance(leaf, keras.KerasTensor)]
    inputs = [keras.Input(batch_shape=(None, *tensor.shape[1:]), dtype=tensor.dtype) for tensor in tensors]
    known = dict(zip(map(id, tensors), inputs, strict=True))
    given, named = tree.map_structure(lambda leaf: known.get(id(leaf), leaf), (arguments, keywords))
    with _unrecorded(layer):
        try:
            outputs = layer.call(*given, **named)
            followed = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=layer.name)
        except Exception as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(f"its call cannot be followed with symbolic tensors ({words[0][:160]})") from error
    missed = {id(one) for one in layer.variables} - {id(one) for one in followed.variables}
    if missed:
        names = ", ".join(one.path for one in layer.variables if id(one) in missed)
        raise ModelError(f"its call uses weights that belong to none of its layers ({names[:160]})")
    if layer.activity_regularizer is not None:
        raise ModelError("it regularizes its output")
    followed._trainable = layer._trainable
    return followed


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
