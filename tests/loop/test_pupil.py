"""Trials that train the small network instead of the switched one: the same training, and when it is worth making."""

from __future__ import annotations

from typing import Any

import crashing
import keras
import numpy as np
import pytest
from tiny_runs import DATA, X, Y, classifier

from shrinknet import Filter, Switches, minimize, switched
from shrinknet.engine.data import read_data
from shrinknet.loop import trials
from shrinknet.loop.pupil import PASSES, TO_MAKE, is_worth_making, small_pupil
from shrinknet.loop.workbench import Data, Workbench
from shrinknet.network.optimizers import fresh_copy

OPTIONS: dict[str, Any] = {
    "threshold": 0.3, "score": "loss", "strategy": "sequential", "pace": 2, "train": "always", "checks": 1, "steps": 6,
    "max_trials": 2, "final_steps": 0, "seed": 1, "batch_size": 16, "verbose": 0,
}  # fmt: skip


def deterministic() -> Any:
    """Without dropout: the two networks draw different numbers."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", name="conv1"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(3, 3, activation="relu", name="conv2"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid", name="out"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05), "binary_crossentropy", metrics=["accuracy"])
    return model


def weights_of(result: Any) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in result.model.weights]


@pytest.mark.slow
def test_the_small_network_learns_what_the_switched_one_would() -> None:
    switched_one = minimize(deterministic(), DATA, DATA, compact="never", **OPTIONS)
    small_one = minimize(deterministic(), DATA, DATA, compact="always", **OPTIONS)
    assert [trial.filters for trial in small_one.records] == [trial.filters for trial in switched_one.records]
    assert switched_one.summary.accepted
    before = [np.asarray(weight) for weight in switched_one.uncut.weights]
    assert any(not np.array_equal(a, b) for a, b in zip(before, weights_of(switched_one), strict=True))
    for a, b in zip(weights_of(small_one), weights_of(switched_one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_small_networks_are_made_only_where_they_are_asked_for_or_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    own = trials.small_pupil
    monkeypatch.setattr(trials, "small_pupil", lambda *arguments: made.append(0) or own(*arguments))
    cases = (("never", True, True, 0), ("auto", False, True, 0), ("auto", True, True, 2), ("always", False, True, 2),
             ("always", True, False, 0))  # fmt: skip
    for compact, worth, reset, expected in cases:
        made.clear()
        monkeypatch.setattr(trials, "is_worth_making", lambda *arguments, worth=worth: worth)
        options = {**OPTIONS, "preset": "default", "threshold": 0.01, "warmup_steps": 0, "control": False}
        crashing.story(None, compact=compact, reset=reset, **options)
        assert len(made) == expected, (compact, worth, reset)  # without a reset, the optimizer's slots would be lost


@pytest.fixture(scope="module")
def bench() -> Workbench:
    feed = read_data((X, Y), 16, "data")
    return Workbench(switched(classifier()), Data(feed, feed), 0)


def test_worth_is_counted_in_multiply_adds(bench: Workbench) -> None:
    layers = len(bench.switches.graph.layers)
    steps = round(TO_MAKE * layers / (PASSES * 16 * 1000))
    assert not is_worth_making(bench, steps - 1, 1000)
    assert is_worth_making(bench, steps + 1, 1000)
    assert not is_worth_making(bench, 10**9, 0)


def test_filters_that_were_frozen_by_hand_stay_frozen() -> None:
    net = switched(deterministic())
    Switches(net).freeze(Filter("conv1", 1))
    feed = read_data(DATA, 16, "data")
    bench = Workbench(net, Data(feed, feed), 0)
    assert small_pupil(bench, fresh_copy(net.optimizer)) is None


class Own(keras.Model):  # type: ignore[misc]
    """A model that trains in a way of its own, and whose constructor cannot express other widths."""

    def __init__(self, filters: int) -> None:
        image = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(filters, 3, activation="relu", name="conv1")(image)
        x = keras.layers.Conv2D(3, 3, activation="relu", name="conv2")(x)
        super().__init__(image, keras.layers.Dense(1, activation="sigmoid", name="out")(keras.layers.Flatten()(x)))

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


@pytest.mark.tensorflow("train_step has another signature on other backends")
def test_a_train_step_of_its_own_is_used_and_a_rejected_trial_leaves_no_trace() -> None:
    model = Own(4)
    model.compile(keras.optimizers.SGD(0.05), "binary_crossentropy", metrics=["accuracy"])
    feed = read_data(DATA, 16, "data")
    bench = Workbench(switched(model), Data(feed, feed), 0)
    assert small_pupil(bench, fresh_copy(bench.net.optimizer)) is None
    scores = iter([1.0])
    options = {**OPTIONS, "threshold": 0.9, "max_trials": 1, "score": lambda net: next(scores, 0.5), "mode": "max"}
    result = minimize(model, DATA, DATA, compact="always", **options)
    assert [trial.accepted for trial in result.records] == [False]
    for before, after in zip(result.uncut.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(before, after)
