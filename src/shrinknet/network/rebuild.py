"""Rebuild: makes a recorded network again, with each layer replaced by a new one.

Nested models are rebuilt too, and composite layers that can be followed are written out as nested models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from shrinknet.errors import ModelError
from shrinknet.graph.calls import registered
from shrinknet.graph.following import follow, is_composite, is_over_time, is_recorded, leave_alone, name_of
from shrinknet.internals import (
    functional_of,
    input_like,
    input_structure,
    maker_of,
    nodes_of,
    output_structure,
    single_call,
)
from shrinknet.network.assembling import assemble
from shrinknet.network.copying import Pairs, carry_state, clone_around, copied, copy_layer, refuse_untied

Make = Callable[[str, Any], Any]  # (path, layer or operation) -> its replacement
Perform = Callable[[str, Any, Any, Any], Any]  # (path, replacement, args, kwargs) -> outputs
Check = Callable[[Any, Any, Any, Any], None]  # (composite layer, its model, args, kwargs): raises if they differ


def _perform(path: str, operation: Any, arguments: Any, keywords: Any) -> Any:
    return operation(*arguments, **keywords)


def rebuild(model: Any, make: Make, perform: Perform = _perform, check: Check | None = None) -> Any:
    """A model of the same structure, names, inputs and outputs, with each layer replaced by what `make` returns.

    Shared layers stay shared; nested models are rebuilt too. The result has the same class if Keras creates models of
    that class from inputs and outputs; otherwise it is a Functional model. `perform` calls each replacement; a
    Sequential model becomes a Functional one if `perform` calls anything else.

    Args:
        check: raises ModelError if a composite layer and the model that following it gave compute different results;
            the layer is then passed to `make` as one layer. None: composite layers are not followed.
    """
    return Rebuilder(make, perform, check).model(model, "")


class Rebuilder:
    """Rebuilds a network; see `rebuild`.

    Attributes:
        made: id of a layer or nested model -> its replacement.
        followed: id of a composite layer -> the model that following it gave.
        tensors: id of a symbolic tensor -> its replacement.
        reasons: id of a composite layer that was not followed -> why.
        pairs: variables that a model holds besides its graph, each with its counterpart.
    """

    def __init__(self, make: Make, perform: Perform = _perform, check: Check | None = None) -> None:
        self.make = make
        self.perform = perform
        self.check = check
        self.made: dict[int, Any] = {}
        self.followed: dict[int, Any] = {}
        self.tensors: dict[int, Any] = {}
        self.reasons: dict[int, str] = {}
        self.pairs: Pairs = []
        self.calls: dict[int, list[Any]] = {}  # id of an operation -> the records of its calls
        self.kept: list[Any] = []  # originals, so that no id is given twice while it is a key

    def model(self, model: Any, prefix: str, like: Any = None) -> Any:
        """The rebuilt model; `like` are the tensors that it is called with, which give the shapes of its inputs."""
        functional = functional_of(model)
        structure = input_structure(functional)
        olds = tree.flatten(structure)
        likes = dict(zip(map(id, olds), tree.flatten(like) if like is not None else olds, strict=True))
        inputs = tree.map_structure(lambda tensor: _input_like(tensor, likes[id(tensor)].shape), structure)
        known = dict(zip(map(id, olds), tree.flatten(inputs), strict=True))
        for node in nodes_of(functional):
            self.calls.setdefault(id(node.operation), []).append(node)
        for node in nodes_of(functional):
            path = prefix + name_of(node.operation)
            outputs = self.call(path, node, *node.arguments.fill_in(known))
            known.update({id(old): new for old, new in zip(node.outputs, tree.flatten(outputs), strict=True)})
        self.tensors.update(known)
        outputs = tree.map_structure(lambda tensor: known[id(tensor)], output_structure(functional))
        outputs = self.perform(prefix, lambda tensors: tensors, (outputs,), {})
        _name_apart(tree.flatten(outputs), {id(made) for made in self.made.values()})
        new = assemble(model, inputs, outputs, self.counterpart)
        new._trainable = model._trainable
        return new

    def call(self, path: str, node: Any, arguments: Any, keywords: Any) -> Any:
        """Calls the replacement of a node's operation, which is made at the first call."""
        operation = node.operation
        if is_over_time(operation):
            return self.perform(path, lambda given, **named: self._over_time(path, operation, given)(given, **named),
                                arguments, keywords)  # fmt: skip
        inner = self._inner(operation, node)
        if inner is None:
            if id(operation) not in self.made:
                self._remember(operation, self.make(path, operation))
                if id(operation) in self.reasons:
                    leave_alone(self.made[id(operation)], self.reasons[id(operation)])
            return self.perform(path, self.made[id(operation)], arguments, keywords)
        if inner is not operation:  # a composite layer: its model takes the tensors among the arguments
            tensors = [leaf for leaf in tree.flatten((arguments, keywords)) if isinstance(leaf, keras.KerasTensor)]
            arguments, keywords = (tensors if len(tensors) > 1 else tensors[0],), {}

        def nested(*given: Any, **named: Any) -> Any:
            if id(operation) not in self.made:
                self._remember(operation, self.model(inner, path + "/", given[0]))
            return self.made[id(operation)](*given, **named)

        return self.perform(path, nested, arguments, keywords)

    def _over_time(self, path: str, wrapper: Any, given: Any) -> Any:
        """The replacement of a TimeDistributed, around that of its layer, or of the model inside it."""
        if id(wrapper) not in self.made:
            layer, path = wrapper.layer, f"{path}/{wrapper.layer.name}"
            frame = keras.KerasTensor((given.shape[0], *given.shape[2:]), dtype=given.dtype)
            call = single_call(layer, frame, [])
            self.calls.setdefault(id(layer), []).append(call)
            inner = self._inner(layer, call)
            if id(layer) in self.made:
                made = self.made[id(layer)]
            elif is_over_time(layer):
                made = self._over_time(path, layer, frame)
            elif inner is None:
                made = self._alone(path, self.make(path, layer), frame)
            else:
                made = self.model(inner, path + "/", frame)
            self._remember(layer, made)
            if id(layer) in self.reasons:
                leave_alone(made, self.reasons[id(layer)])
            self._remember(wrapper, clone_around(wrapper, made))
        return self.made[id(wrapper)]

    def _alone(self, path: str, made: Any, frame: Any) -> Any:
        """A layer that a wrapper holds, or a model of what `perform` does in its place: a movement may be another."""
        known = registered(type(made))
        if known is None or not known.moves:
            return made
        inputs = input_like(frame, frame.shape)
        outputs = self.perform(path + "/", lambda tensor: tensor, (self.perform(path, made, (inputs,), {}),), {})
        (output,) = tree.flatten(outputs)
        return made if maker_of(output)[0] is made else keras.Model(inputs, output, name=made.name)

    def counterpart(self, value: Any, made: Any = None) -> Any:
        """The replacement of what a model holds; see `Counterpart`.

        A model between tensors of the network is made from the new tensors. Weights, layers and seeds outside of the
        graph are copied, or what the constructor made gets their values.
        """
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, keras.Model) and is_recorded(value):
            tensors = [*tree.flatten(input_structure(value)), *tree.flatten(output_structure(value))]
            if all(id(tensor) in self.tensors for tensor in tensors):
                ends = (input_structure(value), output_structure(value))
                inputs, outputs = tree.map_structure(lambda tensor: self.tensors[id(tensor)], ends)
                return keras.Model(inputs, outputs, name=value.name)
            if value.trainable_weights:  # such as a teacher that is trained as well
                self._remember(value, plain_copy(value))
                return self.made[id(value)]
        elif isinstance(value, keras.Variable | keras.random.SeedGenerator) or (
            isinstance(value, keras.layers.Layer) and (value.trainable_weights or not isinstance(value, keras.Model))
        ):
            new, pairs = copied(value, made)
            self.pairs += pairs
            self._remember(value, new)
            return new
        return value

    def _inner(self, operation: Any, node: Any) -> Any:
        """The recorded model inside an operation; None if the operation is replaced as one layer."""
        if isinstance(operation, keras.Model) and is_recorded(operation):
            return operation
        if self.check is None or not is_composite(operation):
            return None
        if id(operation) in self.made:  # called before, so this is already decided
            return self.followed.get(id(operation))
        try:
            arguments, keywords = _for_all(self.calls[id(operation)])
            followed = follow(operation, arguments, keywords)
            self.check(operation, followed, arguments, keywords)
        except ModelError as error:
            self.reasons[id(operation)] = f"the layer {name_of(operation)} ({type(operation).__name__}): {error}"
            return None
        self.followed[id(operation)] = followed
        return followed

    def _remember(self, operation: Any, made: Any) -> None:
        self.made[id(operation)] = made
        self.kept.append(operation)


