"""Reset means fresh, and frozen does not move: for every optimizer that Keras ships, under every setting."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from core_models import MAPS as Y
from core_models import VECTORS, Counting, X, assert_same_bits, copies, maps, numpy, own_weights, same_bits, vectors
from marking import slow

from shrinknet import Filter, Switches, reset_optimizer, switched
from shrinknet.errors import OptimizerError
from shrinknet.network.optimizers import fresh_copy, other_optimizer

optimizers = keras.optimizers
SHIPPED = {
    name: kind
    for name, kind in vars(optimizers).items()
    if inspect.isclass(kind) and issubclass(kind, optimizers.Optimizer) and kind is not optimizers.Optimizer
}
REFUSED = {"MultiOptimizer"}


class Falling(optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A user's own schedule: not registered, and without a get_config."""

    def __call__(self, step: Any) -> Any:
        return 0.01 / (1.0 + keras.ops.cast(step, "float32"))


def loss_scaled(**settings: Any) -> Any:
    inner = optimizers.Adam(0.01, **settings)
    return optimizers.LossScaleOptimizer(inner, initial_scale=64.0, dynamic_growth_steps=3)


def plain(name: str) -> Callable[..., Any]:
    return loss_scaled if name == "LossScaleOptimizer" else lambda: SHIPPED[name](learning_rate=0.01)


MAKE: dict[str, Callable[..., Any]] = {name: plain(name) for name in SHIPPED if name not in REFUSED}
MAKE |= {
    "SGD-momentum": lambda: optimizers.SGD(0.01, momentum=0.9),
    "SGD-nesterov": lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "SGD-decay": lambda: optimizers.SGD(0.01, momentum=0.9, weight_decay=0.1),
    "RMSprop-centered": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "Adam-amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "AdamW-strong": lambda: optimizers.AdamW(0.01, weight_decay=0.5),
    "Ftrl-regularized": lambda: optimizers.Ftrl(0.01, l1_regularization_strength=1e-4, l2_regularization_strength=0.1),
    "ScheduleFree-warmup": lambda: optimizers.ScheduleFreeAdamW(0.01, warmup_steps=4, weight_decay=0.1),
    "Adam-clipnorm": lambda: optimizers.Adam(0.01, clipnorm=0.01),
    "SGD-clipvalue": lambda: optimizers.SGD(0.01, momentum=0.9, clipvalue=0.01),
    "Adam-global-clipnorm": lambda: optimizers.Adam(0.01, global_clipnorm=0.01),
    "Adam-accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "SGD-accumulation": lambda: optimizers.SGD(0.01, momentum=0.9, gradient_accumulation_steps=2, clipnorm=0.1),
    "Adam-average": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "AdamW-average-often": lambda: optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3),
    "Adam-scale-factor": lambda: optimizers.Adam(0.01, loss_scale_factor=8.0),
    "LossScale-average": lambda: loss_scaled(use_ema=True, weight_decay=0.1, gradient_accumulation_steps=2),
    "Adam-schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)),
    "Adam-own-schedule": lambda: optimizers.Adam(Falling()),
    "SGD-function": lambda: optimizers.SGD(lambda: 0.01, momentum=0.9),
}
every_optimizer = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
# Each takes seconds to compile: all but these wait for `make test-all`.
QUICK = {"SGD-momentum", "Adam", "AdamW-strong", "Adam-accumulation", "LossScale-average"}
trained_optimizer = pytest.mark.parametrize(
    "make",
    [(pytest.param if name in QUICK else slow)(make, id=name) for name, make in MAKE.items()],
)


def test_no_optimizer_that_keras_ships_is_forgotten() -> None:
    assert {"SGD", "Adam", "LossScaleOptimizer", "MultiOptimizer"} <= set(SHIPPED)
    assert set(SHIPPED) - REFUSED <= set(MAKE)


# ---------------------------------------------------------------------------------------------------- reset


def weights() -> list[Any]:
    """A convolution's kernel, a bias and a matrix (Muon treats matrices differently), always with the same values."""
    random = np.random.default_rng(3)
    shapes = {"conv/kernel": (3, 3, 1, 3), "conv/bias": (3,), "dense/kernel": (4, 2)}
    return [keras.Variable(random.normal(size=shape).astype("float32"), name=name.replace("/", "_"))
            for name, shape in shapes.items()]  # fmt: skip


