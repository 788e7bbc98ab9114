"""Helpers that several kinds of rules share."""

from __future__ import annotations

import functools
import math
import types
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from shrinknet.graph.calls import Call, Shape

# Activations that work element by element. Softmax and its relatives mix channels; an unknown function might.
ELEMENTWISE = {
    getattr(keras.activations, name)
    for name in [
        "celu",
        "elu",
        "exponential",
        "gelu",
        "hard_shrink",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "leaky_relu",
        "linear",
        "log_sigmoid",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softplus",
        "softsign",
        "soft_shrink",
        "sparse_plus",
        "sparse_sigmoid",
        "squareplus",
        "tanh",
        "tanh_shrink",
        "threshold",
    ]
    if hasattr(keras.activations, name)
}


def classes(module: object, names: str) -> list[type]:
    """The classes of a module with these names; those that this version of Keras does not have are left out."""
    return [getattr(module, name) for name in names.split() if hasattr(module, name)]


def mixing(function: Any) -> str | None:
    """Why channels after this activation function cannot be cut, with `{}` for its layer; None if they can."""
    if function is None or function in ELEMENTWISE or type(function) in (layers.ReLU, layers.LeakyReLU, layers.ELU):
        return None
    if isinstance(function, types.FunctionType) and _is_elementwise(function):
        return None
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name} of {{}} {'mixes its channels' if 'softmax' in name else 'has no rule'}"


@functools.lru_cache(maxsize=256)
def _is_elementwise(function: Any) -> bool:
    """Whether a function gave, for random numbers, each result from one number alone, whatever its place."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, 4, 5)).astype("float32")
    order = random.permutation(x.size)

    def computed(numbers: np.ndarray) -> np.ndarray:
        return np.asarray(ops.convert_to_numpy(function(ops.convert_to_tensor(numbers))))

    try:
        y, moved = computed(x), computed(x.reshape(-1)[order].reshape(x.shape))
        if not (y.shape == x.shape == moved.shape and np.isfinite(y).all()):
            return False
        for _ in range(3):
            changed = random.random(x.shape) < 0.5
            other = computed(np.where(changed, random.normal(0, 4, x.shape), x).astype("float32"))
            if other.shape != y.shape or not np.array_equal(y[~changed], other[~changed]):
                return False
    except Exception:  # a function of the user's own may raise anything
        return False
    return bool(np.allclose(y.reshape(-1)[order], moved.reshape(-1)))


def activated(call: Call, labels: np.ndarray, function: Any) -> list[np.ndarray]:
    """The labels of an output after the layer's activation function."""
    reason = mixing(function)
    if reason:
        call.book.pins.append((labels.reshape(-1), f"the activation {reason.format(call.path)}"))
    return [labels]


def channel_axis(layer: Any) -> int:
    """The channel axis of a layer or operation; the last axis if it does not say."""
    known = getattr(layer, "data_format", "channels_last") or keras.config.image_data_format()
    return 1 if known == "channels_first" else -1


def places(shape: Shape, axis: int) -> Shape:
    """The sizes of a tensor without its batch and channel axes."""
    return tuple(size for index, size in enumerate(shape) if index not in (0, axis % len(shape)))


def einsum_size(equation: str, shapes: list[Any]) -> int | None:
    """The number of products in an einsum for one sample: the product of the sizes of all its letters but the batch's.

    None unless there are two operands, since otherwise it depends on the order of evaluation.

    Example:
        >>> einsum_size("bij,bjk->bik", [(None, 2, 3), (None, 3, 4)])
        24
    """
    operands = equation.replace(" ", "").split("->")[0].split(",")
    if len(operands) != 2 or len(shapes) != 2:
        return None
    sizes: dict[str, Any] = {}
    for letters, shape in zip(operands, shapes, strict=True):
        hidden = len(shape) - len(letters.replace("...", ""))
        dots = "".join(chr(ord("\u0100") + index) for index in range(hidden, 0, -1))  # right-aligned
        sizes.update(zip(letters.replace("...", dots), shape, strict=True))
    batch = operands[0].replace("...", chr(ord("\u0100") + len(shapes[0]) - len(operands[0].replace("...", ""))))[:1]
    return math.prod(size for letter, size in sizes.items() if letter != batch)
