"""Whole layers as candidates, layers that lose all filters, other optimizers for the trials, frozen backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from marking import slow

from shrinknet import Checkpoint, Filter, Switches, minimize, slim, switched
from shrinknet.errors import FilterError, OptimizerError, OptionError

pytestmark = pytest.mark.usefixtures("no_latency")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 6, 6, 2)).astype("float32")
Y = np.stack([X.mean((1, 2, 3)), X.max((1, 2, 3))], 1)


def network(activation: str = "relu", trained: bool = True) -> Any:
    """stem (4) - body (4) - norm - residual branch of inner (3) and outer (4) - squash (2) - out."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(
        layers.Conv2D(4, 3, padding="same", activation=activation, name="body")(x)
    )
    y = layers.Conv2D(3, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Add()([x, layers.Conv2D(4, 1, name="outer")(y)])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, name="squash")(x))
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    if trained:
        model.fit(X, Y, batch_size=8, verbose=0)
    return model


def run(model: Any, **options: Any) -> Any:
    defaults = {
        "preset": "thesis",
        "score": "loss",
        "threshold": 0.01,
        "warmup_steps": 3,
        "steps": 2,
        "batch_size": 8,
        "seed": 1,
    }
    return minimize(model, (X, Y), (X, Y), **{**defaults, "strategy": "sequential", "verbose": 0, **options})


@pytest.mark.parametrize("activation", [slow("linear"), "relu", slow("tanh")])
def test_a_bypassed_layer_passes_its_input_on_and_is_removed(activation: str) -> None:
    model = network(activation)
    net = switched(model)
    switches = Switches(net)
    assert switches.bypassable == ("body",)
    switches.bypass("body")
    without = keras.Model(model.inputs, model.outputs)
    inputs = keras.Input((6, 6, 2))
    x = layers.Activation(activation)(without.get_layer("stem")(inputs))
    x = without.get_layer("norm")(x)
    x = x + without.get_layer("outer")(without.get_layer("inner")(x))
    x = without.get_layer("out")(layers.GlobalAveragePooling2D()(without.get_layer("squash")(x)))
    np.testing.assert_allclose(net(X), keras.Model(inputs, x)(X), rtol=1e-5, atol=1e-5)
    small = slim(net)
    kinds = {layer.name: type(layer).__name__ for layer in small.layers}
    assert kinds.get("body") == (None if activation == "linear" else "Activation")
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)
    assert switches.bypassed == ("body",) and switches.bypassable == ()


@pytest.mark.slow
def test_a_bypassed_layer_stays_so_while_others_train_and_comes_back_with_the_checkpoint() -> None:
    net = switched(network())
    before = Checkpoint.of(net)
    weights = [np.array(value) for value in net.get_weights()]
    Switches(net).bypass("body")
    kernel = np.array(net.get_layer("body").kernel)
    net.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    assert np.array_equal(kernel, net.get_layer("body").kernel)
    assert not np.array_equal(weights[0], net.get_weights()[0])
    before.restore()
    assert Switches(net).bypassed == ()
    assert all(np.array_equal(old, new) for old, new in zip(weights, net.get_weights(), strict=True))
    net.fit(X, Y, batch_size=8, verbose=0)
    assert not np.array_equal(weights[2], net.get_layer("body").kernel)