def work(optimizer: Any, variables: list[Any], steps: int = 5) -> None:
    """A few updates, always with the same gradients."""
    random = np.random.default_rng(4)
    if not optimizer.built:
        optimizer.build(variables)
    for _ in range(steps):
        gradients = [keras.ops.convert_to_tensor(random.normal(size=v.shape).astype("float32")) for v in variables]
        if keras.backend.backend() == "tensorflow":
            optimizer.apply(gradients, variables)
            continue
        held = [*variables, *optimizer.variables]  # stateless, as Keras trains on JAX
        new = optimizer.stateless_apply([v.value for v in optimizer.variables], gradients, [v.value for v in variables])
        for variable, value in zip(held, [*new[0], *new[1]], strict=True):
            variable.assign(keras.ops.copy(value))


def without_rate(optimizer: Any) -> list[Any]:
    return [variable for variable in optimizer.variables if variable.name != "learning_rate"]


@every_optimizer
def test_reset_equals_a_newly_built_optimizer(make: Callable[..., Any]) -> None:
    used, variables = make(), weights()
    work(used, variables)
    twins = [keras.Variable(numpy(variable)) for variable in variables]
    fresh = make()
    fresh.build(twins)
    assert not same_bits(without_rate(used), without_rate(fresh)), "five steps must leave something to reset"
    held = list(used.variables)
    assert reset_optimizer(used) == len(without_rate(fresh))
    assert all(a is b for a, b in zip(used.variables, held, strict=True)), "in place: compiled steps refer to these"
    assert_same_bits(used.variables, fresh.variables)
    assert_same_bits(variables, twins)  # the model's own weights are not changed
    work(used, variables)
    work(fresh, twins)
    assert_same_bits(variables, twins)
    assert_same_bits(used.variables, fresh.variables)


@pytest.mark.parametrize("make", [MAKE["SGD"], MAKE["Adam"], MAKE["Adam-average"], loss_scaled],
                         ids=["SGD", "Adam", "average", "LossScale"])  # fmt: skip
def test_the_users_learning_rate_stays(make: Callable[..., Any]) -> None:
    optimizer, variables = make(), weights()
    work(optimizer, variables)
    optimizer.learning_rate = 0.0037
    reset_optimizer(optimizer)
    assert float(numpy(optimizer.learning_rate)) == np.float32(0.0037)
    assert int(numpy(optimizer.iterations)) == 0


@pytest.mark.parametrize("rate", [Falling(), optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.01]),
                                  lambda: 0.01], ids=["own", "keras", "function"])  # fmt: skip
@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, optimizers.LossScaleOptimizer], ids=["bare", "scaled"])
def test_a_schedule_stays_the_very_same_object(rate: Any, wrap: Callable[..., Any]) -> None:
    optimizer, variables = wrap(optimizers.Adam(rate)), weights()
    work(optimizer, variables)
    reset_optimizer(optimizer)
    assert getattr(optimizer, "inner_optimizer", optimizer)._learning_rate is rate
    net = switched(maps(optimizer=wrap(optimizers.Adam(rate))))
    assert getattr(net.optimizer, "inner_optimizer", net.optimizer)._learning_rate is rate


def test_a_rate_that_was_replaced_by_a_schedule_stays_the_schedule() -> None:
    optimizer, variables, schedule = optimizers.Adam(0.01), weights(), Falling()
    work(optimizer, variables)
    optimizer.learning_rate = schedule
    reset_optimizer(optimizer)
    assert optimizer._learning_rate is schedule
    work(optimizer, variables)


@pytest.mark.tensorflow("it is TensorFlow's SavedModel that refuses")
@pytest.mark.parametrize("spec", [None, Falling()], ids=["its own", "another"])
def test_a_copy_with_a_schedule_can_be_saved_by_tensorflow(spec: Any, tmp_path: Path) -> None:
    """A rate that a schedule replaces later leaves a gap in Keras's list of variables; TensorFlow cannot save it."""
    optimizer = optimizers.Adam(0.01 if spec else Falling())
    model = vectors(fresh_copy(optimizer) if spec is None else other_optimizer(spec, optimizer))
    model.optimizer.build(model.trainable_variables)
    model.export(tmp_path / "model", format="tf_saved_model", verbose=False)


@pytest.mark.parametrize("spec", [Falling(), 0.1, np.float32(0.1), "rmsprop", optimizers.SGD(0.1)], ids=type)
def test_another_optimizer_scales_the_loss_as_the_first(spec: Any) -> None:
    made = other_optimizer(spec, loss_scaled())
    assert isinstance(made, optimizers.LossScaleOptimizer) and made.dynamic_growth_steps == 3
    assert not isinstance(other_optimizer(spec, optimizers.Adam(0.01)), optimizers.LossScaleOptimizer)
    assert not made.built


