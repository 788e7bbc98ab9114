"""Subclassed models that call TensorFlow's functions: each is recorded as the operation of Keras that does the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from shrinknet import Switches, slim, switched
from shrinknet.errors import ModelError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow("its subject is TensorFlow")

X = np.random.default_rng(3).normal(0.3, 1.0, (4, 6, 6, 4)).astype("float32")
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(tf, name) for name in ("abs", "cos", "exp", "floor", "round", "sigmoid", "sign", "sin", "tanh")},
    **{f"math.{name}": getattr(tf.math, name) for name in ("ceil", "erf", "expm1", "log_sigmoid", "square", "tan")},
    **{f"nn.{name}": getattr(tf.nn, name) for name in (
        "elu", "gelu", "leaky_relu", "log_softmax", "relu", "relu6", "selu", "silu", "softmax", "softplus", "softsign",
    )},
    **{f"reduce_{name}": lambda x, name=name: getattr(tf, f"reduce_{name}")(x, [1, 2], keepdims=True)
       for name in ("max", "mean", "min", "sum")},
    **{f"math.{name}": lambda x, name=name: getattr(tf.math, name)(x, axis=-1) for name in (
        "reduce_std", "reduce_variance",
    )},
    "reduce, keyword only": lambda x: x - tf.reduce_max(x, keepdims=True),
    "reduce everything": lambda x: tf.reshape(tf.reduce_mean(x), [1, 1]) * tf.ones((1, 1)),
    "sqrt and rsqrt": lambda x: tf.sqrt(tf.abs(x)) + tf.math.rsqrt(tf.abs(x) + 1) + tf.math.log(tf.square(x) + 1),
    "log1p": lambda x: tf.math.log1p(tf.abs(x)),
    "arithmetic": lambda x: tf.add(x, 2.0) - tf.subtract(1.0, x) * tf.multiply(x, x) / tf.divide(x, 3.0),
    "truediv and pow": lambda x: tf.truediv(tf.pow(tf.abs(x), 1.5), 2.0),
    "maximum, minimum": lambda x: tf.minimum(tf.maximum(x, 0.1), 0.9),
    "gelu, approximate": lambda x: tf.nn.gelu(x, approximate=True),
    "leaky_relu, slope": lambda x: tf.nn.leaky_relu(x, alpha=0.3),
    "silu, beta": lambda x: tf.nn.silu(x, 1.7),
    "softmax, axis": lambda x: tf.nn.softmax(x, axis=1),
    "clip": lambda x: tf.clip_by_value(x, -0.5, 0.5),
    "cast": lambda x: tf.cast(x > 0, tf.float32),
    "identity": lambda x: tf.stop_gradient(tf.identity(x)),
    "concat": lambda x: tf.concat([x, -x], axis=-1),
    "add_n": lambda x: tf.add_n([x, x, tf.nn.relu(x)]),
    "stack": lambda x: tf.stack([x, 2 * x], axis=3),
    "unstack": lambda x: tf.unstack(x, axis=1)[2],
    "split": lambda x: tf.split(x, 2, axis=-1)[1],
    "split, sizes": lambda x: tf.concat(tf.split(x, [1, 3], axis=-1)[::-1], -1),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 0], [0, 0]], constant_values=1.0),
    "pad, reflect": lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], mode="REFLECT"),
    "transpose": lambda x: tf.transpose(x, [0, 2, 1, 3]),
    "expand, squeeze, tile": lambda x: tf.squeeze(tf.tile(tf.expand_dims(x, 1), [1, 1, 2, 1, 1]), axis=1),
    "reshape": lambda x: tf.reshape(x, [-1, tf.shape(x)[1] * tf.shape(x)[2], 4]),
    "max_pool": lambda x: tf.nn.max_pool(x, 2, 2, "SAME"),
    "max_pool2d": lambda x: tf.nn.max_pool2d(x, 3, 2, "VALID"),
    "avg_pool2d": lambda x: tf.nn.avg_pool2d(x, [2, 2], [2, 2], "SAME"),
    "avg_pool": lambda x: tf.nn.avg_pool(x, 2, 2, "VALID"),
    "l2_normalize": lambda x: tf.nn.l2_normalize(x, axis=[1, 2]),
    "reverse": lambda x: tf.reverse(x, [1, 2]),
    "where": lambda x: tf.where(x > 0, x, 0.5),
    "resize": lambda x: tf.image.resize(x, [9, tf.shape(x)[2] * 2]),
    "resize, nearest": lambda x: tf.image.resize(x, (3, 12), method="nearest"),
}  # fmt: skip


class Using(keras.Model):  # type: ignore[misc]
    """A subclassed model with a function of TensorFlow between its layers."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = layers.Conv2D(4, 3, padding="same", name="first"), layers.Dense(2, name="last")
        self(X)

    def call(self, x: Any) -> Any:
        return self.last(layers.Flatten()(self.function(self.first(x))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_recorded_as_what_it_computes(name: str) -> None:
    from shrinknet.graph.following_tensorflow import tensorflow_followed

    with tensorflow_followed():
        inputs = keras.Input((6, 6, 4))
        model = keras.Model(inputs, FUNCTIONS[name](inputs))
    np.testing.assert_allclose(model(X), FUNCTIONS[name](tf.constant(X)), rtol=1e-5, atol=1e-6)


def test_a_model_that_uses_them_is_cut() -> None:
    def function(x: Any) -> Any:
        return tf.reshape(tf.nn.relu(x), [tf.shape(x)[0], 36, 4])

    net = switched(Using(function), X)
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    np.testing.assert_allclose(slim(net, X)(X), net(X), rtol=1e-5, atol=1e-6)


def test_what_is_in_no_table_is_refused_in_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"cannot be followed.*KerasTensor cannot be used") as caught:
        switched(Using(lambda x: tf.nn.lrn(x)), X)
    assert "\n" not in str(caught.value)


def test_elsewhere_they_refuse_symbolic_tensors_as_before() -> None:
    test_a_function_is_recorded_as_what_it_computes("nn.relu")
    with pytest.raises(ValueError, match="KerasTensor cannot be used"):
        tf.nn.relu(keras.Input((6, 6, 4)))


class Edges(keras.Model):  # type: ignore[misc]
    """Maps of several sizes, resized and joined; in training it returns each, as holistically nested ones do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (layers.Conv2D(6, 3, padding="same", activation="relu") for _ in range(2))
        self.sides, self.fuse = [layers.Conv2D(1, 1) for _ in range(2)], layers.Conv2D(1, 1)
        self(np.zeros((1, 8, 8, 3), "float32"))

    def call(self, x: Any, training: bool = False) -> Any:
        size = tf.shape(x)[1:3]
        one = self.one(x)
        two = self.two(tf.nn.max_pool2d(one, 2, 2, "SAME"))
        maps = [self.sides[0](one), tf.image.resize(self.sides[1](two), size)]
        fused = self.fuse(tf.concat(maps, axis=-1))
        return (*maps, fused) if training else tf.nn.sigmoid(fused)


def test_what_differs_in_training_is_cut_as_it_infers_unless_it_is_compiled(caplog: pytest.LogCaptureFixture) -> None:
    model, x = Edges(), np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    with caplog.at_level(logging.WARNING, "shrinknet"):
        net = switched(model, x)
    assert "computes something else in training" in caplog.text
    switches = Switches(net)
    switches.disable(*[filter for filter in switches.filters if filter.index % 2])
    np.testing.assert_allclose(slim(net, x)(x), net(x), rtol=1e-5)
    model.compile("sgd", "mse")
    with pytest.raises(ModelError, match="in training it has other outputs"):
        switched(model, x)
