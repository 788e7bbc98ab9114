"""What users of such tools stumbled over: data, metrics and models of unusual kinds, and what is said about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from marking import slow
from tiny_runs import DATA, X, Y, classifier, run

from shrinknet import Filter, Switches, minimize, slim, switched
from shrinknet.errors import (
    DataError,
    FilterError,
    ModelError,
    OptimizerError,
    OptionError,
    ScoreError,
    ShrinknetError,
)
from shrinknet.graph import rule
from shrinknet.graph.rules.readers import convolution

pytestmark = pytest.mark.usefixtures("no_latency")
FEW = {"warmup_steps": 4, "steps": 2, "max_trials": 1, "final_steps": 0, "seed": 1, "verbose": 0}
LABELS = np.arange(len(X)) % 3


def three_classes(metrics: Any, loss: str = "categorical_crossentropy", kind: Any = keras.Model) -> Any:
    image = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    model = kind(image, layers.Dense(3, activation="softmax", name="out")(x))
    model.compile("adam", loss, metrics=metrics)
    return model


# ------------------------------------------------------------------------------------------------- scores


@keras.saving.register_keras_serializable("kinds")
class Extremes(keras.metrics.Metric):  # type: ignore[misc]
    """Gives a dictionary."""

    def update_state(self, target: Any, output: Any, sample_weight: Any = None) -> None: ...

    def result(self) -> Any:
        return {"low": ops.zeros(()), "high": ops.ones(())}


@pytest.mark.parametrize("metric", [slow(keras.metrics.F1Score), Extremes])
def test_a_metric_with_several_numbers_is_no_score_and_does_no_harm(metric: Any) -> None:
    labels = keras.utils.to_categorical(LABELS)
    model = three_classes(["accuracy", metric(name="several")])
    assert minimize(model, (X, labels), (X, labels), score="accuracy", **FEW).records
    with pytest.raises(ScoreError, match=r"several"):
        minimize(model, (X, labels), (X, labels), score="several", mode="max", **FEW)


class OwnTest(keras.Model):  # type: ignore[misc]
    def test_step(self, data: Any) -> Any:
        return super().test_step(data)


@pytest.mark.parametrize("kind", [keras.Model, slow(OwnTest)])
def test_the_numbers_of_a_metric_with_names_are_scores(kind: Any) -> None:
    """As in the results of Keras's `evaluate`."""
    model = three_classes([Extremes(name="several")], "sparse_categorical_crossentropy", kind)
    result = minimize(model, (X, LABELS), (X, LABELS), score="high", mode="max", **FEW)
    assert result.baseline == 1.0
    with pytest.raises(ScoreError, match=r"no score named 'several'; this model has (?=.*low)(?=.*high)"):
        minimize(model, (X, LABELS), (X, LABELS), score="several", mode="max", **FEW)


class Agreeing(keras.Model):  # type: ignore[misc]
    """Has results of its own, which are no metrics."""

    def test_step(self, data: Any) -> Any:
        inputs, targets = data
        same = ops.equal(ops.argmax(self(inputs, training=False), -1), ops.cast(targets, "int32"))
        return {"agreement": ops.mean(ops.cast(same, "float32"))}


@pytest.mark.tensorflow("test_step has another signature on other backends")
def test_a_result_of_the_model_s_own_test_step_is_a_score() -> None:
    model = three_classes([], "sparse_categorical_crossentropy", Agreeing)
    result = minimize(model, (X, LABELS), (X, LABELS), score="agreement", mode="max", threshold=0.01, **FEW)
    predicted = np.argmax(result.uncut.predict(X, verbose=0), -1)
    assert result.baseline == pytest.approx(np.mean(predicted == LABELS))


# ------------------------------------------------------------------------------------------------- data


