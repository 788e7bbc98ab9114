"""Switches: what a switched copy keeps, that disabled means gone in both directions, and that switching is free."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from core_models import MAPS as Y
from core_models import VECTORS, Counting, X, assert_same_bits, copies, maps, numpy, own_weights, same_bits, vectors
from hypothesis import given, settings
from marking import slow

from shrinknet import Filter, Switches, slim, switched
from shrinknet.cutting import slimmer
from shrinknet.errors import FilterError, ModelError, NotEquivalentError
from shrinknet.graph import rule

layers = keras.layers


def plain_copy(model: Any) -> Any:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def without(model: Any, *readers: tuple[str, list[int], int]) -> Any:
    """A plain copy in which slices of kernels are zero: (layer, positions, reading axis)."""
    copy = plain_copy(model)
    for name, positions, axis in readers:
        kernel = numpy(copy.get_layer(name).kernel)
        np.moveaxis(kernel, axis, 0)[positions] = 0
        copy.get_layer(name).kernel.assign(kernel)
    return copy


def trained(model: Any, targets: Any = Y) -> Any:
    """Trains a little, so that statistics and slots are not those of a new network."""
    model.fit(X, targets, batch_size=4, epochs=2, verbose=0)
    return model


# ------------------------------------------------------------------------------------------------- the copy


@pytest.mark.parametrize(("build", "targets"), [(maps, Y), (vectors, VECTORS)], ids=["functional", "sequential"])
def test_a_switched_copy_computes_and_is_called_the_same(build: Callable[..., Any], targets: Any) -> None:
    model = trained(build(metrics=["mae"]), targets)
    net = switched(model)
    assert_same_bits([net(X)], [model(X)])
    assert_same_bits([net(X, training=True)], [model(X, training=True)])
    assert net.name == model.name and net.metrics_names == model.metrics_names
    assert [tensor.name for tensor in net.inputs] == [tensor.name for tensor in model.inputs]
    assert getattr(net, "output_names", None) == getattr(model, "output_names", None)
    assert [layer.name for layer in net.layers] == [layer.name for layer in model.layers]
    for kind in ("trainable_weights", "trainable_variables"):
        paths = [[one.path.removeprefix("vectors/") for one in getattr(each, kind)] for each in (net, model)]
        assert paths[0] == paths[1]
        assert_same_bits(getattr(net, kind), getattr(model, kind))
    assert_same_bits(net.optimizer.variables, model.optimizer.variables)
    assert isinstance(net, type(model)) and type(net).__name__.endswith(type(model).__name__)


def test_the_model_itself_is_left_alone() -> None:
    model = trained(maps(metrics=["mae"]))
    before = copies([*model.variables, *model.optimizer.variables])
    config, loss = model.get_config(), model.loss
    net = switched(model)
    Switches(net).disable(Filter("conv1", 0))
    Switches(net).freeze(Filter("conv1", 1))
    trained(net)
    assert_same_bits([*model.variables, *model.optimizer.variables], before)
    assert model.get_config() == config and model.loss is loss
    assert type(model.optimizer) is keras.optimizers.SGD


def test_it_trains_on_as_the_model_would_have() -> None:
    averages = keras.backend.backend() != "jax"  # on JAX a second fit of Keras fails with averages
    model = trained(maps(keras.optimizers.AdamW(0.01, use_ema=averages), regularizer="l2", dropout=0.3))
    net = switched(model)
    for one in (model, net):
        one.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for old, new in zip(model.layers, net.layers, strict=True):
        first, second = old.variables, new.variables[: len(old.variables)]  # including the dropout's seeds
        if keras.backend.backend() == "jax":  # it compiles the two in different ways, which rounds differently
            assert all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(first, second, strict=True))
        else:
            assert_same_bits(first, second)


def two_outputs(**compiled: Any) -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    x = layers.Conv2D(3, 3, activation="relu", name="conv1")(image)
    pooled = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, {"a": layers.Dense(1, name="a")(pooled), "b": layers.Dense(2, name="b")(pooled)})
    model.compile(**compiled)
    return model


def test_compile_settings_are_the_users() -> None:
    rates = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    settings = {
        "loss": {"a": "mae", "b": keras.losses.Huber(0.3)},
        "loss_weights": {"a": 0.25, "b": 3.0},
        "metrics": {"a": ["mse"], "b": [keras.metrics.MeanAbsoluteError(name="far")]},
        "weighted_metrics": {"a": ["mse"]},
    }
    model = two_outputs(optimizer=keras.optimizers.SGD(rates, momentum=0.5), **settings, steps_per_execution=2)
    targets = {"a": VECTORS[:, :1], "b": VECTORS}
    weights = {"a": np.linspace(0, 1, 8), "b": np.ones(8)}
    net = switched(model)
    assert net.steps_per_execution == 2
    assert net.run_eagerly == model.run_eagerly and net.jit_compile == model.jit_compile
    assert net.optimizer is not model.optimizer and net.optimizer._learning_rate is rates
    for one in (model, net):
        one.fit(X, targets, sample_weight=weights, batch_size=4, epochs=2, shuffle=False, verbose=0)
    expected, received = (one.evaluate(X, targets, sample_weight=weights, verbose=0, return_dict=True)
                          for one in (model, net))  # fmt: skip
    assert received == expected and len(expected) >= 5
    assert {id(m) for m in net.metrics}.isdisjoint({id(m) for m in model.metrics})


@pytest.mark.parametrize("option", ["run_eagerly", "jit_compile"])
def test_how_it_is_compiled_stays(option: str) -> None:
    assert getattr(switched(maps(**{option: True})), option) is True


def test_a_loss_that_shall_not_be_scaled_is_not() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        net = switched(maps(auto_scale_loss=False))
    finally:
        keras.config.set_dtype_policy("float32")
    assert type(net.optimizer) is keras.optimizers.SGD
    net.train_on_batch(X, Y)


@pytest.mark.slow
def test_exclusions_from_weight_decay_stay() -> None:
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    model = maps(optimizer)
    net = switched(model)
    other = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    other.exclude_from_weight_decay(var_list=[net.get_layer("conv1").kernel, net.get_layer("conv2").kernel])
    net2 = switched(net)
    net.compile(other, "mse")
    nets = [net, net2, switched(net), model]
    for one in nets:
        one.train_on_batch(X, Y)
    for one in nets[:3]:
        assert_same_bits(one.trainable_variables, model.trainable_variables)


def test_trainable_flags_stay() -> None:
    model = maps()
    model.get_layer("norm").trainable = False
    net = switched(model)
    assert not net.get_layer("norm").trainable
    assert [one.path for one in net.trainable_variables] == [one.path for one in model.trainable_variables]
    model.trainable = False
    frozen = switched(model)
    assert not frozen.trainable and not frozen.trainable_variables


def test_data_types_stay() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = maps()
        net = switched(model)
    finally:
        keras.config.set_dtype_policy("float32")
    for old, new in zip(model.layers, net.layers, strict=True):
        assert old.dtype_policy.name == new.dtype_policy.name
    assert isinstance(net.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(net.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)
    assert_same_bits([net(X)], [model(X)])
    before = numpy(net(X))
    Switches(net).disable(Filter("conv1", 0))
    assert not same_bits([net(X)], [before])
    assert_same_bits([net(X)], [without(model, ("conv2", [0], 2))(X)])


def test_a_model_that_is_not_compiled_stays_so() -> None:
    net = switched(maps(compiled=False))
    assert not net.compiled
    Switches(net).disable(Filter("conv1", 0))


@pytest.mark.tensorflow("train_step has another signature on other backends")
def test_a_class_with_its_own_train_step_keeps_it() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        steps = 0

        def train_step(self, data: Any) -> Any:
            self.steps += 1
            return super().train_step(data)

    model = maps(kind=Own)
    net = switched(model)
    assert isinstance(net, Own) and type(net).__name__ == "Own"
    net.train_on_batch(X, Y)
    assert net.steps == 1


class OwnInit(keras.Model):  # type: ignore[misc]
    """A user's class that builds itself in its constructor."""

    def __init__(self, filters: int = 3) -> None:
        image = keras.Input((6, 6, 1))
        super().__init__(image, layers.Conv2D(2, 3, name="b")(layers.Conv2D(filters, 3, name="a")(image)))


