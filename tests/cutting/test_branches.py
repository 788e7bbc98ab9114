"""Whole layers are removed too: a residual branch without filters is replaced by the constant that it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from shrinknet import Filter, Switches, plan, slim, switched

layers = keras.layers
X = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")


def randomized(model: Any) -> Any:
    random = np.random.default_rng(1)
    for variable in model.weights:
        value = random.normal(size=variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)
    return model


def block(x: Any, number: int, wide: Callable[[Any], Any] = lambda x: x) -> Any:
    inner = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"inner{number}")(x)
    inner = layers.BatchNormalization(name=f"inner_bn{number}")(inner)
    outer = layers.Conv2D(6, 3, padding="same", name=f"outer{number}")(inner)
    outer = layers.BatchNormalization(name=f"outer_bn{number}")(outer)
    return layers.Add(name=f"add{number}")([x, wide(outer)])


def network(wide: Callable[[Any], Any] = lambda x: x) -> Any:
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU()(block(block(x, 1, wide), 2, wide))
    return randomized(keras.Model(inputs, layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))))


def emptied(model: Any, layer: str) -> Any:
    net = switched(model)
    switches = Switches(net)
    switches.disable(*(filter for filter in switches.filters if filter.layer == layer))
    return net


@pytest.mark.parametrize("wide", [lambda x: x, lambda x: layers.Activation("sigmoid")(layers.Dropout(0.5)(x))])
def test_a_branch_without_filters_is_removed(wide: Callable[[Any], Any]) -> None:
    net = emptied(network(wide), "inner1")
    small = slim(net)
    names = {layer.name for layer in small.layers}
    assert not names & {"inner1", "inner_bn1", "outer1", "outer_bn1"}
    assert {"inner2", "outer2"} <= names
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)


def test_a_plan_names_layers_that_lose_all_filters() -> None:
    net = emptied(network(), "inner1")
    assert plan(net).emptied == ("inner1",)
    assert "No filter is enabled in inner1: slim removes a branch" in str(plan(net))
    Switches(net).enable(Filter("inner1", 0))
    assert plan(net).emptied == () and "No filter" not in str(plan(net))


def test_a_branch_that_adds_nothing_leaves_no_trace() -> None:
    model = network()
    for name in ("outer1", "outer_bn1"):
        layer = model.get_layer(name)
        bias = layer.bias if name == "outer1" else layer.beta
        bias.assign(np.zeros(6))
    model.get_layer("outer_bn1").moving_mean.assign(np.zeros(6))
    net = emptied(model, "inner1")
    small = slim(net)
    assert [type(layer).__name__ for layer in small.layers].count("Add") == 1
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)


def test_where_a_constant_cannot_be_folded_a_placeholder_filter_stays() -> None:
    net = emptied(network(lambda x: layers.ZeroPadding2D(1)(layers.Cropping2D(1)(x))), "inner1")
    small = slim(net)
    assert small.get_layer("inner1").filters == 1
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)


def test_a_network_cut_through_still_computes_its_constant() -> None:
    net = emptied(network(), "stem")
    small = slim(net)
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)
    assert np.ptp(np.asarray(small(X)), axis=0).max() == 0


@pytest.mark.slow
def test_the_optimizer_continues_on_the_remaining_layers() -> None:
    model = network()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(X, np.zeros((3, 3)), epochs=3, verbose=0)
    net = emptied(model, "inner2")
    small = slim(net)
    slots = {slot.name: slot for slot in small.optimizer.variables}
    assert int(small.optimizer.iterations) == 3
    old = next(slot for slot in net.optimizer.variables if slot.name == "inner1_kernel_momentum")
    np.testing.assert_array_equal(slots["inner1_kernel_momentum"], old)


def test_the_only_filter_can_be_disabled_like_any_other() -> None:
    net = switched(network())
    Switches(net).disable(*(Filter("inner1", index) for index in range(4)))
    assert len(Switches(net).disabled) == 4