DATA_MESSAGES: dict[str, tuple[Any, str]] = {
    "unbatched": (lambda tf: tf.data.Dataset.from_tensor_slices(DATA), r"single samples.*dataset\.batch"),
    "endless": (lambda tf: tf.data.Dataset.from_tensor_slices(DATA).batch(8).repeat(), r"never end.*validation_steps="),
    "list of numbers": (lambda tf: (X, [0.0] * len(X)), r"list of 48 numbers.*numpy\.array\(y\)"),
    "another size": (lambda tf: (X[:, :4], Y), r"samples of shape \(8, 8, 1\).*received \(4, 8, 1\)"),
    "text": (lambda tf: (X.astype("U3"), Y), r"numbers.*received"),
    "other names": (lambda tf: ({"picture": X}, Y), r"Expected inputs named .*received picture"),
    "a list of batches": (
        lambda tf: [(X[:8], Y[:8])] * 3,
        r": 1; inputs in the validation data: 2\. .*not from a list",
    ),
    "labels as objects": (lambda tf: (X, Y.astype(object)), r"numbers as targets.*received object.*astype"),
    "labels as text": (lambda tf: (X, np.where(Y > 0, "cat", "dog")), r"numbers as targets.*numpy\.unique"),
}


@pytest.mark.tensorflow("tf.data")
@pytest.mark.parametrize("name", DATA_MESSAGES)
def test_data_are_refused_in_one_sentence(name: str) -> None:
    import tensorflow as tf

    make, words = DATA_MESSAGES[name]
    with pytest.raises(DataError, match=words):
        minimize(classifier(), DATA, make(tf), **FEW)


def test_one_array_of_targets_for_two_outputs_is_refused() -> None:
    image = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, [layers.Dense(1, name="a")(x), layers.Dense(1, name="b")(x)])
    model.compile("adam", ["mse", "mae"])
    with pytest.raises(DataError, match=r"2 outputs, but the training data have targets for one.*list or a dictionary"):
        minimize(model, DATA, DATA, **FEW)


def test_a_model_without_a_loss_is_refused() -> None:
    model = classifier()
    model.compile("adam")
    with pytest.raises(ModelError, match="compiled without a loss"):
        minimize(model, DATA, DATA, **FEW)


class OwnRate(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.001


RATE_CALLBACKS: dict[str, Any] = {
    "ReduceLROnPlateau": lambda: keras.callbacks.ReduceLROnPlateau("loss"),
    "LearningRateScheduler": lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
    "own": OwnRate,
}


@pytest.mark.parametrize("name", [name if name == "own" else slow(name) for name in RATE_CALLBACKS])
def test_a_callback_that_sets_the_rate_is_refused_where_a_schedule_sets_it(name: str) -> None:
    callback = RATE_CALLBACKS[name]()
    kept = {**FEW, "steps": 12}
    with pytest.raises(
        OptionError, match=r"sets the learning rate, which falls.*schedule='constant' and final_steps=0"
    ):
        minimize(classifier(), DATA, DATA, callbacks=[callback], **kept)
    assert minimize(classifier(), DATA, DATA, callbacks=[callback], schedule="constant", **kept).records


# ------------------------------------------------------------------------------------------------- training


LIMITS: dict[str, Any] = {
    "UnitNorm": lambda: keras.constraints.UnitNorm([0, 1, 2]),
    "MaxNorm": lambda: keras.constraints.MaxNorm(0.3, [0, 1, 2]),
    "MinMaxNorm": lambda: keras.constraints.MinMaxNorm(0.2, 0.4, axis=[0, 1, 2]),
}


@pytest.mark.parametrize("name", [slow(name) if name in ("MaxNorm", "MinMaxNorm") else name for name in LIMITS])
def test_a_constraint_sees_only_what_is_left(name: str) -> None:
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, activation="relu", name="first")(image)
    x = layers.Conv2D(4, 3, kernel_constraint=LIMITS[name](), name="second")(x)
    model = keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(X, Y, verbose=0)
    net = switched(model)
    gone = [Filter("first", index) for index in range(3)]
    Switches(net).disable(*gone)
    Switches(net).freeze(*gone)
    small = slim(net, X)
    training = {"batch_size": 48, "epochs": 4, "shuffle": False, "verbose": 0}
    if keras.backend.backend() == "jax":
        with pytest.raises(ModelError, match="constraint on second/kernel cannot be told"):
            net.fit(X, Y, **training)
        return
    for one in (net, small):
        one.fit(X, Y, **training)
    np.testing.assert_allclose(net.predict(X, verbose=0), small.predict(X, verbose=0), atol=1e-5)


