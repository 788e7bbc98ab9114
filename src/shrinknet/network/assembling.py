"""Assembling: a model of the user's class from inputs and outputs, whatever its constructor takes.

Keras makes a model of a class with a constructor of its own from a configuration that says nothing of its layers. Here
its recorded graph is made first, as a plain Functional model; the user's class and attributes are put on it afterwards.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from shrinknet.errors import ModelError
from shrinknet.internals import Functional, functional_like_constructor, maker_of
from shrinknet.network.copying import copy_metric

Counterpart = Callable[[Any], Any]
_LOG = logging.getLogger("shrinknet")


def plain_class(kind: type) -> type:
    """The user's own class behind a class that was generated for a switched model."""
    return getattr(kind, "plain_class", kind)


def is_remade(kind: Any) -> bool:
    """Whether Keras makes models of this class from inputs and outputs, and saves and loads them so."""
    own_call = kind.call is not Functional.call
    return kind is Functional or (functional_like_constructor(kind) and issubclass(kind, Functional) and not own_call)


def assemble(model: Any, inputs: Any, outputs: Any, counterpart: Counterpart) -> Any:
    """A model between these tensors, of the class of `model` where a model of that class can be saved and loaded so.

    Args:
        model: of whose place the new one takes; inputs, outputs: symbolic tensors in its structures.
        counterpart: gives what stands in the place of a layer or model; anything else as it is.
    """
    kind: Any = plain_class(type(model))
    if isinstance(model, keras.Sequential):
        layers = _line_of_layers(tree.flatten(inputs)[0], outputs)
        if layers is not None and kind.__init__ is keras.Sequential.__init__:
            return kind([tree.flatten(inputs)[0], *layers], name=model.name)
        return keras.Model(inputs, outputs, name=model.name)
    if not is_remade(kind):
        return keras.Model(inputs, outputs, name=model.name)
    new = kind(inputs, outputs, name=model.name)
    carry_attributes(model, new, counterpart)
    return new


def as_class(new: Any, kind: type, model: Any, counterpart: Counterpart) -> None:
    """Makes a plain Functional model one of a class with a constructor of its own, with the attributes of `model`.

    It is trained with the `train_step` of that class, but computes what was recorded.
    """
    new.__class__ = kind
    carry_attributes(model, new, counterpart)


def carry_attributes(model: Any, new: Any, counterpart: Counterpart) -> None:
    """Gives `new` the attributes that the user put on `model`; layers of it are replaced by what stands in their place.

    Metrics are copied: they hold state. Other models and objects, as a teacher, are shared.
    """
    blank = keras.Model(inputs := keras.Input((1,)), inputs)
    for name, value in vars(model).items():
        if name in vars(blank) or name.startswith(("_self_", "_tf_", "_obj_reference")) or name in _KERAS:
            continue
        try:
            setattr(new, name, _mapped(value, counterpart))
        except Exception:  # a property without a setter, or a name that Keras keeps for itself
            _LOG.debug("The attribute %s of %s was not carried over.", name, model.name, exc_info=True)


_KERAS = {
    "_functional", "_layers", "_metrics", "_tracker", "_build_shapes_dict", "_compile_config", "_compile_loss",
    "_compile_metrics", "_loss_tracker", "optimizer", "train_function", "test_function", "predict_function",
    "compiled_loss", "_distribute_strategy", "_call_signature", "stop_training", "history", "_parent_path",
    "_call_context_args", "_call_has_context_arg", "built", "build", "call", "quantize", "_auto_config", "_loss",
    "compiled", "loss", "loss_weights", "_jit_compile", "steps_per_execution", "_run_eagerly", "run_eagerly",
    "jit_compile", "_losses", "_loss_ids", "_losses_override", "auto_scale_loss", "_call_signature_parameters",
}  # fmt: skip


def _mapped(value: Any, counterpart: Counterpart) -> Any:
    """A value with what stands in the place of layers, in lists and dictionaries too; metrics are copied."""
    if isinstance(value, dict):
        return {key: _mapped(one, counterpart) for key, one in value.items()}
    if isinstance(value, list):
        return [_mapped(one, counterpart) for one in value]
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_mapped(one, counterpart) for one in value)
    return counterpart(copy_metric(value))


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


def refuse_foreign(model: Any) -> None:
    """Refuses models of another Keras, and what is no model at all.

    Raises:
        ModelError: says what it is.
    """
    if isinstance(model, keras.Model):
        return
    modules = {kind.__module__.split(".")[0] for kind in inspect.getmro(type(model))}
    if modules & {"tf_keras", "keras.legacy"}:
        raise ModelError(
            f"Expected a model of Keras 3; received {type(model).__name__} of tf_keras, which is Keras 2. Save it as "
            ".h5 and load it with keras.models.load_model."
        )
    raise ModelError(f"Expected a Keras model; received {type(model).__name__}.")
