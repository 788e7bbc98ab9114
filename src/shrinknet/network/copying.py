"""Copies of layers: made from their configuration, with all the state that Keras itself saves and loads.

That is more than weights: the statistics of an adapted Normalization, the vocabulary of a lookup layer, seeds, and
sublayers that were built late. The state is copied in memory with the methods that Keras uses to save and load.
"""

from __future__ import annotations

import contextlib
import tempfile
import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.saving import saving_lib
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils import tracking

from shrinknet.errors import ModelError, first_line
from shrinknet.graph.following import is_recorded
from shrinknet.internals import layers_of, own_variables
from shrinknet.layers.live import LiveActivity

_ROLES = ("activation", "function", "initializer", "regularizer", "constraint", "output_shape", "mask")
Pairs = list[tuple[Any, Any]]


def clone_layer(layer: Any, kind: Any = None, *, resized: bool = False, **changes: Any) -> Any:
    """A new layer of class `kind` from the configuration of this one, with `changes` to the configuration.

    With `resized` it may read another number of channels, and so the layers inside it, such as the cell of a recurrent
    layer, forget the shapes that they were built with.

    The user's own functions, such as an activation, are passed on as they are and need no registration. The new layer
    is not built; `carry_state` fills it once it is.

    Raises:
        ModelError: the layer cannot be created from its configuration.
    """
    kind = kind or type(layer)
    attributes = vars(layer)
    given = {key: value.regularizer if isinstance(value, LiveActivity) else value for key, value in attributes.items()}
    own = {
        key: value
        for key, value in given.items()
        if isinstance(value, types.FunctionType)
        and key.endswith(_ROLES)
        and (isinstance(layer, keras.layers.Lambda) or not value.__module__.startswith("keras."))
    }
    before = {key: attributes[key] for key in own}
    stand_ins = {key: keras.activations.linear if key.endswith(_ROLES[:2]) else None for key in own}
    try:
        attributes.update(stand_ins)  # Keras can serialize these
        new = kind.from_config({**(_unbuilt if resized else dict)(layer.get_config()), **changes})
    except Exception as error:
        raise ModelError(
            f"The layer {layer.name} ({type(layer).__name__}) cannot be re-created from its get_config(): "
            f"{first_line(error).rstrip('.')}. A layer's get_config() must return the arguments of its __init__, and "
            "its from_config() must accept them."
        ) from error
    finally:
        attributes.update(before)
    vars(new).update(own)
    new.name = layer.name  # Keras leaves it out of some configurations
    return new