class Penalized(layers.Layer):  # type: ignore[misc]
    """Adds a loss in its call."""

    def call(self, x: Any) -> Any:
        self.add_loss(ops.mean(ops.square(x)))
        return x


UNSOUND = {  # between two convolutions -> what refuses to disable the first one's filters; "": nothing does
    "gamma": (lambda: layers.BatchNormalization(gamma_constraint=keras.constraints.UnitNorm(0)), "UnitNorm of norm/"),
    "sign": (lambda: layers.BatchNormalization(gamma_constraint="non_neg"), ""),
    "layer": (lambda: layers.LayerNormalization(gamma_constraint=keras.constraints.MaxNorm(1, 0)), "MaxNorm of norm/"),
    "slope": (lambda: layers.PReLU(alpha_constraint=keras.constraints.UnitNorm(-1)), "UnitNorm of norm/"),
    "depthwise": (lambda: layers.DepthwiseConv2D(1, depthwise_constraint=keras.constraints.UnitNorm([0, 1, 2])), "U"),
    "taps": (lambda: layers.DepthwiseConv2D(1, depthwise_constraint=keras.constraints.UnitNorm([0, 1])), ""),
    "loss": (Penalized, "The layer norm adds a loss"),
    "renorm": (lambda: layers.BatchNormalization(renorm=True), ""),
}  # fmt: skip


def between(name: str, optimizer: Any = None) -> Any:
    image = keras.Input((8, 8, 1))
    middle = UNSOUND[name][0]()
    middle.name = "norm"
    x = middle(layers.Conv2D(6, 3, activation="relu", name="first")(image))
    x = layers.Conv2D(4, 3, activation="relu", name="second")(x)
    model = keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    model.compile(optimizer or keras.optimizers.SGD(0.05), "mse")
    model.fit(X, Y, verbose=0)
    return model


@pytest.mark.parametrize("name", [slow(name) if name in ("taps", "slope") else name for name in UNSOUND])
def test_what_counts_disabled_channels_is_refused_and_the_rest_trains_as_the_slim_network(name: str) -> None:
    net = switched(between(name))
    gone = [Filter("first", index) for index in range(3)]
    if refused := UNSOUND[name][1]:
        with pytest.raises(FilterError, match=refused):
            Switches(net).disable(*gone)
        assert not Switches(net).disabled
        return
    Switches(net).disable(*gone)
    Switches(net).freeze(*gone)
    small = slim(net, X)
    for one in (net, small):
        one.fit(X, Y, batch_size=48, epochs=4, shuffle=False, verbose=0)
    np.testing.assert_allclose(net.predict(X, verbose=0), small.predict(X, verbose=0), atol=1e-5)


def test_a_loss_on_what_a_layer_reads_counts_it() -> None:
    @keras.saving.register_keras_serializable("kinds")
    class Careful(layers.Conv2D):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            self.add_loss(ops.mean(ops.square(x)))
            return super().call(x)

    rule(Careful, reads=[("kernel", -2)], count="filters")(lambda call: convolution(call))
    image = keras.Input((8, 8, 1))
    x = Careful(4, 3, name="second")(layers.Conv2D(6, 3, activation="relu", name="first")(image))
    switches = Switches(switched(keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))))
    with pytest.raises(FilterError, match="The layer second adds a loss"):
        switches.disable(Filter("first", 0))


def test_a_run_leaves_such_filters_alone_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    result = minimize(between("loss"), DATA, DATA, **{**FEW, "max_trials": 4, "threshold": 0.01})
    assert {filter.layer for trial in result.records for filter in trial.filters} == {"second"}
    assert "6 filters are left alone. The layer norm adds a loss" in caplog.text


