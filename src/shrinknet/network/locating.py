"""Locating: the first operation of a network that computes something else in another network of the same structure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
from keras import tree

from shrinknet.comparing import difference
from shrinknet.graph.following import is_recorded, name_of
from shrinknet.internals import as_array, as_before, functional_of, given_to, input_structure, nodes_of
from shrinknet.network.precision import full_precision


def first_difference(one: Any, other: Any, inputs: Any, tolerance: float) -> tuple[str, Any] | None:
    """The path and operation in `one` whose outputs differ first in inference; None if none is found.

    Args:
        one, other: recorded models whose operations have the same names, or twice the same model, to find out what
            does not repeat itself; their variables are restored before this returns.
        inputs: as both take them; tolerance: the largest share of the scale that is no difference.
    """
    values, others = _values(one, inputs), _values(other, inputs)
    counterparts = _calls(other)
    for call, node in _calls(one).items():
        twin = counterparts.get(call)
        if twin is None or not _differ(node, twin, values, others, tolerance):
            continue
        path, operation = name_of(node.operation), node.operation
        if isinstance(operation, keras.Model) and is_recorded(operation) and is_recorded(twin.operation):
            given = [values[id(tensor)] for tensor in given_to(functional_of(operation), node)]
            packed = tree.pack_sequence_as(input_structure(operation), given)
            inner = first_difference(operation, twin.operation, packed, tolerance)
            return (f"{path}/{inner[0]}", inner[1]) if inner else (path, operation)
        return path, operation
    return None


def _calls(model: Any) -> dict[tuple[str, int], Any]:
    """The recorded calls of a model in order, each by its operation's name and how often that was called before."""
    times: Counter[str] = Counter()
    calls = {}
    for node in nodes_of(functional_of(model)):
        name = name_of(node.operation)
        calls[name, times[name]] = node
        times[name] += 1
    return calls


def _values(model: Any, inputs: Any) -> dict[int, Any]:
    """Each symbolic tensor of a model, by id, with its value in inference."""
    functional = functional_of(model)
    tensors = [*functional.inputs, *(tensor for node in _calls(model).values() for tensor in node.outputs)]
    with as_before(model), full_precision():
        values = keras.Model(input_structure(model), tensors)(inputs, training=False)
    return dict(zip(map(id, tensors), values, strict=True))


def _differ(node: Any, twin: Any, values: dict[int, Any], others: dict[int, Any], tolerance: float) -> bool:
    for tensor, counterpart in zip(node.outputs, twin.outputs, strict=True):
        want, got = as_array(values[id(tensor)]), as_array(others[id(counterpart)])
        if want.shape != got.shape or not difference(want, got) <= tolerance:
            return True
    return False
