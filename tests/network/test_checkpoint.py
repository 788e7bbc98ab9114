"""Rollback is exact: after a checkpoint is restored every bit is as before, and so is all training that follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from core_models import MAPS as Y
from core_models import Counting, X, assert_same_bits, copies, maps, numpy, own_weights, same_bits
from marking import slow

from shrinknet import Checkpoint, Filter, Switches, reset_optimizer, slim, switched
from shrinknet.engine import make_engine
from shrinknet.engine.data import read_data
from shrinknet.errors import ModelError
from shrinknet.network.checkpoint import state_of

optimizers = keras.optimizers
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "average": lambda: optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01), initial_scale=64.0, dynamic_growth_steps=2),
    "accumulated": lambda: optimizers.Nadam(0.01, gradient_accumulation_steps=2),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.02, 2, 0.7), amsgrad=True),
    "schedule-free": lambda: optimizers.ScheduleFreeAdamW(0.01),
}


def noisy(optimizer: Any = None, kind: type = keras.Model) -> Any:
    """`maps` with one layer of each kind that draws random numbers or keeps statistics."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = image = keras.Input((6, 6, 1))
    x = layers.GaussianNoise(0.1)(layers.RandomFlip()(x))
    x = layers.Conv2D(3, 3, padding="same", name="conv1")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.SpatialDropout2D(0.3)(layers.Dropout(0.3)(x))
    model = kind(image, layers.Conv2D(2, 3, padding="same", name="conv2")(x), name="noisy")
    model.compile(optimizer or optimizers.SGD(0.05, momentum=0.9), "mse", metrics=["mae"])
    return model


def everything(net: Any) -> list[Any]:
    """Each variable of a network, its optimizer and its metrics, found independently of the checkpoint."""
    found = [*net.variables, *net.optimizer.variables]
    found += [variable for layer in net._flatten_layers() for variable in layer.variables]
    found += [variable for metric in net.metrics for variable in metric.variables]
    return list({id(variable): variable for variable in found}.values())


def by_fit(net: Any) -> Callable[[], None]:
    return lambda: net.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)


def by_engine(net: Any) -> Callable[[], None]:
    feed = read_data((X, Y), 3, "training data")
    engine = make_engine(net, feed, feed, seed=1)
    engine.prepare()
    return lambda: engine.train(5, trial=2)


@pytest.mark.parametrize("way", [slow(by_fit), by_engine])
@pytest.mark.parametrize(
    "make",
    [(pytest.param if name in ("momentum", "average") else slow)(make, id=name) for name, make in OPTIMIZERS.items()],
)
def test_training_after_a_restore_is_training_from_the_checkpoint(make: Callable[[], Any], way: Any) -> None:
    net = switched(noisy(make()))
    train = way(net)
    train()
    held = everything(net)
    state, before = Checkpoint.of(net), copies(held)
    train()
    after = copies(everything(net))
    assert not same_bits(held, before)
    for _ in range(2):  # any number of times
        state.restore()
        assert [id(variable) for variable in everything(net)] == [id(variable) for variable in held]
        assert_same_bits(held, before)
        train()
        assert_same_bits(everything(net), after)


@pytest.mark.parametrize(
    "make", [(pytest.param if name == "average" else slow)(make, id=name) for name, make in OPTIMIZERS.items()]
)
def test_a_checkpoint_from_before_the_first_step(make: Callable[[], Any]) -> None:
    """Keras creates slots and metrics in the first step: they too must return to their initial values."""
    net = noisy(make())
    state = Checkpoint.of(net)
    net.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    after = copies(everything(net))
    state.restore()
    net.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    assert_same_bits(everything(net), after)


def test_every_variable_is_held_and_each_once() -> None:
    net = switched(noisy(OPTIMIZERS["scaled"]()))
    Switches(net).freeze(Filter("conv1", 0))
    by_fit(net)()
    held = [id(variable) for variable in state_of(net)]
    assert len(set(held)) == len(held)
    assert {id(variable) for variable in everything(net)} <= set(held)
    names = " ".join(variable.path for variable in state_of(net))
    for part in ("seed_generator_state", "moving_variance", "dynamic_scale", "disabled", "live_kernel", "velocity"):
        assert part in names


def test_what_is_held_are_copies() -> None:
    net = switched(maps())
    by_fit(net)()
    state = Checkpoint.of(net)
    before = copies(state.values)
    for variable in state.variables:
        if "float" in str(variable.dtype):
            variable.assign(variable + 1)
    by_fit(net)()
    assert_same_bits(state.values, before)
    state.restore()
    by_fit(net)()  # the next steps write to the variables, not to the restored values
    assert_same_bits(state.values, before)


def test_two_checkpoints_do_not_touch_each_other() -> None:
    net = switched(maps())
    first, start = Checkpoint.of(net), copies(net.variables)
    by_fit(net)()
    second, later = Checkpoint.of(net), copies(net.variables)
    first.restore()
    assert_same_bits(net.variables, start)
    second.restore()
    assert_same_bits(net.variables, later)


