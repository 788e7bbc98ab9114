"""Rebuild a recorded network with other layers in the same places; carry weights and compile settings over."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from shrinknet.errors import ModelError
from shrinknet.internals import (
    Functional,
    functional_like_constructor,
    functional_of,
    input_structure,
    maker_of,
    nodes_of,
    output_structure,
)

Make = Callable[[str, Any], Any]  # (path, layer or operation) -> what stands in its place
Perform = Callable[[str, Any, Any, Any], Any]  # (path, what stands there, args, kwargs) -> outputs


def _perform(path: str, operation: Any, arguments: Any, keywords: Any) -> Any:
    return operation(*arguments, **keywords)


def rebuild(model: Any, make: Make, perform: Perform = _perform) -> Any:
    """A model of the same structure, class, names, inputs and outputs, each layer made anew by `make`.

    Layers that are shared stay shared; nested models are rebuilt too. `perform` calls each layer or operation; a
    Sequential model in which it calls another one than was made becomes a Functional one.

    Raises:
        ModelError: the model's class changes how it trains and cannot be made from inputs and outputs.
    """
    return _rebuild(model, make, perform, "", {})


def _rebuild(model: Any, make: Make, perform: Perform, prefix: str, done: dict[int, Any], like: Any = None) -> Any:
    functional = functional_of(model)
    structure = input_structure(functional)
    olds = tree.flatten(structure)
    likes = dict(zip(map(id, olds), tree.flatten(like) if like is not None else olds, strict=True))
    inputs = tree.map_structure(lambda tensor: _input_like(tensor, likes[id(tensor)].shape), structure)
    known = dict(zip(map(id, olds), tree.flatten(inputs), strict=True))
    for node in nodes_of(functional):
        operation, path = node.operation, prefix + node.operation.name
        if isinstance(operation, keras.Model):
            performed = functools.partial(_nested, operation, make, perform, path + "/", done)
        else:
            performed = done[id(operation)] if id(operation) in done else make(path, operation)
            done[id(operation)] = performed
        outputs = perform(path, performed, *node.arguments.fill_in(known))
        known.update({id(old): new for old, new in zip(node.outputs, tree.flatten(outputs), strict=True)})
    outputs = tree.map_structure(lambda tensor: known[id(tensor)], output_structure(functional))
    outputs = perform(prefix, lambda tensors: tensors, (outputs,), {})
    _name_apart(tree.flatten(outputs), {id(made) for made in done.values()})
    new = _assemble(model, inputs, outputs)
    new._trainable = model._trainable
    return new


def _name_apart(outputs: list[Any], made: set[int]) -> None:
    """Renames operations that `perform` put in where their names are taken: in a model each has a name of its own."""
    operations: dict[int, Any] = {}
    seen: set[tuple[int, int]] = set()
    while outputs:
        operation, number, node = maker_of(outputs.pop())
        if (id(operation), number) not in seen:
            seen.add((id(operation), number))
            operations[id(operation)] = operation
            outputs += node.input_tensors
    new = [one for one in operations.values() if id(one) not in made and not isinstance(one, keras.layers.InputLayer)]
    taken = {one.name for one in operations.values() if one not in new}
    for operation in new:
        name, tried = operation.name, 0
        while operation.name in taken:
            tried += 1
            operation.name = f"{name}_{tried}"
        taken.add(operation.name)


def _nested(
    model: Any, make: Make, perform: Perform, prefix: str, done: dict[int, Any], *arguments: Any, **keywords: Any
) -> Any:
    """Calls a nested model, made anew at its first call for inputs of the sizes that it is called with."""
    if id(model) not in done:
        done[id(model)] = _rebuild(model, make, perform, prefix, done, arguments[0])
    return done[id(model)](*arguments, **keywords)


def _input_like(tensor: Any, shape: Any) -> Any:
    return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)


def _assemble(model: Any, inputs: Any, outputs: Any) -> Any:
    kind = plain_class(type(model))
    if isinstance(model, keras.Sequential):
        layers = _line_of_layers(tree.flatten(inputs)[0], outputs)
        if layers is not None and _init_of(kind) is keras.Sequential.__init__:
            return kind([tree.flatten(inputs)[0], *layers], name=model.name)
        kind = keras.Model if kind is keras.Sequential else kind
    if kind is Functional or functional_like_constructor(kind):
        return kind(inputs, outputs, name=model.name)
    own = [name for name in _BEHAVIOUR if getattr(kind, name) is not getattr(keras.Model, name)]
    if not own:
        return keras.Model(inputs, outputs, name=model.name)
    raise ModelError(
        f"The class {kind.__name__} of model {model.name} cannot be made anew from inputs and outputs, and it changes "
        "how the model trains. Give its __init__ the signature (self, inputs, outputs, name=None, **kwargs)."
    )


def _init_of(kind: Any) -> Any:
    return kind.__init__


def _line_of_layers(tensor: Any, output: Any) -> list[Any] | None:
    """The layers between two tensors; None where something else than layers stands there."""
    line: list[Any] = []
    while output is not tensor:
        operation, _, node = maker_of(output)
        if not isinstance(operation, keras.layers.Layer):
            return None
        line.insert(0, operation)
        output = node.arguments.keras_tensors[0]
    return line


_BEHAVIOUR = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "compile")


def plain_class(kind: type) -> type:
    """The user's own class behind a class that was generated for a switched model."""
    return getattr(kind, "plain_class", kind)


_ROLES = ("activation", "function", "initializer", "regularizer", "constraint")


def clone_layer(layer: Any, kind: Any = None, **changes: Any) -> Any:
    """A new layer from the configuration of this one, as `kind` and with `changes` of its configuration.

    Functions of the user's own, as an activation, are handed on as they are: they need no registration.

    Raises:
        ModelError: its configuration does not describe it.
    """
    kind = kind or type(layer)
    attributes = vars(layer)
    own = {
        key: value
        for key, value in attributes.items()
        if isinstance(value, types.FunctionType)
        and key.endswith(_ROLES)
        and (isinstance(layer, keras.layers.Lambda) or not value.__module__.startswith("keras."))
    }
    stand_ins = {key: keras.activations.linear if key.endswith(_ROLES[:2]) else None for key in own}
    try:
        attributes.update(stand_ins)  # which Keras can write down
        new = kind.from_config({**layer.get_config(), **changes})
    except Exception as error:
        raise ModelError(
            f"The layer {layer.name} ({type(layer).__name__}) cannot be made anew from its get_config(): "
            f"{str(error).strip().splitlines()[0]} A layer's get_config() must hold the arguments of its __init__, and "
            "its from_config() take them."
        ) from error
    finally:
        attributes.update(own)
    vars(new).update(own)
    return new