def test_an_optimizer_that_was_never_used_can_be_reset() -> None:
    optimizer = optimizers.Adam(0.01)
    assert reset_optimizer(optimizer) == 1  # the step counter; nothing else exists yet
    assert not optimizer.built


@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "freezing"])
def test_training_after_a_reset_is_training_with_a_fresh_optimizer_and_traces_nothing(frozen: bool) -> None:
    nets = [switched(maps(optimizers.AdamW(0.01, use_ema=True), kind=Counting)) for _ in range(2)]
    if frozen:
        for net in nets:
            Switches(net).freeze(Filter("conv1", 1))
    used, fresh = nets
    used.fit(X, Y, batch_size=4, epochs=2, verbose=0)
    for a, b in zip(used.variables, fresh.variables, strict=True):
        b.assign(numpy(a))
    traces = used.traces
    reset_optimizer(used.optimizer)
    for net in nets:
        net.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert used.traces == traces
    assert_same_bits(used.variables, fresh.variables)
    assert_same_bits(used.optimizer.variables, fresh.optimizer.variables)


def test_reset_leaves_what_is_frozen_frozen() -> None:
    net = switched(maps(optimizers.SGD(0.1, momentum=0.9)))
    switches = Switches(net)
    switches.freeze(Filter("conv1", 1))
    net.train_on_batch(X, Y)
    fresh = optimizers.SGD(0.1, momentum=0.9)
    fresh.build(net.trainable_variables)
    assert reset_optimizer(net.optimizer) == len(without_rate(fresh))  # our masks are not part of its state
    before = own_weights(net, "conv1", 1, "norm")
    net.train_on_batch(X, Y)
    assert_same_bits(own_weights(net, "conv1", 1, "norm").values(), before.values())
    assert switches.frozen == (Filter("conv1", 1),)


def several_in_one() -> Any:
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam()))


def test_several_optimizers_in_one_are_refused_by_name() -> None:
    optimizer = several_in_one()
    optimizer.build(weights())
    with pytest.raises(OptimizerError, match="MultiOptimizer"):
        reset_optimizer(optimizer)
    net = switched(maps())
    net.compile(several_in_one(), "mse")
    with pytest.raises(OptimizerError, match="MultiOptimizer"):
        Switches(net).freeze(Filter("conv1", 0))


def test_an_optimizer_whose_config_does_not_describe_it_is_refused_by_name() -> None:
    class Needy(optimizers.SGD):  # type: ignore[misc]
        def __init__(self, need: float) -> None:
            super().__init__(need)

    class Growing(optimizers.SGD):  # type: ignore[misc]
        extra = False

        def build(self, variables: Any) -> None:
            super().build(variables)
            if self.extra:
                self.add_variable((1,), name="extra")

    with pytest.raises(OptimizerError, match="Needy cannot be re-created"):
        reset_optimizer(Needy(0.1))
    grown = Growing(0.1)
    grown.extra = True
    grown.build(weights())
    with pytest.raises(OptimizerError, match="Growing"):
        reset_optimizer(grown)


# ---------------------------------------------------------------------------------------------------- freezing

FROZEN = (Filter("conv1", 1), Filter("dense", 2))


def frozen_weights(net: Any) -> list[np.ndarray]:
    return [*own_weights(net, "conv1", 1, "norm").values(), *own_weights(net, "dense", 2).values()]


def other_weights(net: Any) -> list[np.ndarray]:
    return [*own_weights(net, "conv1", 0, "norm").values(), *own_weights(net, "dense", 1).values()]


def moved(first: list[np.ndarray], second: list[np.ndarray]) -> list[bool]:
    return [not same_bits([a], [b]) for a, b in zip(first, second, strict=True)]


def train(net: Any, steps: int) -> None:
    rows = np.resize(np.arange(len(X)), 4 * steps)
    net.fit(X[rows], VECTORS[rows], batch_size=4, shuffle=False, verbose=0)


@trained_optimizer
def test_frozen_does_not_move_by_one_bit(make: Callable[..., Any]) -> None:
    net = switched(vectors(make(), regularizer=keras.regularizers.L2(0.05)))
    switches = Switches(net)
    switches.freeze(Filter("conv1", 0))  # so that freezing is installed, and the filters below gather momentum
    switches.thaw(Filter("conv1", 0))
    start = frozen_weights(net)
    train(net, 4)
    before = frozen_weights(net)
    assert all(moved(start, before)), "a filter that does not move anyway would prove nothing"
    switches.freeze(*FROZEN)
    others = other_weights(net)
    train(net, 29)  # odd, because Lion oscillates between two values; ends like fit, so that averages are written
    assert_same_bits(frozen_weights(net), before)
    assert all(moved(others, other_weights(net)))
    switches.thaw(*FROZEN)
    train(net, 3)
    assert all(moved(before, frozen_weights(net)))