class Subclassed(keras.Model):  # type: ignore[misc]
    """A user's class whose operations are not recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def quantized() -> Any:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
    for layer in model.layers:
        layer.quantize("int8")
    return model


def adapted() -> Any:
    model = maps()
    model.get_layer("conv2").enable_lora(1)
    return model


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Subclassed, r"Subclassed subclassed\w* is not built"),
        slow(quantized, "quantized"),
        (adapted, "LoRA"),
        (lambda: keras.Sequential([layers.Dense(3)]), "not built"),
    ],
)  # fmt: skip
def test_what_cannot_be_copied_is_refused_in_one_sentence(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        switched(build())
    assert "\n" not in str(caught.value)


def test_a_class_that_only_builds_itself_becomes_a_plain_model() -> None:
    model = OwnInit()
    net = switched(model)
    assert_same_bits([net(X)], [model(X)])
    assert Switches(net).filters == tuple(Filter("a", index) for index in range(3))


def test_a_plain_network_has_no_switches() -> None:
    with pytest.raises(ModelError, match="switched"):
        Switches(maps())


# ------------------------------------------------------------------------------------------------- disabled


@pytest.mark.parametrize("gone", [[0], [2], [0, 2]])
def test_disabled_is_a_reader_with_zeros_there(gone: list[int]) -> None:
    model = trained(maps())
    net = switched(model)
    Switches(net).disable(*(Filter("conv1", index) for index in gone))
    expected = without(model, ("conv2", gone, 2))
    assert not same_bits([model(X)], [expected(X)])
    assert_same_bits([net(X)], [expected(X)])
    assert_same_bits([net.predict(X, verbose=0)], [expected.predict(X, verbose=0)])


def test_a_switch_before_a_normalisation_leaves_no_constant_behind() -> None:
    """A zero before the BatchNormalization would become its offset; nothing of it may be left."""
    model = maps()
    model.get_layer("norm").beta.assign([1.0, 2.0, 3.0])
    net = switched(model)
    Switches(net).disable(*(Filter("conv1", index) for index in range(3)))
    bias = numpy(model.get_layer("conv2").bias)
    np.testing.assert_array_equal(numpy(net(X)), np.broadcast_to(bias, (8, 6, 6, 2)))


def test_after_a_flatten_every_place_of_the_channel_is_gone() -> None:
    model = trained(vectors(), VECTORS)
    net = switched(model)
    Switches(net).disable(Filter("conv1", 1), Filter("dense", 3))
    flat = [place * 3 + 1 for place in range(4)]  # 2x2 places of 3 channels
    expected = without(model, ("dense", flat, 0), ("out", [3], 0))
    assert_same_bits([net(X)], [expected(X)])


def test_a_dense_network_against_numpy() -> None:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="relu", name="a", bias_initializer="ones"),
                              layers.Dense(3, activation="tanh", name="b"), layers.Dense(2, name="c")])  # fmt: skip
    net = switched(model)
    switches = Switches(net)
    assert switches.filters == tuple(Filter(name, i) for name, count in (("a", 4), ("b", 3)) for i in range(count))
    switches.disable(Filter("a", 2), Filter("b", 0))
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    (ka, ba, kb, bb, kc, bc) = (numpy(weight).astype("float64") for weight in model.weights)
    hidden = np.maximum(x @ ka + ba, 0)
    hidden[:, 2] = 0
    hidden = np.tanh(hidden @ kb + bb)
    hidden[:, 0] = 0
    np.testing.assert_allclose(numpy(net(x)), hidden @ kc + bc, rtol=1e-5, atol=1e-6)


def test_enabling_gives_the_old_function_back() -> None:
    net = switched(trained(maps()))
    switches, before = Switches(net), numpy(net(X))
    switches.disable(*switches.filters)
    assert switches.disabled == switches.filters and switches.enabled == ()
    switches.enable(Filter("conv1", 1))
    assert switches.enabled == (Filter("conv1", 1),)
    switches.enable(*switches.filters)
    assert switches.disabled == ()
    assert_same_bits([net(X)], [before])


def test_a_filter_disabled_for_long_still_works_when_it_is_enabled() -> None:
    """Only readers are gated: the normalisation after the filter still sees it."""
    net = switched(trained(maps()))
    switches = Switches(net)
    switches.disable(Filter("conv1", 0))
    net.fit(X, Y, batch_size=4, epochs=25, verbose=0)
    seen = numpy(net.get_layer("norm").moving_variance)
    assert seen.min() > 0.01 * seen.max()


FILTERS = [Filter("conv1", index) for index in range(3)] + [Filter("dense", index) for index in range(4)]
ACTIONS = st.lists(st.tuples(st.sampled_from(["disable", "enable", "freeze", "thaw"]),
                             st.lists(st.sampled_from(FILTERS), max_size=4)), max_size=6)  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    model = trained(vectors(), VECTORS)
    return model, switched(model)


@given(ACTIONS)
@settings(max_examples=40)
def test_any_sequence_of_switching(pair: tuple[Any, Any], actions: Any) -> None:
    model, net = pair
    switches = Switches(net)
    switches.enable(*FILTERS)
    switches.thaw(*FILTERS)
    state: dict[str, set[Filter]] = {"disabled": set(), "frozen": set()}
    change = {"disable": ("disabled", set.update), "enable": ("disabled", set.difference_update),
              "freeze": ("frozen", set.update), "thaw": ("frozen", set.difference_update)}  # fmt: skip
    for action, filters in actions:
        getattr(switches, action)(*filters)
        name, act = change[action]
        act(state[name], filters)
    again = Switches(net)  # the state is in the network, not in the object that set it
    assert set(again.disabled) == state["disabled"] and set(again.frozen) == state["frozen"]
    assert list(again.disabled) == sorted(again.disabled, key=FILTERS.index)
    convs = [filter.index for filter in state["disabled"] if filter.layer == "conv1"]
    flat = [place * 3 + index for place in range(4) for index in convs]
    units = [filter.index for filter in state["disabled"] if filter.layer == "dense"]
    assert_same_bits([net(X)], [without(model, ("dense", flat, 0), ("out", units, 0))(X)])


# ------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("regularizer", [None, "l2"])
def test_no_gradient_passes_a_disabled_channel(regularizer: Any) -> None:
    """Under plain SGD exactly those weights move that have a gradient."""
    net = switched(maps(keras.optimizers.SGD(0.1), regularizer=regularizer))
    Switches(net).disable(Filter("conv1", 1))
    reader = net.get_layer("conv2").kernel
    own, read = own_weights(net, "conv1", 1, "norm"), numpy(reader)[:, :, 1]
    other, other_read = own_weights(net, "conv1", 0, "norm"), numpy(reader)[:, :, 0]
    net.train_on_batch(X, Y)
    assert_same_bits([numpy(reader)[:, :, 1]], [read])
    assert not same_bits([numpy(reader)[:, :, 0]], [other_read])
    if regularizer is None:  # a regularizer acts on the filter's own weights, not through the channel
        assert_same_bits(own_weights(net, "conv1", 1, "norm").values(), own.values())
    assert not same_bits([own_weights(net, "conv1", 0, "norm")["conv1/kernel"]], [other["conv1/kernel"]])


@pytest.mark.parametrize("limit", [{"global_clipnorm": 0.05}, {"clipnorm": 0.05}, {"weight_decay": 0.1}, {}],
                         ids=["global", "each", "decay", "plain"])  # fmt: skip
@pytest.mark.parametrize("regularizer", [None, "l2"], ids=["", "l2"])
def test_training_without_a_filter_is_training_the_slim_network(limit: dict[str, float], regularizer: Any) -> None:
    net = switched(maps(keras.optimizers.SGD(0.2, momentum=0.9, **limit), regularizer=regularizer))
    switches = Switches(net)
    huge = numpy(net.get_layer("conv2").kernel)
    huge[:, :, 1] *= 50  # if the disabled slice entered a norm, the clipped gradients of all others would be smaller
    net.get_layer("conv2").kernel.assign(huge)
    switches.disable(Filter("conv1", 1))
    switches.freeze(Filter("conv1", 1))
    small = slim(net, X)
    for one in (net, small):
        for _ in range(4):
            one.train_on_batch(X, Y)
    np.testing.assert_allclose(numpy(net(X)), numpy(small(X)), atol=2e-5)
    kept = numpy(net.get_layer("conv2").kernel)[:, :, [0, 2]]
    np.testing.assert_allclose(kept, numpy(small.get_layer("conv2").kernel), atol=2e-6)


def test_the_regularization_loss_counts_no_slice_that_nobody_reads() -> None:
    net = switched(maps(regularizer=keras.regularizers.L2(1.0)))
    plain = maps(regularizer=keras.regularizers.L2(1.0))
    loss = float(numpy(sum(net.losses)))
    assert loss == pytest.approx(float(numpy(sum(plain.losses))), rel=1e-6)
    Switches(net).disable(Filter("conv1", 1))
    small = slim(net)
    assert float(numpy(sum(small.losses))) < loss - 0.1
    assert float(numpy(sum(net.losses))) == pytest.approx(float(numpy(sum(small.losses))), rel=1e-5)


# ------------------------------------------------------------------------------------------------- cut out


@pytest.mark.parametrize(
    "gone", [["conv1[0]"], ["conv1[2]", "dense[0]"], ["conv1[0]", "conv1[1]", "dense[3]", "dense[1]"]]
)
def test_what_is_cut_out_computes_what_the_switches_did(gone: list[str]) -> None:
    net = switched(trained(vectors(), VECTORS))
    Switches(net).disable(*map(Filter.parse, gone))
    small = slim(net, X)
    np.testing.assert_allclose(numpy(small(X)), numpy(net(X)), atol=1e-5 * np.abs(numpy(net(X))).max())
    for layer, count in (("conv1", 3), ("dense", 4)):
        left = count - sum(name.startswith(layer) for name in gone)
        assert small.get_layer(layer).kernel.shape[-1] == left == small.get_layer(layer).bias.shape[0]
    kept = [index for index in range(3) if f"conv1[{index}]" not in gone]
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        whole, part = (getattr(one.get_layer("norm"), name) for one in (net, small))
        assert_same_bits([part], [numpy(whole)[kept]])


def test_a_wrong_cut_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every slim network is compared with the switched one before it is returned."""
    net = switched(maps())
    Switches(net).disable(Filter("conv1", 0))
    slim(net, X)
    apply = slimmer.apply

    def wrong(*arguments: Any) -> Any:
        small, fates = apply(*arguments)
        kernel = small.get_layer("conv2").kernel
        kernel.assign(kernel * 1.001)
        return small, fates

    monkeypatch.setattr(slimmer, "apply", wrong)
    with pytest.raises(NotEquivalentError, match="differs by"):
        slim(net, X)
    with pytest.raises(NotEquivalentError, match="differs by"):
        slim(net)


