"""The only module that uses Keras's private graph API: the operations that Keras recorded, and their order."""

from __future__ import annotations

import contextlib
import inspect
import os
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.backend.common import global_state
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops.symbolic_arguments import SymbolicArguments
from keras.src.random.seed_generator import global_seed_generator

from shrinknet.errors import ModelError

__all__ = [
    "Functional",
    "as_array",
    "as_before",
    "caller_of_all",
    "compile_config",
    "functional_like_constructor",
    "functional_of",
    "given_to",
    "in_mode",
    "input_like",
    "input_structure",
    "is_optional",
    "is_training_call",
    "layers_of",
    "maker_of",
    "nodes_of",
    "output_structure",
    "own_variables",
    "seeds_of",
    "single_call",
]


def functional_of(model: Any) -> Any:
    """The recorded graph of operations behind a Functional or Sequential model.

    Raises:
        ModelError: it is no Keras model, it is not built, or its operations are not recorded.
    """
    require_model(model)
    if isinstance(model, keras.Sequential):
        if not model.built or getattr(model, "_functional", None) is None:
            raise ModelError(
                f"The model {model.name} is not built: its input shape is unknown. Start it with keras.Input(shape)."
            )
        _refuse_own_call(model, keras.Sequential)
        return model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise ModelError(
            f"Expected a Sequential or Functional Keras model; received {type(model).__name__} {model.name}, whose "
            "operations Keras does not record. Build it with keras.Model(inputs, outputs)."
        )
    _refuse_own_call(model, Functional)
    return model


def require_model(value: Any) -> None:
    """Refuses what is no Keras model.

    Raises:
        ModelError: names what was received.
    """
    if isinstance(value, keras.Model):
        return
    modules = {kind.__module__.split(".")[0] for kind in type(value).__mro__}
    if modules & {"tf_keras", "keras.legacy"}:
        raise ModelError(
            f"Expected a model of Keras 3; received {type(value).__name__} of tf_keras, which is Keras 2. Save it as "
            ".h5 and load it with keras.models.load_model."
        )
    hint = " Load the file with keras.models.load_model." if isinstance(value, str | os.PathLike) else ""
    raise ModelError(f"Expected a Keras model; received {type(value).__name__}.{hint}")


def _refuse_own_call(model: Any, kind: Any) -> None:
    if type(model).call is not kind.call:
        raise ModelError(
            f"The class {type(model).__name__} of model {model.name} overrides call(), so it does not compute the "
            "graph that Keras recorded. Build the same computation with keras.Model(inputs, outputs)."
        )


def nodes_of(functional: Any) -> Iterator[Any]:
    """The calls of a recorded graph in topological order, without the inputs."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def input_structure(model: Any) -> Any:
    """The symbolic inputs of a Functional or Sequential model, in the structure it takes: tensor, list or dict."""
    return functional_of(model)._inputs_struct


def input_like(tensor: Any, shape: Any = None, name: str | None = None) -> Any:
    """A new symbolic input of the kind of this tensor: its type, sparse or ragged, optional; `shape` with the batch."""
    return keras.Input(
        batch_shape=tensor.shape if shape is None else shape, dtype=tensor.dtype, name=name, sparse=tensor.sparse,
        ragged=getattr(tensor, "ragged", None), optional=is_optional(tensor),
    )  # fmt: skip


def is_optional(tensor: Any) -> bool:
    """Whether a symbolic tensor is an input for which a model also takes None."""
    maker = getattr(getattr(tensor, "_keras_history", None), "operation", None)
    return bool(getattr(maker, "optional", False))


def output_structure(model: Any) -> Any:
    """The symbolic outputs of a Functional or Sequential model, in the structure it returns."""
    return functional_of(model)._outputs_struct


def given_to(functional: Any, node: Any) -> list[Any]:
    """The tensors that a nested model is called with, in the order of its inputs; Keras also accepts them by name."""
    arguments, keywords = node.arguments.args, node.arguments.kwargs
    given = arguments[0] if arguments else keywords["inputs"]
    if isinstance(given, dict) and not isinstance(input_structure(functional), dict):
        return [given[tensor.name] for tensor in functional.inputs]
    return keras.tree.flatten(given)


def layers_of(model: Any) -> Iterator[Any]:
    """The model and every layer inside it, at any depth, including nested models and composite layers."""
    return iter(model._flatten_layers())


def own_variables(saveable: Any) -> list[Any]:
    """The variables that a layer or seed generator holds itself, in the order in which Keras saves them."""
    if isinstance(saveable, keras.layers.Layer):
        return [*saveable._trainable_variables, *saveable._non_trainable_variables]
    state = getattr(saveable, "state", None)
    return [state] if isinstance(state, keras.Variable) else []


def single_call(operation: Any, given: Any, outputs: list[Any]) -> Any:
    """What Keras would record of a call with one symbolic tensor."""
    return types.SimpleNamespace(operation=operation, arguments=SymbolicArguments(given), outputs=outputs)


def adds_losses(layer: Any) -> bool:
    """Whether a layer added losses in its last call, besides those of its weights."""
    return bool(layer._losses)


def mentions(function: Any, name: str) -> bool:
    """Whether the code of a function, or of one inside it, uses a name or an attribute."""
    codes = [inspect.unwrap(function).__code__]
    while codes:
        code = codes.pop()
        if name in code.co_names:
            return True
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    return False


def seeds_of(model: Any) -> list[Any]:
    """The states of the random generators that the layers of a model hold, which a `.keras` file does not."""
    return [generator.state for layer in layers_of(model) for generator in layer._seed_generators]


def maker_of(tensor: Any) -> tuple[Any, int, Any]:
    """The operation that produced a symbolic tensor, the number of its call, and Keras's record of that call."""
    operation, number, _ = tensor._keras_history
    return operation, number, operation._inbound_nodes[number]


def first_input(operation: Any) -> Any:
    """The first symbolic tensor that an operation was called with."""
    return operation._inbound_nodes[0].arguments.keras_tensors[0]


def is_training_call(keywords: Mapping[str, Any]) -> bool:
    """Whether a layer called with these keywords runs in training mode, as its caller or the context says."""
    if keywords.get("training") is not None:
        return bool(keywords["training"])
    context = global_state.get_global_attribute("current_call_ctx")
    return bool(getattr(context, "training", None)) if context is not None else False


def caller_of_all() -> Any:
    """The layer or model whose call led to this one, directly or through others; None outside of any call."""
    context = global_state.get_global_attribute("current_call_ctx")
    return None if context is None else context.entry_layer


@contextlib.contextmanager
def in_mode(layer: Any, training: bool) -> Iterator[None]:
    """Inside, the layer is called for training or not, and so are the layers in it, even if its `call` takes no mode.

    Keras hands the mode on from the layer that is called first; one without the argument `training` cannot be told.
    """
    layer._get_call_context().set_value("training", training)
    try:
        yield
    finally:
        layer._maybe_reset_call_context()


@contextlib.contextmanager
def as_before(layer: Any) -> Iterator[None]:
    """Restores the variables that calling a network changes when the block ends: statistics and seeds, Keras's too."""
    changing = [variable for variable in layer.variables if not variable.trainable]
    values = [(variable, ops.copy(variable.value)) for variable in (*changing, global_seed_generator().state)]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array; half precision becomes float32, since NumPy has no bfloat16."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32") if dtype in ("float16", "bfloat16") else tensor))


def compile_config(model: Any) -> Mapping[str, Any]:
    """The arguments that a model was compiled with, by name; {} if it is not compiled."""
    return model._compile_config.config if model.compiled else {}