def test_freezing_can_be_installed_in_the_middle_of_training() -> None:
    net = switched(vectors(optimizers.AdamW(0.01, weight_decay=0.5)))
    train(net, 4)
    before = frozen_weights(net)
    Switches(net).freeze(*FROZEN)
    train(net, 10)
    assert_same_bits(frozen_weights(net), before)
    assert all(moved(other_weights(net), before))


def test_the_frozen_slice_gathers_no_momentum_while_it_is_frozen() -> None:
    net = switched(vectors(optimizers.SGD(0.01, momentum=0.9), regularizer=keras.regularizers.L2(0.05)))
    Switches(net).freeze(Filter("dense", 2))
    train(net, 5)
    kernel = net.get_layer("dense").kernel
    slot = net.optimizer.momentums[net.optimizer._get_variable_index(kernel)]
    assert not numpy(slot)[:, 2].any()
    assert numpy(slot)[:, 1].any()


def test_dead_gradients_do_not_enter_a_global_clipping_norm() -> None:
    """The others move as if the frozen filter were constant, however large its own gradient."""
    kernels = []
    for strength in (0.0, 1e6):
        net = switched(maps(optimizers.SGD(0.1, global_clipnorm=0.01)))
        Switches(net).freeze(Filter("conv1", 1))
        only_one = np.zeros((3, 3, 1, 3), "float32")
        only_one[..., 1] = strength
        net.get_layer("conv1").kernel.regularizer = lambda kernel, pull=only_one: keras.ops.sum(kernel * pull)
        net.train_on_batch(X, Y)
        kernels.append(numpy(net.get_layer("conv1").kernel))
    assert_same_bits(kernels[:1], kernels[1:])