# ------------------------------------------------------------------------------------------------- free


class Traced(layers.Layer):  # type: ignore[misc]
    """Passes its input through and counts how often it is called: once per trace."""

    calls = 0

    def call(self, inputs: Any) -> Any:
        Traced.calls += 1
        return inputs


@rule(Traced)
def traced(call: Any) -> Any:
    return [call.labels[0]]


def test_toggling_traces_nothing() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    x = Traced()(layers.Conv2D(3, 3, padding="same", name="conv1")(image))
    net = switched(Counting(image, layers.Conv2D(2, 3, padding="same", name="conv2")(x)))
    net.compile("adam", "mse", metrics=["mae"])
    switches = Switches(net)

    def use() -> None:
        net.train_on_batch(X, Y)
        net.fit(X, Y, batch_size=8, verbose=0)
        net.test_on_batch(X, Y)
        net.predict_on_batch(X)

    use()
    switches.freeze(Filter("conv1", 0))  # the first freeze costs one trace of the training step
    use()
    calls, traces = Traced.calls, net.traces
    assert calls and traces
    outputs = []
    for index in (0, 1, 2):
        switches.disable(Filter("conv1", index))
        switches.freeze(Filter("conv1", index))
        switches.reinitialize(Filter("conv1", index), seed=index)
        use()
        outputs.append(net.predict_on_batch(X))
        switches.enable(Filter("conv1", index))
        switches.thaw(Filter("conv1", index))
        use()
    assert (Traced.calls, net.traces) == (calls, traces)
    assert not same_bits(outputs[:2], outputs[1:])  # and yet the compiled functions saw every change


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("act", ["disable", "enable", "freeze", "thaw", "zero", "reinitialize", "group"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Filter("conv9", 0), "no layer 'conv9'.*conv1, conv2"),
        (Filter("conv1", 3), r"no filter conv1\[3\].*3 filters"),
        (Filter("conv1", -1), r"no filter conv1\[-1\]"),
        (Filter("norm", 0), "no layer 'norm'"),
        ("conv1[0]", "Expected a filter"),
    ],
)
def test_filters_that_do_not_exist(act: str, wrong: Any, words: str) -> None:
    net = NETS.setdefault("maps", switched(maps()))
    before = copies(net.variables)
    arguments = [wrong] if act == "group" else [Filter("conv1", 0), wrong]
    with pytest.raises(FilterError, match=words):
        getattr(Switches(net), act)(*arguments)
    assert_same_bits(net.variables, before)  # nothing was changed partially


