"""TensorFlow's functions in a call that is followed: each is recorded as the operation of Keras that does the same.

Keras refuses symbolic tensors in TensorFlow's functions, and many subclassed models use a few of them, such as
`tf.image.resize`, `tf.concat` or `tf.shape`. Functions that are not in the tables below are still refused. What was
followed is compared with the original, so a wrong entry is an error and never another function.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from keras import KerasTensor, ops, tree

SAME = {  # TensorFlow's own name of a function -> that of the operation of Keras with the same parameters
    **{name: name for name in (
        "abs", "add", "ceil", "cos", "divide", "elu", "erf", "exp", "expm1", "floor", "log", "log1p", "log_sigmoid",
        "maximum", "minimum", "multiply", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid", "sign", "sin",
        "softplus", "softsign", "sqrt", "square", "stack", "subtract", "tan", "tanh", "tile", "unstack",
    )},
    "expand_dims_v2": "expand_dims", "log_softmax_v2": "log_softmax", "pow": "power", "reduce_max": "max",
    "reduce_mean": "mean", "reduce_min": "min", "reduce_std": "std", "reduce_sum": "sum", "reduce_variance": "var",
    "reverse_v2": "flip", "squeeze_v2": "squeeze", "stop_gradient": "stop_gradient", "transpose_v2": "transpose",
    "truediv": "divide", "where_v2": "where",
}  # fmt: skip
_FOLLOWING: list[bool] = []  # not empty while a call is followed


@contextlib.contextmanager
def tensorflow_followed() -> Iterator[None]:
    """Within the block, functions of TensorFlow accept symbolic tensors of Keras."""
    _register()
    _FOLLOWING.append(True)
    try:
        yield
    finally:
        _FOLLOWING.pop()


@functools.cache
def _register() -> None:
    _Symbolic().register()


class _Symbolic(tf.__internal__.dispatch.GlobalOpDispatcher):
    """TensorFlow asks it when a function has refused its arguments."""

    def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
        meaning = _meaning(op.__name__) if _FOLLOWING else None
        if meaning is None or not any(isinstance(one, KerasTensor) for one in tree.flatten((args, kwargs))):
            return self.NOT_SUPPORTED
        given = inspect.signature(op).bind(*args, **kwargs).arguments
        given.pop("name", None)
        return meaning(**given)


def _meaning(name: str) -> Callable[..., Any] | None:
    if name in SAME:
        return functools.partial(_same, getattr(ops, SAME[name]))
    return OTHERS.get(name)


def _same(operation: Any, **given: Any) -> Any:
    named = {name: given.pop(name) for name in ("axis", "keepdims", "num") if name in given}
    return operation(*given.values(), **named)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0, **_: Any) -> Any:
    if isinstance(num_or_size_splits, int):
        return ops.split(value, num_or_size_splits, axis)
    return ops.split(value, list(itertools.accumulate(num_or_size_splits))[:-1], axis)


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    return ops.pad(tensor, paddings, mode.lower(), constant_values if mode.lower() == "constant" else None)


def _pool(pool: Any, input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC") -> Any:
    kind = "channels_last" if data_format == "NHWC" else "channels_first"
    return pool(input, ksize, strides, padding.lower(), data_format=kind)


def _resize(images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False,
            antialias: bool = False) -> Any:  # fmt: skip
    return ops.image.resize(images, tuple(size), method, antialias=antialias, data_format="channels_last",
                            pad_to_aspect_ratio=preserve_aspect_ratio)  # fmt: skip


OTHERS: Mapping[str, Callable[..., Any]] = {  # functions whose parameters differ from those of the operation of Keras
    "add_n": lambda inputs: functools.reduce(ops.add, inputs),
    "avg_pool2d": functools.partial(_pool, ops.average_pool),
    "avg_pool_v2": functools.partial(_pool, ops.average_pool),
    "cast": lambda x, dtype: ops.cast(x, tf.as_dtype(dtype).name),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(t, clip_value_min, clip_value_max),
    "concat": lambda values, axis: ops.concatenate(values, axis),
    "gelu": lambda features, approximate=False: ops.gelu(features, approximate),
    "identity": lambda input: input,
    "l2_normalize": lambda x, axis=None, epsilon=1e-12: (
        x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), epsilon))
    ),
    "leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "max_pool2d": functools.partial(_pool, ops.max_pool),
    "max_pool_v2": functools.partial(_pool, ops.max_pool),
    "pad_v2": _pad,
    "reshape": lambda tensor, shape: ops.reshape(tensor, tuple(shape)),
    "resize_images_v2": _resize,
    "shape": lambda input, **_: ops.shape(input),
    "shape_v2": lambda input, **_: ops.shape(input),
    "softmax_v2": lambda logits, axis=None: ops.softmax(logits, -1 if axis is None else axis),
    "split": _split,
    "swish": lambda features, beta=1.0: features * ops.sigmoid(beta * features),
}
