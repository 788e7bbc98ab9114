"""Fold: the most similar filter stands in for the one that is gone; and statistics estimated anew."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from core_models import assert_same_bits, copies, numpy

from shrinknet import Filter, Switches, switched
from shrinknet.repair import Fold, Refit, fold, recalibrate

layers = keras.layers
X = np.random.default_rng(5).normal(1, 2, size=(40, 6, 6, 2)).astype("float32")


def network(norm: bool, flat: bool = False) -> Any:
    """first (4 filters, the last twice the second) - norm - ReLU - second (3), or flattened into a dense layer."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((6, 6, 2))
    first = layers.Conv2D(4, 3, name="first", use_bias=not norm, bias_initializer="random_normal")
    x = first(x)
    scale = layers.BatchNormalization(name="norm") if norm else None
    x = layers.ReLU()(scale(x) if scale is not None else x)
    x = layers.Dense(3, name="second")(layers.Flatten()(x)) if flat else layers.Conv2D(3, 3, name="second")(x)
    model = keras.Model(image, layers.Dense(2, name="last")(x))
    kernel = numpy(first.kernel)
    kernel[..., 3] = 2 * kernel[..., 1]
    first.kernel.assign(kernel)
    if scale is None:
        first.bias.assign(numpy(first.bias)[[0, 1, 2, 1]] * [1, 1, 1, 2])
    else:
        random = np.random.default_rng(0)
        scale.gamma.assign(random.uniform(0.5, 2, 4)[[0, 1, 2, 1]])
        scale.beta.assign(random.normal(size=4)[[0, 1, 2, 1]] * [1, 1, 1, 2])
        scale.moving_mean.assign(random.normal(size=4)[[0, 1, 2, 1]] * [1, 1, 1, 2])
        scale.moving_variance.assign(np.full(4, 1.5))
    return switched(model)


def test_a_multiple_of_another_filter_is_made_up_for_exactly() -> None:
    for norm in (True, False):
        for flat in (True, False):
            net = network(norm, flat)
            wanted = numpy(net(X))
            Switches(net).disable(Filter("first", 3))
            assert np.abs(numpy(net(X)) - wanted).max() > 0.1
            folded = fold(net)
            (heir, factor) = folded.into[Filter("first", 3)]
            assert heir == Filter("first", 1) and np.isclose(factor, 2, atol=1e-5)
            np.testing.assert_allclose(numpy(net(X)), wanted, atol=1e-4)
            assert "first[1]" in str(folded)


def test_a_second_fold_adds_nothing() -> None:
    net = network(True)
    Switches(net).disable(Filter("first", 3))
    fold(net)
    before = copies(net.variables)
    fold(net)
    assert_same_bits(net.variables, before)


def test_an_opposite_filter_does_not_stand_in() -> None:
    net = network(False)
    first = net.get_layer("first")
    for variable in (first.kernel, first.bias):
        values = numpy(variable)
        values[...] = np.abs(values)
        values[..., 3] *= -1
        variable.assign(values)
    before = numpy(net.get_layer("second").kernel)
    Switches(net).disable(Filter("first", 3))
    assert fold(net).into == {}
    assert np.array_equal(numpy(net.get_layer("second").kernel), before)


def test_groups_are_compared_with_groups_of_the_same_layers() -> None:
    """In a residual stream all producers together decide."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(x)
    y = layers.Conv2D(4, 3, padding="same", name="branch")(layers.ReLU()(x))
    model = keras.Model(image, layers.Dense(2, name="head")(layers.ReLU()(layers.Add()([x, y]))))
    for name in ("stem", "branch"):
        kernel = numpy(model.get_layer(name).kernel)
        kernel[..., 2] = 0.5 * kernel[..., 0]
        model.get_layer(name).kernel.assign(kernel)
    net = switched(model)
    wanted = numpy(net(X))
    Switches(net).disable(Filter("stem", 2))
    assert fold(net).into[Filter("stem", 2)][0] == Filter("stem", 0)
    np.testing.assert_allclose(numpy(net(X)), wanted, atol=1e-4)


def test_frozen_filters_stay_unless_told_otherwise() -> None:
    for frozen in ("keep", "move"):
        net = network(True)
        switches = Switches(net)
        switches.freeze(Filter("second", 1))
        before = numpy(net.get_layer("second").kernel)
        switches.disable(Filter("first", 3))
        fold(net, settings=Fold(frozen=frozen))  # type: ignore[arg-type]
        moved = (numpy(net.get_layer("second").kernel) != before).any(axis=(0, 1, 2))
        assert moved.tolist() == [True, frozen == "move", True]
        net = network(True)
        net.get_layer("second").trainable = False
        Switches(net).disable(Filter("first", 3))
        fold(net, settings=Fold(frozen=frozen))  # type: ignore[arg-type]
        assert np.array_equal(numpy(net.get_layer("second").kernel), before) == (frozen == "keep")


def test_statistics_are_those_of_the_data() -> None:
    net = network(True)
    assert recalibrate(net, X, settings=Refit(batch=16)) == ("norm",)
    rows = numpy(keras.Model(net.input, net.get_layer("first").output)(X)).reshape(-1, 4)
    norm = net.get_layer("norm")
    np.testing.assert_allclose(numpy(norm.moving_mean), rows.mean(0), rtol=1e-4)
    np.testing.assert_allclose(numpy(norm.moving_variance), rows.var(0), rtol=1e-4)


def test_each_normalization_is_estimated_on_what_those_before_it_give() -> None:
    keras.utils.set_random_seed(0)
    shared = layers.BatchNormalization(name="shared")
    left, right = keras.Input((4,)), keras.Input((4,))
    x = layers.Concatenate()([shared(left), shared(right)])
    model = keras.Model([left, right], layers.BatchNormalization(name="after")(x))
    a, b = (np.random.default_rng(seed).normal(seed, 1 + seed, (50, 4)).astype("f4") for seed in (1, 3))
    assert recalibrate(model, [a, b], settings=Refit(batch=8)) == ("shared", "after")
    both = np.concatenate([a, b])
    np.testing.assert_allclose(numpy(model.get_layer("shared").moving_mean), both.mean(0), rtol=1e-4)
    np.testing.assert_allclose(numpy(model.get_layer("shared").moving_variance), both.var(0), rtol=1e-4)
    out = numpy(model([a, b], training=False))
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-2)
    model.get_layer("shared").trainable = False
    assert recalibrate(model, [a, b]) == ("after",)
    assert recalibrate(model, [a, b], settings=Refit(frozen="move")) == ("shared", "after")