NETS: dict[str, Any] = {}


def test_filters_that_reach_the_output_are_refused_with_the_reason() -> None:
    net = switched(maps())
    switches = Switches(net)
    assert switches.unswitchable == {"conv2": "it reaches the model's output"}
    with pytest.raises(FilterError, match=r"conv2\[0\] cannot be cut: it reaches the model's output"):
        switches.disable(Filter("conv1", 0), Filter("conv2", 0))
    assert switches.disabled == ()
    switches.freeze(Filter("conv2", 0))  # but it can be frozen
    assert Filter("conv2", 0) in switches.frozen


def test_the_thesis_network_has_five_and_five() -> None:
    net = switched(keras.Sequential([keras.Input((None, None, 1)), *(
        layers.Conv2D(filters, 5, padding="same", activation="relu", name=f"conv{index}")
        for index, filters in ((1, 5), (2, 5), (3, 1)))]))  # fmt: skip
    switches = Switches(net)
    assert switches.filters == tuple(Filter(f"conv{layer}", index) for layer in (1, 2) for index in range(5))
    assert list(switches.unswitchable) == ["conv3"]
    assert all(len(group.filters) == 1 for group in switches.groups)


def mixing(x: Any) -> Any:
    """A custom activation function that Keras cannot serialize."""
    return x * keras.ops.mean(x, axis=-1, keepdims=True)