@pytest.mark.parametrize("kind", [keras.optimizers.Lamb, keras.optimizers.Adafactor, keras.optimizers.Muon])
@pytest.mark.slow
def test_optimizers_that_measure_whole_kernels_are_refused_before_anything_is_trained(kind: Any) -> None:
    model = between("sign", kind(0.01))
    with pytest.raises(OptimizerError, match=rf"{kind.__name__} measures whole kernels.*trial_optimizer='adam'"):
        minimize(model, DATA, DATA, **FEW)
    with pytest.raises(FilterError, match=f"{kind.__name__} measures whole kernels"):
        Switches(net := switched(model)).disable(Switches(net).filters[0])
    assert minimize(model, DATA, DATA, trial_optimizer="adam", **FEW).records


@pytest.mark.tensorflow("a step that raises costs a model its weights on JAX, as in Keras itself")
@pytest.mark.parametrize("how", ["a part of it", "one layer"])
def test_frozen_filters_are_not_trained_in_another_model_of_the_same_layers(how: str) -> None:
    net = switched(three_classes([], "sparse_categorical_crossentropy"))
    Switches(net).freeze(Filter("conv", 1))
    kernel = net.get_layer("conv").kernel
    before = np.array(kernel)
    part = keras.Model(net.inputs, net.layers[-2].output) if how == "a part of it" else net.get_layer("conv")
    image = keras.Input((8, 8, 1))
    outer = keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(part(image))))
    outer.compile("sgd", "sparse_categorical_crossentropy")
    assert outer.predict(X, verbose=0).shape == (len(X), 3)
    with pytest.raises(ModelError, match="conv has frozen filters"):
        outer.fit(X, LABELS, verbose=0)
    np.testing.assert_array_equal(kernel, before)
    net.fit(X, LABELS, verbose=0)
    np.testing.assert_array_equal(np.array(kernel)[..., 1], before[..., 1])
    assert not np.array_equal(kernel, before)
    Switches(net).thaw(Filter("conv", 1))
    outer.fit(X, LABELS, verbose=0)
    Switches(net).freeze(Filter("conv", 1))  # the compiled step of the other model knows nothing of it
    with pytest.raises(ModelError, match="conv has frozen filters"):
        outer.fit(X, LABELS, verbose=0)


@pytest.mark.tensorflow("JAX does not tell that gradients are computed")
def test_frozen_filters_are_not_trained_by_gradients_of_ones_own() -> None:
    import tensorflow as tf

    net = switched(three_classes([], "sparse_categorical_crossentropy"))
    Switches(net).freeze(Filter("conv", 1))
    with tf.GradientTape(), pytest.raises(ModelError, match="has frozen filters"):
        net(X)
    with tf.GradientTape(watch_accessed_variables=False) as tape:  # what the inputs do is no training
        tape.watch(images := tf.constant(X))
        outputs = net(images)
    assert tape.gradient(outputs, images) is not None
    net.fit(X, LABELS, verbose=0)
    net.trainable = False
    image = keras.Input((8, 8, 1))
    outer = keras.Model(image, layers.Dense(3, activation="softmax")(net(image)))
    outer.compile("sgd", "sparse_categorical_crossentropy")
    before = np.array(net.get_layer("conv").kernel)
    outer.fit(X, LABELS, verbose=0)
    np.testing.assert_array_equal(before, net.get_layer("conv").kernel)


@pytest.mark.parametrize("how", ["functional", "sequential"])
def test_what_is_frozen_holds_inside_of_another_model_or_it_is_an_error(how: str) -> None:
    net = switched(three_classes([], "sparse_categorical_crossentropy"))
    Switches(net).freeze(*(Filter("conv", index) for index in range(4)))
    before = np.array(net.get_layer("conv").kernel)
    image = keras.Input((8, 8, 1))
    inside = {
        "functional": lambda: keras.Model(
            image, layers.Dense(3, activation="softmax")(net(layers.Rescaling(2.0)(image)))
        ),
        "sequential": lambda: keras.Sequential([image, net, layers.Dense(3, activation="softmax")]),
    }
    try:
        outer = inside[how]()
        outer.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
        outer.fit(X, LABELS, verbose=0)
    except ShrinknetError as error:
        assert isinstance(error, OptimizerError) or str(error)
        return
    np.testing.assert_array_equal(before, np.array(net.get_layer("conv").kernel))


