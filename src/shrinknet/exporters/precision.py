"""Half precision: rebuilds a float16 or bfloat16 model in float32 for runtimes that do not support these types."""

from __future__ import annotations

from typing import Any

import keras

from shrinknet.internals import layers_of
from shrinknet.network.copying import carry_state, clone_layer
from shrinknet.network.rebuild import rebuild

_HALF = ("float16", "bfloat16")


def is_half(model: Any) -> bool:
    """Whether any layer computes in half precision."""
    return any(str(layer.compute_dtype) in _HALF for layer in layers_of(model))


def in_single_precision(model: Any) -> Any:
    """The same network with every layer computing in float32, its weights copied; not compiled."""
    pairs: list[tuple[Any, Any]] = []

    def make(path: str, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        new = clone_layer(operation, **_single(operation.get_config()))
        pairs.append((operation, new))
        return new

    single = rebuild(model, make)
    for old, new in pairs:
        carry_state(old, new)
    return single


def _single(config: Any) -> Any:
    """A configuration with every half-precision type replaced by float32, also in nested layers."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32" if any(half in config["config"]["name"] for half in _HALF) else config
        return {
            key: "float32" if key == "dtype" and _is_half_name(value) else _single(value)
            for key, value in config.items()
        }
    return [_single(item) for item in config] if isinstance(config, list) else config


def _is_half_name(value: Any) -> bool:
    return isinstance(value, str) and any(half in value for half in _HALF)