def test_custom_functions_are_passed_on() -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)),
                              layers.Conv2D(3, 3, name="a", kernel_regularizer=lambda kernel: keras.ops.sum(kernel)),
                              layers.Lambda(lambda x: mixing(x), name="b"), layers.Activation(mixing, name="c"),
                              layers.Conv2D(2, 1, activation=mixing, name="d")])  # fmt: skip
    net = switched(model)
    assert_same_bits([net(X)], [model(X)])
    assert_same_bits(net.losses, model.losses)
    assert model.get_layer("d").activation is mixing is net.get_layer("d").activation
    assert "no rule" in Switches(net).unswitchable["a"]


@pytest.mark.parametrize(
    ("activation", "reason"),
    [
        (lambda x: mixing(x), "activation <lambda> of conv1 has no rule"),
        (mixing, "activation mixing of conv1 has no rule"),
        ("softmax", "mixes its channels"),
        ("log_softmax", "mixes its channels"),
    ],
)
def test_an_activation_that_may_mix_channels_cannot_be_cut(activation: Any, reason: str) -> None:
    image = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation=activation, name="conv1")(image)
    net = switched(keras.Model(image, layers.Conv2D(2, 3, name="conv2")(x)))
    assert reason in Switches(net).unswitchable["conv1"]
    with pytest.raises(FilterError, match=reason):
        Switches(net).disable(Filter("conv1", 0))


