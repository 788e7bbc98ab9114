"""Means, sums, extremes and norms over channels are taken over the enabled ones: switched and slim agree."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from marking import slow

from shrinknet import Filter, Switches, plan, slim, switched
from shrinknet.errors import ModelError
from shrinknet.layers.reductions import Reduction
from shrinknet.loop.settings import Scope
from shrinknet.loop.view import NetworkView, floors
from shrinknet.repair import Refit
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.reference import Calibration
from shrinknet.strategies import load_strategy

X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
Op = Callable[[Any], Any]
REDUCTIONS: dict[str, Op] = {
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "mean by number": lambda x: ops.mean(x, axis=3, keepdims=True),
    "mean without the axis": lambda x: ops.expand_dims(ops.mean(x, axis=-1), -1),
    "mean over places too": lambda x: ops.mean(x, axis=(1, 2, 3), keepdims=True),
    "sum": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "max": lambda x: ops.max(x, axis=-1, keepdims=True),
    "amax": lambda x: ops.amax(x, axis=-1, keepdims=True),
    "min": lambda x: ops.min(x, axis=-1, keepdims=True),
    "var": lambda x: ops.var(x, axis=-1, keepdims=True),
    "std": lambda x: ops.std(x, axis=-1, keepdims=True),
    "std over places too": lambda x: ops.std(x, axis=(1, 2, -1), keepdims=True),
    "logsumexp": lambda x: ops.logsumexp(x, axis=-1, keepdims=True),
    "norm": lambda x: ops.norm(x, axis=-1, keepdims=True),
    "norm 1": lambda x: ops.norm(x, ord=1, axis=-1, keepdims=True),
}


def network(reduce: Op, dtype: str = "float32") -> Any:
    """Six channels, divided by what is made of all of them; five readers."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="softplus", name="first", dtype=dtype)(image)
    x = layers.Conv2D(5, 3, name="second", dtype=dtype)(x / (1 + reduce(x)))
    model = keras.Model(image, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def arrays(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def by_hand(model: Any, reduce: Op, live: list[int]) -> np.ndarray:
    """The network computed from arrays of what is live alone."""
    first, second, out = (model.get_layer(name) for name in ("first", "second", "out"))
    x = ops.softplus(ops.conv(X, ops.take(first.kernel, live, 3)) + ops.take(first.bias, live, 0))
    x = ops.conv(x / (1 + reduce(x)), ops.take(second.kernel, live, 2)) + second.bias
    return arrays(ops.mean(x, axis=(1, 2)) @ out.kernel + out.bias)


RARE = ("mean by number", "amax", "min", "std over places too", "norm 1")


def marked(kind: str) -> Any:
    if kind == "norm":
        return pytest.param(kind, marks=pytest.mark.tensorflow("Keras cannot call its norm again on JAX"))
    return slow(kind) if kind in RARE else kind


@pytest.mark.parametrize("kind", [marked(kind) for kind in REDUCTIONS])
def test_what_is_disabled_does_not_count(kind: str) -> None:
    model = network(REDUCTIONS[kind])
    net = switched(model)
    np.testing.assert_allclose(arrays(net(X)), arrays(model(X)), rtol=1e-6, atol=1e-6)
    switches = Switches(net)
    assert set(switches.unswitchable) == {"out"}
    switches.disable(Filter("first", 1), Filter("first", 4))
    np.testing.assert_allclose(arrays(net(X)), by_hand(model, REDUCTIONS[kind], [0, 2, 3, 5]), rtol=1e-4, atol=1e-5)
    small = slim(net, X)
    assert small.get_layer("first").filters == 4
    assert not any(isinstance(one, Reduction) for one in small.operations)
    switches.enable(Filter("first", 1), Filter("first", 4))
    np.testing.assert_allclose(arrays(net(X)), arrays(model(X)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", slow("max"), "std", slow("norm")])
def test_training_with_switches_is_training_of_the_slim_network(kind: str) -> None:
    net = switched(network(REDUCTIONS[kind]))
    gone = Filter("first", 0), Filter("first", 3)
    Switches(net).disable(*gone)
    Switches(net).freeze(*gone)
    small = slim(net, X)
    for one in (net, small):
        one.fit(X, np.ones((4, 2)), batch_size=2, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(arrays(net(X)), arrays(small(X)), rtol=1e-4, atol=1e-5)


def test_in_half_precision() -> None:
    net = switched(network(REDUCTIONS["mean"], "mixed_float16"))
    assert str(net.get_layer("first").output.dtype) == "float16"
    (reduction,) = (layer for layer in net.layers if isinstance(layer, Reduction))
    assert str(reduction.output.dtype) == "float16"
    Switches(net).disable(Filter("first", 0))
    slim(net, X)


def attended(x: Any) -> Any:
    """A block attention module (arXiv:1807.06521): channels are weighed, then places, by means and maxima."""
    weigh = keras.Sequential([layers.Dense(2, activation="relu", name="down"), layers.Dense(6, name="up")], name="mlp")
    mean, most = layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)
    x = x * layers.Reshape((1, 1, 6))(ops.sigmoid(weigh(mean) + weigh(most)))
    places = ops.concatenate([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)], axis=-1)
    return x * layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="where")(places)


class Normalised(layers.Layer):  # type: ignore[misc]
    """A normalisation written by hand, and a convolution."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.after = layers.Conv2D(6, 1, name="after")

    def call(self, x: Any) -> Any:
        x = x - ops.mean(x, axis=-1, keepdims=True)
        return self.after(x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-3))


@pytest.mark.parametrize("block", [attended, lambda x: Normalised(name="norm")(x)])
def test_blocks_that_users_write(block: Op, tmp_path: pathlib.Path) -> None:
    image = keras.Input((8, 8, 3))
    x = block(layers.Conv2D(6, 3, name="first")(image))
    model = keras.Model(image, layers.Dense(2, name="out")(layers.Flatten()(layers.Conv2D(4, 3, name="second")(x))))
    net = switched(model)
    switches = Switches(net)
    assert {filter.layer for filter in switches.filters} >= {"first", "second"}
    assert not {"first", "second"} & set(switches.unswitchable)
    switches.disable(Filter("first", 2), Filter("first", 5), Filter("second", 0))
    small = slim(net, X)
    assert small.get_layer("first").filters == 4
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert Switches(again).disabled == switches.disabled
    np.testing.assert_array_equal(arrays(again(X)), arrays(net(X)))


def test_a_reduction_without_channels_is_refused() -> None:
    net = switched(network(REDUCTIONS["mean"]))
    assert floors(Scope(min_filters=0), Switches(net)) == {"first": 1, "second": 0, "out": 0}
    Switches(net).disable(*(Filter("first", index) for index in range(6)))
    with pytest.raises(ModelError, match=r"All channels that mean\w* is taken over are disabled .*Enable one"):
        plan(net)


def test_channels_under_a_shared_layer_are_cut_together_or_not_at_all() -> None:
    image, unit = keras.Input((8, 8, 3)), layers.UnitNormalization(name="unit")
    first, second, third = (layers.Conv2D(count, 3, name=f"c{count}{end}")(image) for count, end in
                            ((4, "a"), (4, "b"), (5, "")))  # fmt: skip
    joined = layers.Concatenate()([unit(first), unit(second), unit(third)])
    net = switched(keras.Model(image, layers.Conv2D(2, 1, name="out")(joined)))
    switches = Switches(net)
    assert "another number of channels" in switches.unswitchable["c5"]
    switches.disable(Filter("c4a", 1))
    assert slim(net, X).get_layer("c4b").filters == 3


def test_channels_that_are_only_averaged_are_not_free() -> None:
    """The channel with the largest part in the mean goes last."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="first")(image)
    model = keras.Model(image, layers.Dense(1, name="out")(layers.Flatten()(ops.mean(x, axis=-1))))
    first = model.get_layer("first")
    first.kernel.assign(first.kernel * np.array([1.0, 9.0, 0.5, 2.0], "float32"))
    net = switched(model)
    switches = Switches(net)
    evidence = Evidence(Calibration(net, X, Refit(), switches))
    view = NetworkView(switches, frozen=(), floors={}, whole_layers=False, calibration=lambda: X,
                       measure=lambda: 0.0, higher_is_better=True, evidence=lambda: evidence)  # fmt: skip
    assert load_strategy("refit").ask(view, 1) == (Filter("first", 2),)
    assert Filter("first", 1) not in load_strategy("refit").ask(view, 3)
