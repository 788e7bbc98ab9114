"""Assembling: makes a model of the user's class from inputs and outputs, whatever arguments its constructor takes.

If a class has its own constructor, Keras creates its models from a configuration that does not describe the layers.
Here the recorded graph is made first, as a plain Functional model, and then gets the user's class and attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from shrinknet.internals import Functional, functional_like_constructor, maker_of
from shrinknet.network.copying import copy_metric

Counterpart = Callable[[Any, Any], Any]
"""Returns the replacement of what a model holds, given what the constructor of the new model made in its place (or
None); any value that needs no replacement is returned unchanged."""
_LOG = logging.getLogger("shrinknet")


def plain_class(kind: type) -> type:
    """The user's class from which the class of a switched model was generated."""
    return getattr(kind, "plain_class", kind)


def is_remade(kind: Any) -> bool:
    """Whether Keras creates, saves and loads models of this class from inputs and outputs."""
    own_call = kind.call is not Functional.call
    return kind is Functional or (functional_like_constructor(kind) and issubclass(kind, Functional) and not own_call)


def assemble(model: Any, inputs: Any, outputs: Any, counterpart: Counterpart) -> Any:
    """A model between these tensors, of the same class as `model` if Keras can save and load such a model.

    Args:
        model: the model to replace; inputs, outputs: symbolic tensors in its structures.
        counterpart: see `Counterpart`.
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
    """Turns a plain Functional model into one of a class with its own constructor, with the attributes of `model`.

    It trains with the `train_step` of that class, but computes the recorded graph.
    """
    new.__class__ = kind
    carry_attributes(model, new, counterpart)


def carry_attributes(model: Any, new: Any, counterpart: Counterpart) -> None:
    """Gives `new` the attributes that the user set on `model`; layers among them are replaced by their counterparts.

    Metrics are copied, since they hold state, and so are weights and layers outside of the graph. Other models and
    objects, such as a teacher that is not trained, are shared.
    """
    blank = keras.Model(inputs := keras.Input((1,)), inputs)
    for name, value in vars(model).items():
        if name in vars(blank) or name.startswith(("_self_", "_tf_", "_obj_reference")) or name in _KERAS:
            continue
        try:
            made = getattr(new, name, None)
            replacement = _mapped(value, made, counterpart)
            if replacement is not made:
                setattr(new, name, replacement)
        except Exception:  # a property without a setter, or a name reserved by Keras
            _LOG.debug("The attribute %s of %s was not copied.", name, model.name, exc_info=True)


_KERAS = {
    "_functional", "_layers", "_metrics", "_tracker", "_build_shapes_dict", "_compile_config", "_compile_loss",
    "_compile_metrics", "_loss_tracker", "optimizer", "train_function", "test_function", "predict_function",
    "compiled_loss", "_distribute_strategy", "_call_signature", "stop_training", "history", "_parent_path",
    "_call_context_args", "_call_has_context_arg", "built", "build", "call", "quantize", "_auto_config", "_loss",
    "compiled", "loss", "loss_weights", "_jit_compile", "steps_per_execution", "_run_eagerly", "run_eagerly",
    "jit_compile", "_losses", "_loss_ids", "_losses_override", "auto_scale_loss", "_call_signature_parameters",
}  # fmt: skip


def _mapped(value: Any, made: Any, counterpart: Counterpart) -> Any:
    """A value with layers replaced by their counterparts, in lists and dictionaries too; metrics are copied."""
    if isinstance(value, dict):
        known = made if isinstance(made, dict) else {}
        return {key: _mapped(one, known.get(key), counterpart) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        same = isinstance(made, list | tuple) and len(made) == len(value)
        others = made if same else [None] * len(value)
        mapped = [_mapped(one, other, counterpart) for one, other in zip(value, others, strict=True)]
        return tuple(mapped) if isinstance(value, tuple) else mapped
    return counterpart(copy_metric(value), made)


def _line_of_layers(tensor: Any, output: Any) -> list[Any] | None:
    """The chain of layers between two tensors; None if it contains anything but layers."""
    line: list[Any] = []
    while output is not tensor:
        operation, _, node = maker_of(output)
        if not isinstance(operation, keras.layers.Layer):
            return None
        line.insert(0, operation)
        output = node.arguments.keras_tensors[0]
    return line
