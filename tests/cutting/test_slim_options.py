"""Options of `slim`: widths in multiples, and an optimizer that continues."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from marking import slow

from shrinknet import Filter, Switches, plan, slim, switched
from shrinknet.errors import OptionError

layers = keras.layers
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(16, 8, 8, 2)).astype("float32")
Y = RANDOM.normal(size=(16, 3)).astype("float32")


def net(optimizer: Any = "adam") -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    stem = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(inputs)
    branch = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False, name="inner")(stem))
    sum_ = layers.Add()([stem, layers.Conv2D(16, 3, padding="same", name="outer")(branch)])
    outputs = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(sum_))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=8, verbose=0)
    result = switched(model)
    gone = [Filter("stem", index) for index in (0, 3, 4, 8, 9, 15)] + [Filter("inner", index) for index in (1, 2, 7)]
    Switches(result).disable(*gone)
    return result


@pytest.mark.parametrize(
    ("round_to", "widths"), [slow(1, (10, 9)), (2, (10, 10)), slow(4, (12, 12)), slow(8, (16, 12))]
)
def test_widths_are_multiples_and_the_function_is_the_same(round_to: int, widths: tuple[int, int]) -> None:
    big = net()
    small = slim(big, round_to=round_to)
    assert (small.get_layer("stem").filters, small.get_layer("inner").filters) == widths
    assert small.get_layer("outer").filters == widths[0]
    np.testing.assert_allclose(small(X), big(X), atol=1e-5)
    assert plan(big, round_to=round_to).after.parameters == small.count_params()


def test_a_normalisation_over_channels_is_never_left_with_a_disabled_one() -> None:
    inputs = keras.Input((8, 8, 2))
    x = layers.LayerNormalization()(layers.Conv2D(8, 3, name="conv")(inputs))
    big = switched(keras.Model(inputs, layers.Conv2D(1, 3)(x)))
    Switches(big).disable(Filter("conv", 0), Filter("conv", 5), Filter("conv", 6))
    assert slim(big, round_to=4).get_layer("conv").filters == 5


@pytest.mark.slow
def test_training_continues_as_if_nothing_had_been_cut() -> None:
    for optimizer in (keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)):
        big = net(optimizer)
        small, fresh = slim(big), slim(big, optimizer="fresh")
        assert int(small.optimizer.iterations) == int(big.optimizer.iterations) == 2
        assert int(fresh.optimizer.iterations) == 0
        for model in (big, small, fresh):
            model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        np.testing.assert_allclose(small(X), big(X), atol=1e-4)
        assert np.abs(fresh(X) - big(X)).max() > 1e-3


@pytest.mark.slow
def test_factored_slots_start_new() -> None:
    big = net()
    big.compile(keras.optimizers.Adafactor(0.01), "mse")
    big.optimizer.build(big.trainable_variables)
    small = slim(big)
    small.fit(X, Y, batch_size=8, verbose=0)
    assert all(np.isfinite(weight).all() for weight in small.get_weights())


def test_options_out_of_range() -> None:
    with pytest.raises(OptionError, match=r"round_to.*0"):
        slim(net(), round_to=0)
    with pytest.raises(OptionError, match=r"optimizer.*'old'"):
        slim(net(), optimizer="old")  # type: ignore[arg-type]
