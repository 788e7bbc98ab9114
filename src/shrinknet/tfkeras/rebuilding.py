"""Rebuilds a network in tf_keras, node by node, from the plain data of `shrinknet.compression.description`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from shrinknet.errors import ModelError


def model_from(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """The network as a Functional model of tf_keras, with its weights.

    Args:
        description: see `shrinknet.compression.description.Description.facts`.
        arrays: its weights and constants, by the names in the description.

    Raises:
        ModelError: a layer, operation or activation has no counterpart in tf_keras.
    """
    inputs = [
        tf_keras.Input(batch_shape=spec["shape"], dtype=spec["dtype"], name=spec["name"])
        for spec in description["inputs"]
    ]
    known = {spec["tensor"]: tensor for spec, tensor in zip(description["inputs"], inputs, strict=True)}
    layers: dict[str, Any] = {}
    loads: list[tuple[Any, Mapping[str, Any]]] = []
    for call in description["calls"]:
        arguments = [_value(argument, known, arrays) for argument in call["arguments"]]
        if call["weights"] is None:
            outputs = _operate(call, arguments)
        else:
            if call["name"] not in layers:
                layers[call["name"]] = _layer(call)
                loads.append((layers[call["name"]], call))
            outputs = layers[call["name"]](*arguments[: call["tensors"]])
        known.update(zip(call["outputs"], tf.nest.flatten(outputs), strict=True))
    model = tf_keras.Model(inputs, [known[number] for number in description["outputs"]], name=description["name"])
    for layer, call in loads:
        _load(layer, call, arrays)
    return model


def _value(value: Any, known: Mapping[int, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """Restores an argument from its description."""
    if isinstance(value, list):
        return [_value(item, known, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *_ = value.items()
    if kind == "tensor":
        return known[content]
    if kind == "array":
        return arrays[content]
    if kind == "slice":
        return slice(*content)
    if kind == "ellipsis":
        return Ellipsis
    return tuple(_value(item, known, arrays) for item in content)  # "tuple"


def _layer(call: Mapping[str, Any]) -> Any:
    kind, config = call["kind"], dict(call["config"])
    made = getattr(tf_keras.layers, kind, None)
    if made is None or kind in _REFUSED:
        raise ModelError(f"The layer {call['name']} ({kind}) has no counterpart in tf_keras.")
    for old, new in _RENAMED.get(kind, {}).items():
        config[new] = config.pop(old)
    taken = _parameters(made)
    config = {key: _entry(key, value, call["name"]) for key, value in config.items() if key in taken}
    return made(**config, name=call["name"].replace("/", "_"), trainable=call["trainable"])


def _entry(key: str, value: Any, name: str) -> Any:
    """One entry of a layer's configuration as tf_keras expects it."""
    if key.endswith("activation"):
        return _activation(value, name)
    if key.endswith("regularizer") and value is not None:
        return tf_keras.regularizers.deserialize({"class_name": value["class_name"], "config": value["config"]})
    return tuple(value) if isinstance(value, list) else value


