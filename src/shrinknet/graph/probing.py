"""Probing: finds out what a layer without a rule does with its channels, by calling it on random inputs.

Layers that treat each channel by itself, with one weight per channel or one for all, are common: every model library
has its own layer scale. Such a layer is called with inputs in which some channels are changed. If only these channels
change in the output, in inference and in training, and if on fewer channels it gives what it gave for these, it can be
cut. The last excludes what depends on the number or the places of its channels, such as numbers drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.comparing import difference
from shrinknet.graph.calls import Call, Registered, registered
from shrinknet.internals import as_before, layers_of

SIZE = 8  # stands in for open sizes
_TRIES = 3
TOLERANCE = 1e-3  # of the scale; half precision too rounds to less than that


def probed(operation: Any, node: Any) -> Registered | None:
    """The rule of a layer that treats each channel by itself; None if it does not, or cannot be probed.

    Args:
        operation: a built layer that has no rule and contains no other layers; node: Keras's record of one of its
            calls.
    """
    tensors, outputs = node.arguments.keras_tensors, node.outputs
    if (
        not isinstance(operation, keras.layers.Layer)
        or isinstance(operation, keras.Model)
        or registered(type(operation)) is not None
        or len(tensors) != 1
        or len(outputs) != 1
        or not operation.built
        or len(list(layers_of(operation))) > 1
        or not keras.backend.is_float_dtype(tensors[0].dtype)
        or len(tensors[0].shape) < 2
        or tuple(tensors[0].shape[1:]) != tuple(outputs[0].shape[1:])
        or tensors[0].shape[-1] in (None, 1)
    ):
        return None
    channels = int(tensors[0].shape[-1])
    axes = [_axis(variable, channels) for variable in operation.variables]
    if None in axes:
        return None
    try:
        if not _by_channel(operation, node, tensors[0]):
            return None
        entry = _entry(operation, node, tensors[0], axes)
    except Exception:  # a third-party layer may raise anything; it then has no rule
        return None
    if entry is False:
        return None

    def rule(call: Call) -> list[np.ndarray]:
        labels = call.channels(0)
        for variable, axis in zip(call.operation.variables, axes, strict=False):
            if axis is not None and axis >= 0:
                call.owns(variable, axis, labels)
        if isinstance(entry, str):
            call.counts(entry, labels)
        return [call.labels[0]]

    return Registered(rule, pointwise=True)


def _axis(variable: Any, channels: int) -> int | None:
    """The axis of a variable that has one entry per channel; -1 for a single number; None if it is neither."""
    sizes = [axis for axis, size in enumerate(variable.shape) if size == channels]
    others = [size for size in variable.shape if size not in (1, channels)]
    if len(sizes) == 1 and not others:
        return sizes[0]
    return -1 if all(size == 1 for size in variable.shape) else None


def _by_channel(layer: Any, node: Any, tensor: Any) -> bool:
    """Whether each output channel depends only on the same input channel."""
    random = np.random.default_rng(0)
    shape = (2, *(size or SIZE for size in tensor.shape[1:]))
    x = random.normal(size=shape).astype("float32")
    for training in (False, True):
        before = _call(layer, node, tensor, x, training)
        if before is None or before.shape != shape or not np.isfinite(before).all():
            return False
        for _ in range(_TRIES):
            changed = random.random(shape[-1]) < 0.5
            other = np.where(changed, random.normal(size=shape), x).astype("float32")
            after = _call(layer, node, tensor, other, training)
            if after is None or not np.array_equal(after[..., ~changed], before[..., ~changed]):
                return False
    return True


def _call(layer: Any, node: Any, tensor: Any, x: np.ndarray, training: bool) -> np.ndarray | None:
    given = ops.cast(ops.convert_to_tensor(x), tensor.dtype)
    arguments, keywords = node.arguments.fill_in({id(tensor): given})
    if layer._call_has_training_arg:
        keywords = {**keywords, "training": training}
    with as_before(layer):
        output = layer(*arguments, **keywords)
        return np.asarray(ops.convert_to_numpy(ops.cast(output, "float32")))


def _entry(layer: Any, node: Any, tensor: Any, axes: Sequence[int | None]) -> str | bool | None:
    """The key of the layer's config that is its width; None if the width follows its input; False if neither works."""
    channels = int(tensor.shape[-1])
    if not layer.variables:
        return None if _same_without_first(layer, layer, node, tensor) else False
    config = layer.get_config()
    shape = (layer.get_build_config() or {}).get("input_shape")
    if shape is None:
        return False
    narrow = (*shape[:-1], channels - 1)
    wanted = [_narrowed(variable.shape, channels) for variable in layer.variables]
    names: Sequence[str | None] = (None, *(name for name, value in config.items() if value == channels))
    for name in names:
        new = type(layer).from_config({**config, **({name: channels - 1} if name else {})})
        try:
            new.build(narrow)
            new(np.zeros((1, *(size or SIZE for size in narrow[1:])), "float32"))
        except Exception:  # a width that does not fit its input
            continue
        if [tuple(variable.shape) for variable in new.variables] != wanted:
            continue
        for old, cut, axis in zip(layer.variables, new.variables, axes, strict=True):
            value = ops.convert_to_numpy(old)
            cut.assign(value if axis is None or axis < 0 else np.delete(value, 0, axis))
        return name if _same_without_first(layer, new, node, tensor) else False
    return False


def _same_without_first(layer: Any, narrow: Any, node: Any, tensor: Any) -> bool:
    """Whether in inference `narrow` gives for all channels but the first what the layer gives for them."""
    x = np.random.default_rng(0).normal(size=(2, *(size or SIZE for size in tensor.shape[1:]))).astype("float32")
    whole, part = _call(layer, node, tensor, x, False), _call(narrow, node, tensor, x[..., 1:], False)
    if whole is None or part is None or part.shape != whole[..., 1:].shape:
        return False
    return difference(whole[..., 1:], part) <= TOLERANCE


def _narrowed(shape: Any, channels: int) -> tuple[int, ...]:
    return tuple(size - 1 if size == channels else size for size in shape)