def test_frozen_under_half_precision_with_loss_scaling() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        net = switched(vectors(optimizers.AdamW(0.01, weight_decay=0.5, use_ema=True)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(net.optimizer, optimizers.LossScaleOptimizer)
    train(net, 4)
    before = frozen_weights(net)
    Switches(net).freeze(*FROZEN)
    others = other_weights(net)
    train(net, 10)
    assert_same_bits(frozen_weights(net), before)
    assert all(moved(others, other_weights(net)))


def test_frozen_under_a_weight_constraint() -> None:
    net = switched(vectors())
    net.get_layer("conv1").kernel.constraint = keras.constraints.MaxNorm(0.1)
    before = frozen_weights(net)
    Switches(net).freeze(*FROZEN)
    train(net, 3)
    assert_same_bits(frozen_weights(net), before)
    others = own_weights(net, "conv1", 0)["conv1/kernel"]
    assert np.linalg.norm(others[:, :, 0], axis=0).max() <= 0.11


def test_frozen_layers_that_are_not_trainable_work() -> None:
    net = switched(vectors())
    net.get_layer("norm").trainable = False
    net.compile(optimizers.Adam(0.01), "mse")
    Switches(net).freeze(*FROZEN)
    before = frozen_weights(net)
    train(net, 3)
    assert_same_bits(frozen_weights(net), before)


def test_the_users_later_compile_does_not_lose_it() -> None:
    net = switched(vectors())
    Switches(net).freeze(*FROZEN)
    train(net, 2)
    before = frozen_weights(net)
    net.compile(optimizers.SGD(0.1, momentum=0.9), "mae")
    train(net, 3)
    assert_same_bits(frozen_weights(net), before)
    net.compile(optimizers.Adam(0.1), "mse")
    net.train_on_batch(X, VECTORS)
    assert_same_bits(frozen_weights(net), before)


def test_frozen_before_the_first_compile() -> None:
    net = switched(vectors(compiled=False))
    Switches(net).freeze(*FROZEN)
    net.compile(optimizers.AdamW(0.1, weight_decay=0.5), "mse")
    before = frozen_weights(net)
    train(net, 3)
    assert_same_bits(frozen_weights(net), before)


def test_a_switched_copy_of_a_frozen_network_is_frozen_at_once() -> None:
    first = switched(vectors())
    Switches(first).freeze(*FROZEN)
    net = switched(first)
    assert Switches(net).frozen == FROZEN
    before = frozen_weights(net)
    gradients = [keras.ops.ones(variable.shape) for variable in net.trainable_variables]
    net.optimizer.apply(gradients, net.trainable_variables)  # a custom loop: neither fit nor our engine
    assert_same_bits(frozen_weights(net), before)


@pytest.mark.parametrize("make", [slow(MAKE["SGD-momentum"]), slow(MAKE["Adam-average"]), loss_scaled],
                         ids=["SGD", "average", "LossScale"])  # fmt: skip
def test_saving_keeps_it_and_continues_bit_for_bit(make: Callable[..., Any], tmp_path: Path) -> None:
    net = switched(vectors(make()))
    Switches(net).freeze(*FROZEN)
    train(net, 3)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert Switches(loaded).frozen == FROZEN
    assert type(loaded.optimizer) is type(make())
    saved = without_masks(net.optimizer)
    assert_same_bits(loaded.optimizer.variables, saved)
    for one in (net, loaded):
        train(one, 3)
    assert_same_bits(loaded.weights, net.weights)


def without_masks(optimizer: Any) -> list[Any]:
    return [variable for variable in optimizer.variables if variable.dtype != "bool"]


def test_a_saved_network_with_what_is_frozen_loads_into_one_without(tmp_path: Path) -> None:
    net, other = switched(vectors(loss_scaled())), switched(vectors(loss_scaled()))
    Switches(net).freeze(*FROZEN)
    train(net, 3)
    net.save_weights(tmp_path / "net.weights.h5")
    other.load_weights(tmp_path / "net.weights.h5")
    assert Switches(other).frozen == FROZEN
    before = frozen_weights(other)
    train(other, 3)
    assert_same_bits(frozen_weights(other), before)


def test_the_optimizer_itself_saves_and_pickles_as_its_plain_class() -> None:
    for make in (MAKE["Adam"], loss_scaled):
        net = switched(vectors(make()))
        Switches(net).freeze(*FROZEN)
        train(net, 2)
        config, plain_config = (optimizers.serialize(optimizer) for optimizer in (net.optimizer, make()))
        assert {**config, "config": None} == {**plain_config, "config": None}
        assert type(optimizers.deserialize(config)) is type(make())
        again = pickle.loads(pickle.dumps(net))
        assert type(again.optimizer) is type(make())
        assert_same_bits(again.optimizer.variables, without_masks(net.optimizer))


@pytest.mark.parametrize("make", [MAKE["Adam"], loss_scaled], ids=["Adam", "LossScale"])
def test_the_state_that_a_freezing_optimizer_saves_loads_into_a_plain_one(make: Callable[..., Any]) -> None:
    net = switched(vectors(make()))
    Switches(net).freeze(*FROZEN)
    train(net, 2)
    store: dict[str, np.ndarray] = {}
    net.optimizer.save_own_variables(store)
    plain_one = make()
    plain_one.build(net.trainable_variables)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain_one.load_own_variables(store)
    assert_same_bits(plain_one.variables, without_masks(net.optimizer))
    reset_optimizer(plain_one)
    back: dict[str, np.ndarray] = {}
    plain_one.save_own_variables(back)
    net.optimizer.load_own_variables(back)
    assert_same_bits(plain_one.variables, without_masks(net.optimizer))


@keras.saving.register_keras_serializable("shrinknet_tests")
class OwnSGD(optimizers.SGD):  # type: ignore[misc]
    """A user's own optimizer, registered so that it can be saved."""


def test_a_users_own_registered_optimizer_saves_under_its_own_name(tmp_path: Path) -> None:
    net = switched(vectors(OwnSGD(0.01, momentum=0.9)))
    Switches(net).freeze(*FROZEN)
    train(net, 2)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert type(loaded.optimizer) is OwnSGD
    assert_same_bits(loaded.optimizer.variables, without_masks(net.optimizer))


def test_toggling_what_is_frozen_traces_nothing() -> None:
    net = switched(maps(kind=Counting))
    switches = Switches(net)
    switches.freeze(Filter("conv1", 1))
    net.train_on_batch(X, Y)
    traces = net.traces
    for step in range(6):
        toggle = switches.thaw if step % 2 else switches.freeze
        toggle(*switches.filters, Filter("conv2", 0))
        before = copies(net.trainable_variables[:4])
        net.train_on_batch(X, Y)
        assert same_bits(net.trainable_variables[:4], before) == (step % 2 == 0)
    assert net.traces == traces
