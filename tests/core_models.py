"""Tiny networks, data and bit comparisons that the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(8, 6, 6, 1)).astype("float32")
MAPS = RANDOM.normal(size=(8, 6, 6, 2)).astype("float32")  # targets of `maps`
VECTORS = RANDOM.normal(size=(8, 2)).astype("float32")  # targets of `vectors`


@keras.saving.register_keras_serializable("shrinknet_tests")
class Counting(keras.Model):  # type: ignore[misc]
    """Counts how often its loss is traced; on every backend each training and test step contains the loss."""

    traces = 0

    def compute_loss(self, *arguments: Any, **keywords: Any) -> Any:
        self.traces += 1
        return super().compute_loss(*arguments, **keywords)


def maps(
    optimizer: Any = None,
    *,
    kind: type = keras.Model,
    seed: int = 0,
    regularizer: Any = None,
    dropout: float = 0.0,
    compiled: bool = True,
    **settings: Any,
) -> Any:
    """Maps an image to two maps: conv1 (3 filters) - norm - ReLU - conv2 (2 filters that reach the output)."""
    keras.utils.set_random_seed(seed)
    decay = {"kernel_regularizer": regularizer, "bias_regularizer": regularizer}
    x = image = keras.Input((6, 6, 1), name="image")
    x = keras.layers.Conv2D(3, 3, padding="same", name="conv1", bias_initializer="random_normal", **decay)(x)
    x = keras.layers.BatchNormalization(name="norm", gamma_regularizer=regularizer, beta_regularizer=regularizer)(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x) if dropout else x
    x = keras.layers.Conv2D(2, 3, padding="same", name="conv2", dtype="float32", **decay)(x)
    model = kind(image, x, name="maps")
    if compiled:
        settings = {"loss": "mse", **settings}
        model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), **settings)
    return model


def vectors(optimizer: Any = None, *, regularizer: Any = None, compiled: bool = True, **settings: Any) -> Any:
    """Maps an image to two numbers: conv1 (3) - norm - ReLU - pool - flatten - dense (4) - out (2); Sequential."""
    keras.utils.set_random_seed(0)
    decay = {"kernel_regularizer": regularizer, "bias_regularizer": regularizer}
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3, name="conv1", bias_initializer="random_normal", **decay),
            keras.layers.BatchNormalization(name="norm", gamma_regularizer=regularizer, beta_regularizer=regularizer),
            keras.layers.ReLU(name="relu"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(4, activation="tanh", name="dense", bias_initializer="random_normal", **decay),
            keras.layers.Dense(2, name="out", dtype="float32", **decay),
        ],
        name="vectors",
    )
    if compiled:
        model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), **{"loss": "mse", **settings})
    return model


def own_weights(net: Any, layer: str, index: int, *normalisations: str) -> dict[str, np.ndarray]:
    """Copies of the weights that belong to one filter: kernel slice, bias, scale and offset in normalisations."""
    named = [net.get_layer(layer).kernel, net.get_layer(layer).bias]
    for name in normalisations:
        named += [net.get_layer(name).gamma, net.get_layer(name).beta]
    return {variable.path: numpy(variable)[..., index].copy() for variable in named}


def numpy(value: Any) -> np.ndarray:
    """A copy as a NumPy array."""
    return np.array(keras.ops.convert_to_numpy(value))


def copies(variables: Iterable[Any]) -> list[np.ndarray]:
    """The values of variables as they are now."""
    return [numpy(variable) for variable in variables]


def same_bits(first: Iterable[Any], second: Iterable[Any]) -> bool:
    """Whether two lists of variables or arrays are equal, bit for bit."""
    pairs = list(zip(copies(first), copies(second), strict=True))
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def assert_same_bits(first: Iterable[Any], second: Iterable[Any]) -> None:
    """Fails with the names of the variables that differ."""
    first, second = list(first), list(second)
    assert len(first) == len(second)
    pairs = enumerate(zip(first, second, strict=True))
    differ = [getattr(a, "path", index) for index, (a, b) in pairs if not same_bits([a], [b])]
    assert not differ, f"bits differ in {differ}"


def carry_weights(source: Any, target: Any) -> None:
    """Copies the weights between networks with the same layers; switches, if only one has them, come last."""
    for old, new in zip(source.layers, target.layers, strict=True):
        for a, b in zip(old.weights, new.weights, strict=False):
            b.assign(numpy(a))
