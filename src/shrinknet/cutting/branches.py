"""Removes branches and layers that compute nothing: a residual branch without filters is replaced by a constant.

A layer that has lost all of its filters keeps one placeholder filter, and its readers multiply it by zeros. That is
exact everywhere. If the branch ends in an addition, it is removed and its constant is added instead. A bypassed layer
passes its input on, so only its activation function is left.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph import trace
from shrinknet.graph.calls import registered
from shrinknet.internals import maker_of
from shrinknet.layers.bypass import identity_place
from shrinknet.network.copying import carry_state, copy_layer
from shrinknet.network.rebuild import Rebuilder


def without_idle(model: Any, bypassed: Container[str] = ()) -> tuple[Any, list[tuple[Any, Any]]]:
    """The plain model without constant branches and bypassed layers; not compiled.

    An added branch that is constant is replaced by its constant. A bypassed layer is removed if its kernel is square.
    Also returns each variable of the model that is left, with its counterpart.
    """
    surgeon = _Surgeon(model, bypassed)
    builder = Rebuilder(surgeon.make, surgeon.perform)
    small = builder.model(model, "")
    pairs = builder.pairs
    for new, old in surgeon.old.values():
        if isinstance(old, keras.layers.Layer) and (new.built or not old.built):  # removed layers were never built
            pairs += carry_state(old, new)
    return small, pairs


class _Surgeon:
    def __init__(self, model: Any, bypassed: Container[str]) -> None:
        self.bypassed = bypassed
        graph = trace(model)
        kernels: dict[int, list[Any]] = {}
        for weight in graph.weights:
            if not weight.owned:
                kernels.setdefault(id(weight.layer), []).append(ops.convert_to_numpy(weight.variable))
        self.silent = {layer for layer, arrays in kernels.items() if not any(array.any() for array in arrays)}
        self.old: dict[int, tuple[Any, Any]] = {}  # id of an operation's replacement -> (replacement, operation)

    def make(self, path: str, operation: Any) -> Any:
        new = copy_layer(operation) if isinstance(operation, keras.layers.Layer) else operation
        self.old[id(new)] = (new, operation)
        return new

    def perform(self, path: str, operation: Any, arguments: Any, keywords: Any) -> Any:
        _, old = self.old.get(id(operation), (None, None))
        if path in self.bypassed and _is_identity(old):
            if old.activation is keras.activations.linear:
                return arguments[0]
            return keras.layers.Activation(old.activation, name=old.name, dtype=old.dtype_policy)(*arguments)
        if type(old) not in (keras.layers.Add, numpy_ops.Add) or keywords:
            return operation(*arguments, **keywords)
        parts = keras.tree.flatten(arguments)
        constants = [self.constant(part) for part in parts]
        left = [part for part, value in zip(parts, constants, strict=True) if value is None]
        known = [value for value in constants if value is not None]
        if not left or not known:
            return operation(*arguments)
        total = left[0] if len(left) == 1 else keras.layers.Add(name=old.name)(left)
        value = sum(known)
        return total if not np.any(value) else total + value

    def constant(self, tensor: Any) -> np.ndarray | None:
        """The value of a tensor that depends on no input, broadcastable to it; None if it may depend on one."""
        if not isinstance(tensor, keras.KerasTensor):
            return None
        new, _, node = maker_of(tensor)
        _, old = self.old.get(id(new), (None, None))
        if old is None:
            return None
        source = node.arguments.keras_tensors[0]
        if id(old) in self.silent:
            zeros = np.zeros((1, *(size or 8 for size in source.shape[1:])), source.dtype)
            out = ops.convert_to_numpy(old(zeros))
            return out[(slice(None), *(slice(0, 1) for _ in out.shape[1:-1]), slice(None))]
        known = registered(type(old))
        if known is not None and known.pointwise and len(node.arguments.keras_tensors) == 1:
            value = self.constant(source)
            return None if value is None else ops.convert_to_numpy(_inference(old, value))
        return None


def _is_identity(layer: Any) -> bool:
    """Whether the kernel passes each channel on with the same index."""
    kernel = ops.convert_to_numpy(layer.kernel)
    place = identity_place(layer)
    return place is not None and np.array_equal(kernel[place], np.eye(*kernel.shape[-2:]))


def _inference(operation: Any, value: np.ndarray) -> Any:
    if isinstance(operation, keras.layers.Layer) and operation._call_has_training_arg:
        return operation(value, training=False)
    return operation(value)