# ------------------------------------------------------------------------------------------------- runs


@pytest.mark.parametrize("more", [{"max_trials": 3}, {"max_trials": 2, "target": {"filters": 1}}])
@pytest.mark.slow
def test_a_finished_run_goes_on_and_keeps_what_was_decided(more: dict[str, Any], tmp_path: Path) -> None:
    options = {"strategy": "sequential", "threshold": 0.01, "reference": "baseline", "run_dir": tmp_path}
    first = run(max_trials=1, **options)
    second = run(**{**options, **more})
    assert len(second.records) == more["max_trials"] and second.records[0] == first.records[0]


@pytest.mark.tensorflow("text exists there only")
def test_a_network_of_text() -> None:
    keras.utils.set_random_seed(0)  # a network that is always wrong has a score of 0
    text = keras.Input((1,), dtype="string")
    codes = layers.Hashing(8, output_mode="one_hot")(text)
    model = keras.Model(text, layers.Dense(1, activation="sigmoid")(layers.Dense(4, activation="relu")(codes)))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    words = np.array([["a"], ["b"], ["c"], ["d"]] * 4)
    assert minimize(model, (words, np.arange(16) % 2), (words, np.arange(16) % 2), **FEW).summary.before.parameters


@pytest.mark.slow
def test_losses_do_not_add_up_by_default() -> None:
    result = minimize(classifier(), DATA, DATA, **{**FEW, "max_trials": 3})
    assert {trial.reference for trial in result.records} == {result.baseline}


# ------------------------------------------------------------------------------------------------- copies


AXES: dict[str, Any] = {
    "UnitNormalization": lambda: layers.UnitNormalization(axis=1),
    "LayerNormalization": lambda: layers.LayerNormalization(axis=1),
    "BatchNormalization": lambda: layers.BatchNormalization(axis=1),
    "Softmax": lambda: layers.Softmax(axis=1),
    "GroupNormalization": lambda: layers.GroupNormalization(2, axis=1),
}


@pytest.mark.parametrize("name", AXES)
def test_a_normalization_over_another_axis_is_copied_as_it_is(name: str) -> None:
    signal = keras.Input((8, 6))
    x = layers.Conv1D(8, 3, padding="same")(signal)
    model = keras.Model(signal, layers.Dense(2)(AXES[name]()(x)))
    inputs = np.random.default_rng(1).normal(size=(2, 8, 6)).astype("float32")
    np.testing.assert_allclose(switched(model)(inputs), model(inputs), atol=1e-6)


# ------------------------------------------------------------------------------------------------- what is said


