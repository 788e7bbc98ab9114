"""What several kinds of rules need."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from shrinknet.graph.calls import Call, Shape

# Activations that treat each number by itself; softmax and its kin mix channels, and what we do not know may.
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


def activated(call: Call, labels: np.ndarray, function: Any) -> list[np.ndarray]:
    """The labels of an output after the activation function of its layer."""
    if function is None or function in ELEMENTWISE or type(function) in (layers.ReLU, layers.LeakyReLU, layers.ELU):
        return [labels]
    name = getattr(function, "__name__", type(function).__name__)
    mixes = "mixes its channels" if "softmax" in name else "has no rule"
    call.book.pins.append((labels.reshape(-1), f"the activation {name} of {call.path} {mixes}"))
    return [labels]


def channel_axis(layer: Any) -> int:
    """The axis of a layer's channels."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def places(shape: Shape, axis: int) -> Shape:
    """The sizes of a tensor without the batch axis and the axis of channels."""
    return tuple(size for index, size in enumerate(shape) if index not in (0, axis % len(shape)))