@pytest.mark.slow
def test_disabled_filters_are_bypassed_along() -> None:
    net = switched(network())
    switches = Switches(net)
    switches.disable(Filter("stem", 1))
    assert switches.bypassable == ()  # three channels come in, four go out
    switches.disable(Filter("body", 2))
    switches.bypass("body")
    small = slim(net)
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)
    assert type(small.get_layer("body")).__name__ == "Activation"
    switches.disable(Filter("stem", 0))  # now the widths differ: the layer stays, and is cut like any other
    small = slim(net)
    assert small.get_layer("body").kernel.shape == (3, 3, 2, 3)
    np.testing.assert_allclose(small(X), net(X), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_what_cannot_be_bypassed() -> None:
    switches = Switches(switched(network()))
    with pytest.raises(FilterError, match=r"stem cannot be bypassed.*body"):
        switches.bypass("body", "stem")
    assert switches.bypassed == ()


@pytest.mark.slow
def test_layers_as_candidates(tmp_path: Path) -> None:
    model = network()
    result = run(model, candidates="layers", run_dir=tmp_path / "run")
    assert [trial.filters for trial in result.records] == [(Filter("body", 0),)]
    assert result.records[0].accepted and "body" not in [layer.name for layer in result.model.layers if layer.weights]
    assert result.summary.after.parameters == result.model.count_params() == result.records[0].parameters
    assert result.summary.before.filters - result.summary.after.filters == 4
    again = run(model, candidates="layers", run_dir=tmp_path / "run")
    assert all(np.array_equal(a, b) for a, b in zip(result.model.weights, again.model.weights, strict=True))
    needed = {"score": lambda net: float(not Switches(net).bypassed), "mode": "max"}
    rejected = run(model, candidates="layers", steps=0, strategy="ablation", **needed)
    assert [trial.accepted for trial in rejected.records] == [False]
    assert rejected.model.count_params() == model.count_params()


@pytest.mark.slow
def test_a_layer_can_lose_its_last_filter() -> None:
    class Inner:
        def ask(self, network: Any, count: int) -> list[Filter]:
            return [filter for filter in network.candidates() if filter.layer == "inner"][:count]

        def tell(self, trial: Any) -> None: ...

    result = run(network(), min_filters=0, strategy=Inner(), pace=3)
    layer_names = {layer.name for layer in result.model.layers}
    assert not {"inner", "outer"} & layer_names
    assert result.summary.after.parameters == result.model.count_params()


@pytest.mark.parametrize(
    ("spec", "kind", "rate"),
    [
        slow("sgd", keras.optimizers.SGD, 0.01),
        slow(keras.optimizers.RMSprop(0.125), keras.optimizers.RMSprop, 0.125),
        slow(0.25, keras.optimizers.Adam, 0.25),
        slow(keras.optimizers.schedules.CosineDecay(0.5, 4), keras.optimizers.Adam, None),
    ],
)
def test_trials_train_with_another_optimizer(spec: Any, kind: type, rate: float | None, tmp_path: Path) -> None:
    model = network()
    options: dict[str, Any] = {"trial_optimizer": spec, "threshold": 1e-9, "run_dir": tmp_path / "run"}
    result = run(model, max_trials=1, **options)
    assert type(model.optimizer) is keras.optimizers.Adam and isinstance(result.model.optimizer, kind)
    if rate is None:
        assert result.model.optimizer._learning_rate is spec
    else:
        assert float(result.model.optimizer.learning_rate) == pytest.approx(rate)
    assert int(result.model.optimizer.iterations) == 2


@pytest.mark.slow
def test_a_run_with_another_optimizer_resumes(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Callback:
        def on_trial_begin(self, number: int) -> None:
            if number == 2:
                raise Stop

    options: dict[str, Any] = {"trial_optimizer": keras.optimizers.SGD(0.01, momentum=0.9), "max_trials": 3}
    whole = run(network(), **options)
    with pytest.raises(Stop):
        run(network(), **options, run_dir=tmp_path, callbacks=[Callback()])
    later = run(network(), **options, run_dir=tmp_path)
    assert [trial.to_dict() | {"seconds": 0} for trial in later.records] == [
        trial.to_dict() | {"seconds": 0} for trial in whole.records
    ]
    assert all(np.array_equal(a, b) for a, b in zip(whole.model.weights, later.model.weights, strict=True))


@pytest.mark.slow
def test_without_a_reset_the_steps_count_on() -> None:
    result = run(network(trained=False), reset=False, max_trials=2, threshold=1e-9)
    assert int(result.model.optimizer.iterations) == 3 + 2 * 2


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match=r"'filters' or 'layers'.*'columns'"):
        run(network(trained=False), candidates="columns")
    with pytest.raises(OptimizerError, match=r"trial_optimizer.*'fastest'"):
        run(network(trained=False), trial_optimizer="fastest")


@pytest.mark.parametrize("frozen", [slow(["stem", "body", "norm"]), slow(["inner", "outer"])])
def test_a_network_with_a_frozen_body_is_cut(frozen: list[str]) -> None:
    model = network()
    for name in frozen:
        model.get_layer(name).trainable = False
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    result = run(model, max_trials=4, strategy="random")
    assert any(trial.accepted for trial in result.records)
    for name in frozen:
        assert not result.model.get_layer(name).trainable
        gone = {filter.index for filter in Switches(result.switched).disabled if filter.layer == name}
        if name == "stem":
            kept = [index for index in range(4) if index not in gone]
            assert np.array_equal(
                result.model.get_layer(name).kernel, np.array(model.get_layer(name).kernel)[..., kept]
            )