def plain_copy(model: Any) -> Any:
    """An uncompiled copy of a recorded model, with its state."""
    copies: list[tuple[Any, Any]] = []

    def make(path: str, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        copies.append((operation, copy_layer(operation)))
        return copies[-1][1]

    new = rebuild(model, make)
    refuse_untied(model, [pair for old, copy in copies for pair in carry_state(old, copy)])
    return new


def _name_apart(outputs: list[Any], made: set[int]) -> None:
    """Renames operations that `perform` inserted if their names are taken: names are unique within a model."""
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


def _for_all(calls: list[Any]) -> tuple[Any, Any]:
    """The arguments of the first of these calls, with sizes open in which the others differ."""
    first = calls[0].arguments
    every = [
        node.arguments.keras_tensors for node in calls if len(node.arguments.keras_tensors) == len(first.keras_tensors)
    ]
    merged = {
        id(tensor): keras.KerasTensor(
            [None if any(size != sizes[0] for size in sizes) else sizes[0] for sizes in zip(*shapes, strict=False)],
            dtype=tensor.dtype,
        )
        for position, tensor in enumerate(first.keras_tensors)
        for shapes in [[tensors[position].shape for tensors in every]]
        if len(set(shapes)) > 1
    }
    return tree.map_structure(lambda leaf: merged.get(id(leaf), leaf), (first.args, first.kwargs))


def _input_like(tensor: Any, shape: Any) -> Any:
    if len(shape) == len(tensor.shape):  # a size that is open stays so: other calls may have another
        shape = (
            shape[0],
            *(None if own is None else size for own, size in zip(tensor.shape[1:], shape[1:], strict=True)),
        )
    return input_like(tensor, shape, tensor.name)