# ------------------------------------------------------------------------------------------------- structure


def test_groups_go_together_whichever_member_is_named() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 1))
    a = layers.Conv2D(3, 3, padding="same", name="a")(image)
    b = layers.Conv2D(3, 3, padding="same", name="b")(a)
    model = keras.Model(image, layers.Conv2D(2, 1, name="c")(layers.Add()([a, b])))
    net = switched(model)
    switches = Switches(net)
    assert [str(group) for group in switches.groups] == [f"a[{i}] + b[{i}]" for i in range(3)]
    assert switches.filters == tuple(Filter("a", index) for index in range(3))
    switches.disable(Filter("b", 2))
    assert switches.disabled == (Filter("a", 2),)
    assert switches.group(Filter("b", 2)).name == Filter("a", 2)
    assert_same_bits([net(X)], [without(model, ("b", [2], 2), ("c", [2], 2))(X)])
    switches.enable(Filter("a", 2))
    assert_same_bits([net(X)], [model(X)])
    net.compile(keras.optimizers.AdamW(0.1), "mse")
    switches.freeze(Filter("b", 1))
    before = [*own_weights(net, "a", 1).values(), *own_weights(net, "b", 1).values()]
    net.fit(X, Y, verbose=0)
    assert_same_bits([*own_weights(net, "a", 1).values(), *own_weights(net, "b", 1).values()], before)