def _unbuilt(config: Any) -> Any:
    """A configuration without the shapes that layers inside the layer were built with."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return [_unbuilt(one) for one in config] if isinstance(config, list) else config


def clone_around(wrapper: Any, layer: Any) -> Any:
    """A new TimeDistributed like `wrapper` around another layer."""
    config = {key: value for key, value in wrapper.get_config().items() if key != "layer"}
    return type(wrapper)(layer, **config)


def carry_state(old: Any, new: Any) -> Pairs:
    """Copies everything that Keras saves for a layer: variables, vocabularies, statistics, seeds.

    Args:
        old: a built layer; new: a layer made from its configuration, possibly with switches. Sublayers of `new` that
            are not built yet are built like those of `old`.

    Returns:
        Each variable of `old` with its counterpart in `new`.

    Raises:
        ModelError: the variables of the two do not correspond.
    """
    if vars(new).get(_DUPLICATE):  # it has all of it
        return list(zip(old.variables, new.variables, strict=True))
    pairs: Pairs = []
    try:
        for one, other in _saveables(old, new, set()):
            pairs += _carry_own(one, other)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"The state of the layer {old.name} ({type(old).__name__}) cannot be transferred to a copy: "
            f"{first_line(error).rstrip('.')}."
        ) from error
    switches = {id(variable) for variable in getattr(getattr(old, "switchboard", None), "variables", ())}
    missed = {id(variable) for variable in old.variables} - {id(one) for one, _ in pairs} - switches
    if missed:
        names = ", ".join(variable.path for variable in old.variables if id(variable) in missed)
        raise ModelError(f"A copy of the layer {old.name} ({type(old).__name__}) lacks its weights {names[:200]}.")
    return pairs


def _carry_own(old: Any, new: Any) -> Pairs:
    """Copies the state that one object holds itself, without that of the objects inside it."""
    if getattr(old, "built", True) and not getattr(new, "built", True) and hasattr(new, "build_from_config"):
        config = old.get_build_config()
        with contextlib.suppress(NotImplementedError):
            new.build_from_config(config) if config else new.build(None)
    if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    pairs = list(zip(own_variables(old), own_variables(new), strict=True))
    if isinstance(old, keras.layers.Layer) and new.name != old.name:  # one that the copy of a layer made itself
        new.name = old.name
        for one, other in pairs:
            other._path = one.path
    if hasattr(old, "save_own_variables") and hasattr(new, "load_own_variables"):
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        if store:
            new.load_own_variables({key: _array(value) for key, value in store.items()})
    for one, other in pairs:  # bit for bit: a file format may round or convert
        if one.shape == other.shape and one.dtype == other.dtype:
            other.assign(ops.copy(one.value))
        other.trainable = one.trainable
    return pairs


def refuse_untied(model: Any, pairs: Pairs) -> None:
    """Refuses a copy in which a variable became two, as where one layer uses the weights of another.

    Args:
        model: the original; pairs: each of its variables with its counterpart in the copy.

    Raises:
        ModelError: names the layers that share the variable.
    """
    copies: dict[int, Any] = {}
    for old, new in pairs:
        if copies.setdefault(id(old), new) is new:
            continue
        inside = [layer for layer in layers_of(model) if layer is not model and not is_recorded(layer)]
        users = [layer.name for layer in inside if any(one is old for one in layer.variables)]
        raise ModelError(shared(users[0], users[-1], old))


def shared(one: str, other: str, variable: Any) -> str:
    """The sentence that refuses two layers with one variable."""
    return (
        f"The layers {one} and {other} share the variable {variable.path}, but their copies would not. Call one layer "
        "in both places instead, or give each a weight of its own."
    )


def _array(value: Any) -> Any:
    """A value as a file would give it back: numbers too are arrays then."""
    return ops.convert_to_numpy(value) if ops.is_tensor(value) or isinstance(value, keras.Variable) else np.array(value)


def _saveables(old: Any, new: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """The object and all objects inside it that Keras saves, each with its counterpart; containers come first."""
    if id(old) in seen:
        return
    seen.add(id(old))
    yield old, new
    for name, child in saving_lib._walk_saveable(old):
        yield from _inside(child, getattr(new, name, None), seen)


def _inside(old: Any, new: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    if isinstance(old, keras.random.SeedGenerator) and isinstance(new, keras.random.SeedGenerator):
        if id(old) not in seen:  # Keras does not save seeds, but the copy must draw the same numbers
            seen.add(id(old))
            yield old, new
    elif isinstance(old, KerasSaveable):
        kinds = [isinstance(one, keras.layers.Layer) for one in (old, new)]
        if isinstance(new, KerasSaveable) and kinds[0] == kinds[1]:
            yield from _saveables(old, new, seen)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from _inside(value, new.get(key), seen)
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for one, other in zip(old, new, strict=False):
            yield from _inside(one, other, seen)


def copy_metric(metric: Any) -> Any:
    """A metric with the same settings and its own state; anything else is returned unchanged.

    Raises:
        ModelError: the metric can neither be created from its configuration nor be copied.
    """
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        return type(metric).from_config(metric.get_config())
    except Exception:
        return duplicate(metric)  # a user's metric without a usable configuration


def duplicate(layer: Any) -> Any:
    """A copy of a built layer or metric, attribute by attribute, variables included.

    It is for objects that cannot be created from their configuration.

    Raises:
        ModelError: an attribute cannot be copied.
    """
    inside = [one for one, _ in _saveables(layer, layer, set())]
    twins: dict[int, Any] = {id(variable): _twin(variable) for one in inside for variable in own_variables(one)}
    twins.update({id(one): _twin(one) for one in layer.variables if id(one) not in twins})
    for one in inside:
        kind: Any = type(one)
        twins[id(one)] = kind.__new__(kind)
    try:
        for one in inside:
            own = {name: value for name, value in vars(one).items() if name not in _MADE_FOR_EACH}
            vars(twins[id(one)]).update({name: _copied(value, twins) for name, value in own.items()})
            vars(twins[id(one)]).update(_inbound_nodes=[], _outbound_nodes=[])
    except Exception as error:
        raise ModelError(
            f"{type(layer).__name__} {layer.name} can neither be re-created from its get_config() nor be copied: "
            f"{first_line(error).rstrip('.')}."
        ) from error
    vars(twins[id(layer)])[_DUPLICATE] = True
    return twins[id(layer)]


def copied(value: Any, made: Any) -> tuple[Any, Pairs]:
    """A layer, variable or seed generator with the same state, and each of its variables with its counterpart.

    Args:
        made: what is given the state if it is of the same kind; else a copy is made.
    """
    made = made if type(made) is type(value) and made is not value else None
    if isinstance(value, keras.Variable):
        fits = made is not None and made.shape == value.shape and made.dtype == value.dtype
        new = made if fits else _twin(value)
        new.assign(ops.copy(value.value))
        return new, [(value, new)]
    if isinstance(value, keras.random.SeedGenerator):
        new = made or keras.random.SeedGenerator(value._initial_seed)
        new.state.assign(ops.copy(value.state.value))
        return new, []
    new = made or duplicate(value)
    return new, carry_state(value, new)


def copy_layer(layer: Any, kind: Any = None) -> Any:
    """A new layer from the configuration of this one, or a duplicate where its configuration does not describe it."""
    if vars(layer).get(_DUPLICATE):
        return duplicate(layer)
    try:
        return clone_layer(layer, kind)
    except ModelError:
        return duplicate(layer)


_DUPLICATE = "_shrinknet_duplicate"  # in a layer's __dict__: its configuration did not describe the original

# Methods that Keras wraps for each object, and records of the network that it was in.
_MADE_FOR_EACH = {"build", "call", "quantize", "_inbound_nodes", "_outbound_nodes"}


def _copied(value: Any, twins: dict[int, Any]) -> Any:
    """A value with layers and variables replaced by their twins; containers and arrays are copied, others shared."""
    if id(value) in twins:
        return twins[id(value)]
    if isinstance(value, tracking.Tracker):
        twin = twins[id(value)] = tracking.Tracker(
            {name: (test, _copied(stored, twins)) for name, (test, stored) in value.config.items()},
            exclusions=value.exclusions,
        )
        twin.stored_ids = {name: set(map(id, stored)) for name, (_, stored) in twin.config.items()}
        twin.locked, twin._lock_violation_msg = value.locked, value._lock_violation_msg
        return twin
    if isinstance(value, list):
        twin = twins[id(value)] = type(value)()
        list.extend(twin, [_copied(one, twins) for one in value])
    elif isinstance(value, dict):
        twin = twins[id(value)] = type(value)()
        for key, one in value.items():
            dict.__setitem__(twin, key, _copied(one, twins))
    elif isinstance(value, set):
        twin = twins[id(value)] = type(value)()
        for one in value:
            set.add(twin, _copied(one, twins))
    elif isinstance(value, tuple):
        parts = [_copied(one, twins) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    else:
        return value.copy() if isinstance(value, np.ndarray) else value
    if hasattr(value, "tracker"):
        twin.tracker = _copied(value.tracker, twins) if value.tracker is not None else None
    return twin


def _twin(variable: Any) -> Any:
    """A variable with the same settings and value."""
    twin = keras.Variable(
        ops.copy(variable.value), dtype=variable.dtype, trainable=variable.trainable, name=variable.name,
        autocast=variable._autocast, aggregation=variable.aggregation,
    )  # fmt: skip
    for name in ("regularizer", "constraint", "_path", "overwrite_with_gradient"):
        if hasattr(variable, name):
            setattr(twin, name, getattr(variable, name))
    return twin