def twice_used() -> Any:
    """Keras saves a model that is used inside TimeDistributed and by itself, but does not find its weights again."""
    frames, still = keras.Input((3, 8, 8, 1)), keras.Input((8, 8, 1))
    small = keras.Input((8, 8, 1))
    body = keras.Model(small, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(small)))
    over_time = layers.GlobalAveragePooling1D()(layers.TimeDistributed(body)(frames))
    model = keras.Model([frames, still], layers.Dense(1)(layers.Concatenate()([over_time, body(still)])))
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("opens", [slow(True), False])
def test_a_run_says_if_keras_cannot_open_its_network(
    opens: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = X if opens else (np.repeat(X[:, None], 3, 1), X)
    minimize(classifier() if opens else twice_used(), (x, Y), (x, Y), run_dir=tmp_path / "run", **FEW)
    assert ("Keras wrote slim.keras, but cannot open it" in caplog.text) is not opens


class Tempered(keras.Model):  # type: ignore[misc]
    """Has a weight, a layer, a list of them and seeds beside its graph, and trains them."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.heat = self.add_weight(shape=(), initializer="ones", name="heat")
        self.side = layers.Dense(1, kernel_regularizer="l2", name="side")
        self.side.build((None, 1))
        self.noise = keras.random.SeedGenerator(1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        y_pred = self.side(y_pred) / self.heat + keras.random.normal(ops.shape(y_pred), seed=self.noise)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def tempered() -> Any:
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1))
    model = Tempered(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="conv")(image))))
    model.more = [layers.Dense(2)]
    model.more[0].build((None, 2))
    model.more[0].trainable = False
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def test_what_a_model_holds_beside_its_graph_is_copied_once() -> None:
    model = tempered()
    model.fit(X, Y, verbose=0)
    net = switched(model)
    assert [one.path for one in net.trainable_variables] == [one.path for one in model.trainable_variables]
    assert not {id(one) for one in net.variables} & {id(one) for one in model.variables}
    small = slim(net)
    assert net.evaluate(X, Y, verbose=0) == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-6)
    before = [np.array(ops.convert_to_numpy(variable)) for variable in model.variables]
    for one in (net, small):
        one.noise.state.assign(model.noise.state)
        one.fit(X, Y, shuffle=False, epochs=2, verbose=0)
    minimize(model, (X, Y), (X, Y), **FEW)
    after = [ops.convert_to_numpy(variable) for variable in model.variables]
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    model.fit(X, Y, shuffle=False, epochs=2, verbose=0)
    for one in (net, small):
        assert float(one.heat) == pytest.approx(float(model.heat), rel=1e-5)
        assert float(one.side.kernel[0, 0]) == pytest.approx(float(model.side.kernel[0, 0]), rel=1e-5)


class Observed(keras.Model):  # type: ignore[misc]
    """Its loss looks at the maps inside."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, **named: Any) -> Any:
        return super().compute_loss(x, y, y_pred, **named) + ops.mean(ops.square(self.features(x)))


def test_channels_that_the_user_s_own_training_looks_at_are_not_cut() -> None:
    image = keras.Input((8, 8, 1))
    maps = layers.Conv2D(4, 3, name="seen")(layers.Conv2D(4, 3, name="unseen")(image))
    model = Observed(image, layers.Dense(1, name="out")(layers.GlobalAveragePooling2D()(maps)))
    model.features, model.unused = keras.Model(image, maps), keras.Model(image, model.get_layer("unseen").output)
    model.compile("adam", "mse")
    switches = Switches(switched(model))
    assert "features, an attribute of the network, gives it to a training" in switches.unswitchable["seen"]
    assert {filter.layer for filter in switches.filters} == {"unseen"}


def test_a_stateful_layer_is_refused() -> None:
    steps = keras.Input((5, 3), batch_size=4)
    model = keras.Model(steps, layers.Dense(1)(layers.LSTM(4, stateful=True, name="memory")(layers.Dense(6)(steps))))
    with pytest.raises(ModelError, match="memory is stateful"):
        switched(model)


def test_a_function_may_regularize_an_output() -> None:
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activity_regularizer=lambda maps: 0.01 * ops.mean(ops.abs(maps)), name="held")(image)
    model = keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="free")(x))))
    net = switched(model)
    Switches(net).disable(Filter("free", 0))
    assert slim(net, X).get_layer("held").activity_regularizer is model.get_layer("held").activity_regularizer


@pytest.mark.tensorflow("a tf.function")
def test_a_loop_that_was_traced_before_filters_were_frozen_is_refused() -> None:
    import tensorflow as tf

    net = switched(classifier())
    optimizer = keras.optimizers.SGD(0.1)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(net(X, training=True)))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables, strict=True)
        )

    step()
    switches = Switches(net)
    with pytest.raises(ModelError, match=r"was trained in a tf\.function .*traced when nothing was frozen"):
        switches.freeze(switches.filters[0])
    assert not switches.frozen


def test_a_class_that_is_lost_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    class Task(keras.Model):  # type: ignore[misc]
        def __init__(self, width: int = 4) -> None:
            image = keras.Input((8, 8, 1))
            x = layers.GlobalAveragePooling2D()(layers.Conv2D(width, 3, name="conv")(image))
            super().__init__(image, layers.Dense(1, name="out")(x))

    model = Task()
    model.compile("adam", "mse")
    minimize(model, (X, Y), (X, Y), **{**FEW, "target": 3, "final_steps": 2})
    assert caplog.text.count("Task has a constructor or a call of its own") == 1
