"""`switched`: a copy of a model with a switch for each filter, verified to compute the same as the model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from shrinknet.comparing import Mismatch, difference
from shrinknet.drawing import drawn_inputs
from shrinknet.errors import ModelError, NotEquivalentError, ShrinknetError, first_line
from shrinknet.graph import trace
from shrinknet.graph.calls import registered
from shrinknet.graph.following import follow, is_recorded, leave_alone, open_shapes, sublayers
from shrinknet.graph.tracing import found_rule
from shrinknet.internals import as_array, as_before, in_mode, input_like, input_structure, layers_of, require_model
from shrinknet.layers import Switched, switched_class
from shrinknet.layers.counting import Counting
from shrinknet.layers.reductions import reduction_of
from shrinknet.network.assembling import as_class, is_remade, plain_class
from shrinknet.network.compiled import carry_compilation, carry_optimizer
from shrinknet.network.copying import Pairs, carry_state, clone_layer, duplicate, refuse_untied, shared
from shrinknet.network.guarded import guarded, keep_frozen
from shrinknet.network.locating import first_difference
from shrinknet.network.proving import TOLERANCE, prove, sample_blamed
from shrinknet.network.rebuild import Rebuilder

_LOG = logging.getLogger("shrinknet")
FOLLOWED_TOLERANCE = 1e-4  # of the scale; between a composite layer and the model that following it gave


def switched(model: Any, sample: Any = None) -> Any:
    """A copy of the model with switches: same outputs, weights, names, training, compile settings, optimizer state.

    Args:
        model: a built Keras model; it is not changed. Nested models are copied too. Layers that consist of other
            layers, and models with their own `call`, are followed by calling them with symbolic tensors, and become
            nested Functional models.
        sample: inputs to verify the copy on, as the model takes them; None: random inputs.

    Returns:
        A model for `Switches` that trains with the `train_step` of the user's own class. It has that class if Keras
        creates models of it from inputs and outputs; otherwise it is a Functional model with the methods and
        attributes of that class. Import `shrinknet.Switches` before loading a saved one, so that Keras knows the
        switched layers. The filters of a layer that can neither be followed nor copied from its configuration have no
        switches; `Switches(net).unswitchable` gives the reason.

    Raises:
        ModelError: the model is not built, cannot be followed, or shares variables between layers.
        DataError: the sample is not what the model takes.
        NotEquivalentError: the copy computes different outputs.
    """
    require_model(model)
    _refuse_stateful(model)
    recorded = written_out(model, sample)
    if not all(layer.built for layer in layers_of(recorded)):
        inputs = drawn_inputs(recorded) if sample is None else sample
        with _in_a_sentence(model), sample_blamed(recorded, inputs), as_before(recorded):
            recorded(inputs, training=False)  # makes what Keras makes at the first call
    graph = trace(recorded)  # refuses what cannot be used before anything is copied
    _refuse_tied(recorded)
    averaging = {id(layer) for layer, *_ in graph.averages if isinstance(layer, keras.layers.Layer)}
    with _in_a_sentence(model):
        net, pairs, builder = _copy(recorded, averaging)
    refuse_untied(recorded, pairs)
    kind = plain_class(type(model))
    if is_remade(kind) or isinstance(model, keras.Sequential):
        net.__class__ = guarded(type(net))
    else:
        as_class(net, guarded(kind), model, builder.counterpart)
    pairs = [*pairs, *builder.pairs]
    carry_compilation(model, net, pairs=pairs)
    carry_optimizer(model, net, pairs=pairs)
    keep_frozen(net)
    with _in_a_sentence(model):
        _prove(model, recorded, net, sample)
    return net


@contextlib.contextmanager
def _in_a_sentence(model: Any) -> Iterator[None]:
    """Turns what Keras or a layer raises where the model, or its copy, is called into an error of ours.

    Raises:
        ModelError: says which model, and what was raised.
    """
    try:
        yield
    except (ShrinknetError, Mismatch):
        raise
    except Exception as error:
        raise ModelError(
            f"The model {model.name} cannot be called again with the shapes that Keras recorded for it "
            f"({first_line(error)}). Build it with keras.Input for the sizes that it is used with, or pass inputs of "
            "these sizes as the sample."
        ) from error


def _copy(
    recorded: Any, averaging: Collection[int], undescribed: Mapping[int, str] | None = None
) -> tuple[Any, Pairs, Rebuilder]:
    """The network copied with switches, its variables with those of the copy, and what built it.

    Args:
        averaging: ids of layers that take statistics over channels.
        undescribed: id of a layer -> why a copy from its configuration would be another layer; it is copied attribute
            by attribute, and is not followed.
    """
    copies: dict[int, tuple[Any, Any]] = {}  # id of a copy -> the layer, the copy
    twins: Pairs = []

    def make(path: str, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return reduction_of(operation) or operation
        _refuse_quantized(path, operation)
        try:
            if undescribed and id(operation) in undescribed:
                raise ModelError(undescribed[id(operation)])
            new = clone_layer(operation, switched_class(operation))
        except ModelError as error:
            return as_it_is(operation, str(error))
        copy = new
        if id(operation) in averaging and not isinstance(new, Switched):
            new = Counting(copy, **_probed(operation), name=operation.name)
        copies[id(new)] = (operation, copy)
        return new

    def as_it_is(operation: Any, why: str) -> Any:
        twin = duplicate(operation)
        leave_alone(twin, why.rstrip("."))
        twins.extend(zip(operation.variables, twin.variables, strict=True))
        return twin

    def perform(path: str, operation: Any, arguments: Any, keywords: Any) -> Any:
        try:
            return operation(*arguments, **keywords)
        except Exception as error:
            old = copies.get(id(operation), (None, None))[0]
            if old is None or registered(type(old)) is not None:
                raise
            del copies[id(operation)]
            twin = as_it_is(old, f"a copy from its get_config() cannot be called ({first_line(error)})")
            builder.made[id(old)] = twin
            return twin(*arguments, **keywords)

    builder = Rebuilder(make, perform, same_function)
    net = builder.model(recorded, "")
    pairs, lost = [*twins], {}
    for old, new in copies.values():
        try:
            pairs += carry_state(old, new)
        except ModelError as error:
            if undescribed is not None or registered(type(old)) is not None:
                raise
            lost[id(old)] = str(error)
    return _copy(recorded, averaging, lost) if lost else (net, pairs, builder)


def _probed(layer: Any) -> dict[str, Any]:
    """What probing found out about a layer that takes statistics over channels."""
    known = found_rule(layer)
    return dict(known.found) if known is not None and known.found else {"axes": None, "entry": None}


def written_out(model: Any, sample: Any = None) -> Any:
    """The model itself, or, where Keras did not record its operations, a Functional one of the same layers.

    Args:
        sample: inputs whose sizes it is written out for, where Keras does not know for which it was built.

    Raises:
        ModelError: it is not built, or its call cannot be followed.
    """
    if is_recorded(model) or isinstance(model, keras.Sequential):
        return model
    inputs = _inputs_like(model)
    if inputs is None and sample is not None and model.weights:
        inputs = _named(
            tree.map_structure(
                lambda one: keras.KerasTensor(
                    (None, *tuple(one.shape)[1:]), dtype=keras.backend.standardize_dtype(one.dtype)
                ),
                sample,
            )
        )
    if inputs is None:
        if type(model).call is keras.Model.call:
            parts = [name for name, one in vars(model).items() if isinstance(one, keras.Model)]
            hint = f"Pass a model that it holds, such as {model.name}.{parts[0]}." if parts else "It computes nothing."
            raise ModelError(f"The {type(model).__name__} {model.name} has no call(), only models inside it. {hint}")
        called = bool(model.weights) and not any(not layer.built for layer in layers_of(model) if layer is not model)
        problem = (
            "has a call() of its own that cannot be followed: Keras could not build it with symbolic tensors. Python "
            "code that depends on the values of a tensor cannot be followed; use keras.Model(inputs, outputs) instead."
            if called
            else "is not built: the shape of its inputs is unknown. Call it once on a batch of data."
        )
        raise ModelError(f"The {type(model).__name__} {model.name} {problem}")
    try:
        followed = follow(model, (inputs,), {}, as_given=True)
    except ModelError as error:
        how = "Python code that depends on the values of a tensor cannot be followed; use" if error.__cause__ else "Use"
        raise ModelError(
            f"The model {model.name} has a call() of its own that cannot be followed: {error}. {how} "
            "keras.Model(inputs, outputs) instead, or leave that to a layer."
        ) from error
    try:
        same_function(model, followed, (inputs,), {})
    except ModelError as error:
        if getattr(model, "compiled", False):
            raise
        same_function(model, followed, (inputs,), {}, modes=(False,))
        _LOG.warning(
            "The model %s computes something else in training than in inference (%s). It is not compiled: the copy "
            "computes in training, too, what the model computes in inference.", model.name, error,
        )  # fmt: skip
    return followed


def _inputs_like(model: Any) -> Any:
    """New symbolic inputs in the structure that a model takes; None if it is unknown."""
    recorded = getattr(model, "_inputs_struct", None)
    if recorded is not None:
        return tree.map_structure(lambda one: input_like(one, name=one.name), recorded)
    shapes = _input_shapes(model) if model.built else None
    if shapes is None:
        return None
    return _named(tree.map_structure(lambda shape: keras.KerasTensor((None, *shape[1:])), shapes))


def _named(tensors: Any) -> Any:
    """New inputs like these tensors; in a dictionary each has the name of its key, as Keras expects."""
    named = [
        input_like(
            tensor,
            name="_".join(map(str, path)).replace("/", "_") if any(isinstance(key, str) for key in path) else None,
        )
        for path, tensor in tree.flatten_with_path(tensors)
    ]
    return tree.pack_sequence_as(tensors, named)


class _Shape(tuple):  # type: ignore[type-arg]
    """A shape as a leaf of a structure."""


def _input_shapes(model: Any) -> Any:
    """The shapes that a subclassed model was built for, in the structure of its inputs; None if they are unknown."""
    config = model.get_build_config() or {}
    shape = config.get("input_shape") or next(iter((config.get("shapes_dict") or {}).values()), None)
    return None if shape is None else _as_leaves(shape)


def _as_leaves(shapes: Any) -> Any:
    """A structure of shapes in which each shape is a leaf."""
    if _is_shape(shapes):
        return _Shape(shapes)
    if isinstance(shapes, dict):
        return {key: _as_leaves(one) for key, one in shapes.items()}
    return [_as_leaves(one) for one in shapes]


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(size is None or isinstance(size, int) for size in value)


def _refuse_quantized(path: str, layer: Any) -> None:
    if getattr(layer.dtype_policy, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise ModelError(
            f"The layer {path} is quantized or has LoRA enabled, so its kernel is not the one that was trained. Make "
            "the network smaller first, then quantize it or add LoRA."
        )


def _refuse_stateful(model: Any) -> None:
    """Refuses recurrent layers that carry their state from one batch to the next."""
    for layer in layers_of(model):
        if getattr(layer, "stateful", False) is True and hasattr(layer, "reset_state"):
            raise ModelError(
                f"The layer {layer.name} is stateful: what it gives depends on the batches before, so that networks "
                "cannot be compared. Build the model with stateful=False; the small network can be built again with "
                "stateful=True, and its weights set."
            )


def _refuse_tied(model: Any) -> None:
    """Refuses a variable that is shared by two layers: copies of the layers would not share it."""
    holders: dict[int, Any] = {}
    for layer in layers_of(model):
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            other = holders.setdefault(id(variable), layer)
            if other is not layer and layer not in sublayers(other) and other not in sublayers(layer):
                raise ModelError(shared(other.name, layer.name, variable))


# -- checks that the copy computes the same as the model


def _prove(model: Any, recorded: Any, net: Any, sample: Any) -> None:
    """Compares the copy with the model.

    Raises:
        NotEquivalentError: they differ; the message names the first layer that does.
    """
    sample = drawn_inputs(net) if sample is None else sample
    try:
        prove(model, net, sample)
    except Mismatch as mismatch:
        raise NotEquivalentError(
            f"The switched copy of {model.name} is not the same function as the model: {mismatch}. Nothing was "
            f"returned. {_blame(first_difference(recorded, net, sample, TOLERANCE))}"
        ) from None


def _blame(found: tuple[str, Any] | None) -> str:
    """What to do about the first layer of a copy that computes something else."""
    where = f" It is first seen at {found[0]} ({type(found[1]).__name__})." if found else ""
    if found is None or type(found[1]).__module__.split(".")[0] in ("keras", "shrinknet"):
        return f"This is a bug in shrinknet: please report it with the model's get_config().{where}"
    return (
        f"The layer {found[0]} ({type(found[1]).__name__}) has state that Keras does not save, such as an attribute "
        "that was changed after construction: return it from get_config(), or write and read it in "
        "save_own_variables() and load_own_variables()."
    )


def same_function(
    layer: Any, followed: Any, arguments: Any, keywords: Any, modes: Sequence[bool] = (False, True)
) -> None:
    """Compares a composite layer with the model that following it gave, in inference (False) and in training (True).

    Raises:
        ModelError: they differ; the message says how.
    """
    random = np.random.default_rng(0)
    tensors = [leaf for leaf in tree.flatten((arguments, keywords)) if isinstance(leaf, keras.KerasTensor)]
    shapes = open_shapes(tensors)
    drawn = {id(one): _drawn(one, shape, random) for one, shape in zip(tensors, shapes, strict=True)}
    given, named = tree.map_structure(lambda leaf: drawn.get(id(leaf), leaf), (arguments, keywords))
    flat = [drawn[id(one)] for one in tensors]
    inner = (tree.pack_sequence_as(input_structure(followed), flat),)
    for training in modes:
        try:
            one = _results(layer, layer, given, named, training)
            other = _results(layer, followed, inner, {}, training)
        except Exception as error:  # of the layer on numbers drawn at random, or of a size unknown when followed
            raise ModelError(f"it could not be compared with what it was followed to ({first_line(error)})") from error
        if len(one) != len(other):
            raise ModelError("in training it has other outputs or losses than a model made of its layers would have")
        if not max((_distance(a, b) for a, b in zip(one, other, strict=True)), default=0.0) <= FOLLOWED_TOLERANCE:
            mode = "training" if training else "inference"
            raise ModelError(f"in {mode} it computes something else than the model that following it gave")


def _results(layer: Any, net: Any, arguments: Any, keywords: Any, training: bool) -> list[np.ndarray]:
    """The outputs and losses of `net`, and the variables of the layer after the call."""
    takes = net._call_has_training_arg or isinstance(net, keras.Model)
    with as_before(layer), in_mode(net, training):
        outputs = tree.flatten(net(*arguments, **{**keywords, **({"training": training} if takes else {})}))
        losses = [ops.sum(ops.stack(net.losses))] if net.losses else []
        return [*map(as_array, (*outputs, *losses)), *(np.array(ops.convert_to_numpy(one)) for one in layer.variables)]


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return difference(one, other) if one.shape == other.shape else float("inf")


def _drawn(tensor: Any, shape: Any, random: np.random.Generator) -> Any:
    shape = [size or (32 if axis else 2) for axis, size in enumerate(shape)]
    if "int" in str(tensor.dtype) or str(tensor.dtype) == "bool":
        return ops.convert_to_tensor(random.integers(0, 2, shape).astype(str(tensor.dtype)))
    return ops.cast(ops.convert_to_tensor(random.normal(size=shape).astype("float32")), tensor.dtype)