def _parameters(kind: Any) -> set[str]:
    """The names of the arguments of a layer class and its bases, without initializers and constraints."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base is tf_keras.layers.Layer:
            break
        names |= set(inspect.signature(base.__init__).parameters)
    return {name for name in names if not name.endswith(("initializer", "constraint"))} - {"self", "kwargs", "args"}


def _load(layer: Any, call: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    weights = [arrays[key] for key in call["weights"]]
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if shapes != [weight.shape for weight in weights]:
        raise ModelError(
            f"The layer {call['name']} ({call['kind']}) has different weights in tf_keras: {shapes}, not "
            f"{[weight.shape for weight in weights]}."
        )
    layer.set_weights(weights)


def _activation(name: str | None, layer: str) -> Any:
    if name is None or name in _ACTIVATIONS:
        return _ACTIVATIONS.get(name or "linear", name)
    try:
        return tf_keras.activations.get(name)
    except ValueError:
        raise ModelError(f"The activation {name!r} of {layer} has no counterpart in tf_keras.") from None


# Activations that the two versions of Keras define differently, or that only one has.
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) / 6.0,
    "hard_silu": lambda x: x * tf.nn.relu6(x + 3.0) / 6.0,
    "relu6": tf.nn.relu6,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, alpha=0.2),
    "log_softmax": tf.nn.log_softmax,
}
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
_REFUSED = {"Normalization", "Lambda", "MultiHeadAttention"}


def _operate(call: Mapping[str, Any], arguments: list[Any]) -> Any:
    perform = _OPERATIONS.get(call["kind"])
    if perform is None:
        raise ModelError(f"The operation {call['name']} ({call['kind']}) has no counterpart in tf_keras.")
    return perform(arguments, call["config"])


def _merge(layer: Any, operation: Callable[[Any, Any], Any]) -> Callable[[list[Any], Mapping[str, Any]], Any]:
    """A merge layer, which tfmot supports, for two tensors of the same shape; otherwise the operation."""

    def perform(arguments: list[Any], config: Mapping[str, Any]) -> Any:
        a, b = arguments[:2]
        both = tf_keras.backend.is_keras_tensor(a) and tf_keras.backend.is_keras_tensor(b)
        return layer()([a, b]) if both and a.shape.as_list() == b.shape.as_list() else operation(a, b)

    return perform


def _reshape(arguments: list[Any], config: Mapping[str, Any]) -> Any:
    return tf.reshape(arguments[0], [-1 if size is None else size for size in config["newshape"]])


def _reduce(operation: Callable[..., Any]) -> Callable[[list[Any], Mapping[str, Any]], Any]:
    return lambda arguments, config: operation(arguments[0], axis=config["axis"], keepdims=config["keepdims"])


def _by_itself(operation: Callable[[Any], Any]) -> Callable[[list[Any], Mapping[str, Any]], Any]:
    return lambda arguments, config: operation(arguments[0])


_OPERATIONS: dict[str, Callable[[list[Any], Mapping[str, Any]], Any]] = {
    "Add": _merge(tf_keras.layers.Add, tf.add),
    "Subtract": _merge(tf_keras.layers.Subtract, tf.subtract),
    "Multiply": _merge(tf_keras.layers.Multiply, tf.multiply),
    "Maximum": _merge(tf_keras.layers.Maximum, tf.maximum),
    "Minimum": _merge(tf_keras.layers.Minimum, tf.minimum),
    "Divide": lambda arguments, config: arguments[0] / arguments[1],
    "TrueDivide": lambda arguments, config: arguments[0] / arguments[1],
    "Concatenate": lambda arguments, config: tf_keras.layers.Concatenate(config["axis"])(arguments[0]),
    "Relu": _by_itself(lambda x: tf_keras.layers.ReLU()(x)),
    "Relu6": _by_itself(lambda x: tf_keras.layers.ReLU(6.0)(x)),
    "Sigmoid": _by_itself(lambda x: tf_keras.layers.Activation("sigmoid")(x)),
    "Tanh": _by_itself(lambda x: tf_keras.layers.Activation("tanh")(x)),
    "Silu": _by_itself(lambda x: tf_keras.layers.Activation("swish")(x)),
    "Softmax": lambda arguments, config: tf_keras.layers.Softmax(config["axis"])(arguments[0]),
    "Reshape": _reshape,
    "Transpose": lambda arguments, config: tf.transpose(arguments[0], config["axes"]),
    "GetItem": lambda arguments, config: arguments[0][arguments[1]],
    "Take": lambda arguments, config: tf.gather(arguments[0], arguments[1], axis=config["axis"]),
    "Mean": _reduce(tf.reduce_mean),
    "Max": _reduce(tf.reduce_max),
    "Sum": _reduce(tf.reduce_sum),
}