def test_switches_go_back() -> None:
    net = switched(maps())
    switches = Switches(net)
    switches.disable(Filter("conv1", 2))
    state, outputs = Checkpoint.of(net), numpy(net(X))
    switches.disable(Filter("conv1", 0))
    switches.enable(Filter("conv1", 2))
    switches.freeze(Filter("conv1", 1))
    state.restore()
    assert switches.disabled == (Filter("conv1", 2),) and switches.frozen == ()
    assert_same_bits([net(X)], [outputs])
    switches.enable(Filter("conv1", 2))
    assert_same_bits([net(X)], [switched(maps())(X)])


@pytest.mark.slow
def test_freezing_that_was_installed_later_goes_back() -> None:
    """The masks are newer than the checkpoint: nothing may stay frozen, and training is the same as without them."""
    net, twin = (switched(maps(OPTIMIZERS["average"]())) for _ in range(2))
    for one in (net, twin):
        by_fit(one)()
    state = Checkpoint.of(net)
    Switches(net).freeze(*Switches(net).filters)
    before = own_weights(net, "conv1", 0, "norm")
    by_fit(net)()
    assert_same_bits(own_weights(net, "conv1", 0, "norm").values(), before.values())
    state.restore()
    assert Switches(net).frozen == ()
    for one in (net, twin):
        by_fit(one)()
    slots = [variable for variable in net.optimizer.variables if variable.dtype != "bool"]
    if keras.backend.backend() == "tensorflow":
        assert_same_bits([*net.variables, *slots], [*twin.variables, *twin.optimizer.variables])
    else:  # a step with masks is rounded differently, which Adam amplifies where gradients are 0
        for a, b in zip([*net.variables, *slots], [*twin.variables, *twin.optimizer.variables], strict=True):
            np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-4, atol=1e-4)


def test_what_was_frozen_at_the_checkpoint_is_frozen_again() -> None:
    net = switched(maps(optimizers.AdamW(0.1)))
    switches = Switches(net)
    switches.freeze(Filter("conv1", 1))
    state = Checkpoint.of(net)
    switches.thaw(Filter("conv1", 1))
    by_fit(net)()
    state.restore()
    before = own_weights(net, "conv1", 1, "norm")
    by_fit(net)()
    assert switches.frozen == (Filter("conv1", 1),)
    assert_same_bits(own_weights(net, "conv1", 1, "norm").values(), before.values())


def test_the_global_seed_generator_goes_back() -> None:
    keras.utils.set_random_seed(3)
    net = switched(maps())
    keras.random.normal((2,))
    state = Checkpoint.of(net)
    drawn = numpy(keras.random.normal((4,)))
    assert not same_bits([drawn], [keras.random.normal((4,))])
    state.restore()
    assert_same_bits([keras.random.normal((4,))], [drawn])


def test_a_learning_rate_that_a_callback_lowered_goes_back() -> None:
    net = switched(maps(optimizers.Adam(0.01)))
    state = Checkpoint.of(net)
    lower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    net.fit(X, Y, epochs=3, callbacks=[lower], verbose=0)
    assert float(numpy(net.optimizer.learning_rate)) < 0.002
    state.restore()
    assert float(numpy(net.optimizer.learning_rate)) == np.float32(0.01)


def test_a_rejected_trial_leaves_no_trace_and_traces_nothing() -> None:
    net = switched(noisy(OPTIMIZERS["average"](), kind=Counting))
    train = by_fit(net)
    Switches(net).freeze(Filter("conv1", 2))
    train()
    traces = net.traces
    held, outputs = everything(net), numpy(net(X, training=False))
    before = copies(held)
    state = Checkpoint.of(net)
    Switches(net).disable(Filter("conv1", 1))
    Switches(net).freeze(Filter("conv1", 1))
    reset_optimizer(net.optimizer)
    train()
    net.evaluate(X, Y, verbose=0)
    state.restore()
    assert_same_bits(held, before)
    assert_same_bits([net(X, training=False)], [outputs])
    assert Switches(net).disabled == () and Switches(net).frozen == (Filter("conv1", 2),)
    evaluated = net.traces - traces
    train()
    assert net.traces - traces == evaluated == 1  # the one of the evaluation


def test_slimming_draws_no_random_numbers_of_the_network() -> None:
    """Keras's random image layers are active unless training=False is passed."""
    net = switched(noisy())
    before = copies(everything(net))
    Switches(net).disable(Filter("conv1", 1))
    slim(net)
    Switches(net).enable(Filter("conv1", 1))
    assert_same_bits(everything(net), before)


def test_a_plain_model_and_one_that_is_not_compiled() -> None:
    for model in (maps(), maps(compiled=False), switched(maps(compiled=False))):
        state, before = Checkpoint.of(model), copies(model.variables)
        for variable in model.trainable_variables:
            variable.assign(variable * 2 + 1)
        state.restore()
        assert_same_bits(model.variables, before)


def test_a_model_without_variables_yet_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing is not built"):
        Checkpoint.of(keras.Sequential([keras.layers.Dense(2)], name="nothing"))


def test_half_precision_goes_back() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        net = switched(maps())
    finally:
        keras.config.set_dtype_policy("float32")
    by_fit(net)()
    state, before = Checkpoint.of(net), copies(everything(net))
    by_fit(net)()
    after = copies(everything(net))
    state.restore()
    assert_same_bits(everything(net), before)
    by_fit(net)()
    assert_same_bits(everything(net), after)