def test_nested_models_are_named_by_their_path() -> None:
    keras.utils.set_random_seed(0)
    inner_input = keras.Input((6, 6, 3))
    deep = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(3, 1, name="conv")], name="deep")
    inner = keras.Model(inner_input, layers.ReLU()(deep(layers.Conv2D(3, 1, name="conv2")(inner_input))), name="body")
    image = keras.Input((6, 6, 1))
    model = keras.Model(
        image, layers.Conv2D(2, 1, name="out")(inner(layers.Conv2D(3, 3, padding="same", name="stem")(image)))
    )
    model.compile("adam", "mse")
    net = switched(model)
    assert_same_bits([net(X)], [model(X)])
    switches = Switches(net)
    assert [f.layer for f in switches.filters] == ["stem"] * 3 + ["body/conv2"] * 3 + ["body/deep/conv"] * 3
    assert list(switches.unswitchable) == ["out"]
    switches.disable(Filter("body/conv2", 1))
    switches.freeze(Filter("body/deep/conv", 2))
    kernel = net.get_layer("body").get_layer("deep").get_layer("conv").kernel
    before = numpy(kernel)
    net.train_on_batch(X, Y)
    assert_same_bits([numpy(kernel)[:, :, 1, 0], numpy(kernel)[..., 2]], [before[:, :, 1, 0], before[..., 2]])
    assert not same_bits([numpy(kernel)[:, :, 0, 0]], [before[:, :, 0, 0]])


def test_a_layer_and_a_model_that_are_called_twice() -> None:
    keras.utils.set_random_seed(0)
    shared = layers.Conv2D(3, 3, padding="same", name="shared", bias_initializer="ones")
    body = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(3, 1, name="inner")], name="body")
    first, second = keras.Input((6, 6, 1)), keras.Input((6, 6, 1))
    a, b = (layers.ReLU()(body(shared(image))) for image in (first, second))
    c, d = layers.Conv2D(2, 1, name="c")(a), layers.Conv2D(2, 1, name="d")(b)
    model = keras.Model([first, second], [c, d])
    net = switched(model)
    both = [X, X[::-1].copy()]
    assert_same_bits(net(both), model(both))
    assert net.get_layer("shared") is not shared and len(net.get_layer("shared")._inbound_nodes) == 2
    switches = Switches(net)
    assert [f.layer for f in switches.filters] == ["shared"] * 3 + ["body/inner"] * 3
    switches.disable(Filter("shared", 0), Filter("body/inner", 1))
    for name in ("c", "d"):
        kernel = numpy(model.get_layer(name).kernel)
        kernel[:, :, 1] = 0
        model.get_layer(name).kernel.assign(kernel)
    kernel = numpy(body.get_layer("inner").kernel)
    kernel[:, :, 0] = 0
    body.get_layer("inner").kernel.assign(kernel)
    assert_same_bits(net(both), model(both))


# ------------------------------------------------------------------------------------------------- values


def test_zero_sets_kernel_and_bias_and_nothing_else() -> None:
    net = switched(vectors())
    before = copies(net.variables)
    switches = Switches(net)
    switches.zero(Filter("conv1", 1), Filter("dense", 0))
    for layer, index in (("conv1", 1), ("dense", 0)):
        assert not any(part.any() for part in own_weights(net, layer, index).values())
        for part in (net.get_layer(layer).kernel, net.get_layer(layer).bias):
            values = numpy(part)
            values[..., index] = before[[v.path for v in net.variables].index(part.path)][..., index]
            part.assign(values)
    assert_same_bits(net.variables, before)
    assert switches.disabled == () and switches.frozen == ()


def test_reinitialize_draws_from_the_layers_own_initializer() -> None:
    keras.utils.set_random_seed(0)
    start = keras.initializers.TruncatedNormal(stddev=0.05)
    image = keras.Input((6, 6, 1))
    conv = layers.Conv2D(300, 5, kernel_initializer=start, bias_initializer=keras.initializers.Constant(7), name="conv")
    net = switched(keras.Model(image, layers.Conv2D(1, 1)(conv(image))))
    kernel, bias = net.get_layer("conv").kernel, net.get_layer("conv").bias
    kernel.assign(np.full(kernel.shape, 9.0))
    bias.assign(np.full(bias.shape, 9.0))
    switches = Switches(net)
    switches.reinitialize(*switches.filters[:200], seed=4)
    drawn = numpy(kernel)[..., :200]
    assert (numpy(kernel)[..., 200:] == 9).all() and (numpy(bias)[200:] == 9).all()
    assert (numpy(bias)[:200] == 7).all()
    assert (
        abs(drawn.std() - 0.05 * 0.88) < 0.002 and np.abs(drawn).max() <= 0.1001
    )  # truncated at two standard deviations
    first = drawn[..., 3].copy()
    switches.reinitialize(Filter("conv", 3), seed=5)
    assert not same_bits([numpy(kernel)[..., 3]], [first])
    switches.reinitialize(Filter("conv", 3), seed=4)
    assert_same_bits([numpy(kernel)[..., 3]], [first])
    assert_same_bits([numpy(kernel)[..., [2, 4]]], [drawn[..., [2, 4]]])


def test_reinitialize_without_a_seed_differs_each_time_and_layers_differ_under_one_seed() -> None:
    image = keras.Input((6, 6, 3))
    same = {"filters": 3, "kernel_size": 1, "kernel_initializer": keras.initializers.RandomNormal(seed=1)}
    x = layers.Conv2D(name="b", **same)(layers.Conv2D(name="a", **same)(image))
    net = switched(keras.Model(image, layers.Conv2D(1, 1)(x)))
    a, b = net.get_layer("a").kernel, net.get_layer("b").kernel
    switches = Switches(net)
    switches.reinitialize(Filter("a", 0))
    first = numpy(a)
    switches.reinitialize(Filter("a", 0))
    assert not same_bits([numpy(a)[..., 0]], [first[..., 0]])
    switches.reinitialize(*switches.filters, seed=3)
    assert not same_bits([a], [b])


# ------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(("build", "targets"), [(maps, Y), slow(vectors, VECTORS)], ids=["functional", "sequential"])
def test_a_saved_network_continues_bit_for_bit(build: Callable[..., Any], targets: Any, tmp_path: Path) -> None:
    net = switched(build(keras.optimizers.AdamW(0.01, use_ema=True), metrics=["mae"]))
    Switches(net).disable(Filter("conv1", 0))
    Switches(net).freeze(Filter("conv1", 2))
    trained(net, targets)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert type(loaded) is type(net)
    switches = Switches(loaded)
    assert switches.disabled == (Filter("conv1", 0),) and switches.frozen == (Filter("conv1", 2),)
    assert_same_bits([loaded(X)], [net(X)])
    for one in (net, loaded):
        one.fit(X, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert_same_bits(loaded.variables, net.variables)
    switches.enable(Filter("conv1", 0))
    Switches(net).enable(Filter("conv1", 0))
    assert_same_bits([loaded(X)], [net(X)])


def test_a_saved_custom_class_comes_back_as_it_was(tmp_path: Path) -> None:
    net = switched(maps(kind=Counting))
    Switches(net).disable(Filter("conv1", 1))
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert isinstance(loaded, Counting)
    assert Switches(loaded).disabled == (Filter("conv1", 1),)
    assert_same_bits([loaded(X)], [net(X)])
    loaded.train_on_batch(X, Y)
    assert loaded.traces


def test_weights_loaded_into_another_switched_copy_bring_their_switches(tmp_path: Path) -> None:
    net, other = switched(maps()), switched(maps(seed=5))
    Switches(net).disable(Filter("conv1", 1))
    net.save_weights(tmp_path / "net.weights.h5")
    Switches(other).disable(Filter("conv1", 0))
    other.load_weights(tmp_path / "net.weights.h5")
    assert Switches(other).disabled == (Filter("conv1", 1),)
    assert_same_bits([other(X)], [net(X)])


def test_switching_twice_keeps_the_switches() -> None:
    net = switched(maps())
    Switches(net).disable(Filter("conv1", 1))
    twice = switched(net)
    assert Switches(twice).disabled == (Filter("conv1", 1),)
    assert type(twice) is type(net)
    assert_same_bits([twice(X)], [net(X)])
    Switches(twice).enable(Filter("conv1", 1))
    assert Switches(net).disabled == (Filter("conv1", 1),)  # a copy, not a view
    assert re.search("conv1", str(slim(net, X).get_config()))
