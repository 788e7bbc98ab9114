"""The engine matches Keras's `fit` and `evaluate` for every kind of data, in a reproducible order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from core_models import MAPS as Y
from core_models import VECTORS, Counting, X, assert_same_bits, copies, maps, numpy, same_bits, vectors
from marking import slow
from tiny_runs import BACKEND

from shrinknet import Checkpoint, Filter, Switches, switched
from shrinknet.engine import FitEngine, make_engine
from shrinknet.engine.arrays import order
from shrinknet.engine.callbacks import needs_validation
from shrinknet.engine.data import Arrays, Stream, first_batch, read_data
from shrinknet.engine.targets import check_targets
from shrinknet.errors import DataError

optimizers = keras.optimizers
both_kinds = pytest.mark.parametrize("kind", ["fast", "fit"])
fit_too = pytest.mark.parametrize("kind", ["fast", pytest.param("fit", marks=pytest.mark.slow)])


def engine_for(
    net: Any, data: Any, kind: str = "fast", batch_size: int = 4, callbacks: Any = (), on_step: Any = None
) -> Any:
    feed = read_data(data, batch_size, "training data")
    make = make_engine if kind == "fast" else FitEngine
    engine = make(net, feed, feed, seed=1, callbacks=callbacks, on_step=on_step)
    engine.prepare()
    return engine


def rows_of(data: Any, steps: int, trial: int = 2, batch_size: int = 4, start: int = 0) -> list[np.ndarray]:
    return [rows for _, rows in read_data(data, batch_size, "data").batches(1, trial, steps, start)]


def take(structure: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda array: array[rows], structure)


# ------------------------------------------------------------------------------------------------- the order


def test_the_order_is_a_pure_function_the_same_everywhere() -> None:
    assert order(7, 3, 2, 12).tolist() == [10, 4, 9, 5, 2, 3, 7, 6, 8, 1, 11, 0]
    assert order(0, 0, 0, 5).tolist() == [4, 1, 2, 0, 3]
    keras.utils.set_random_seed(1)
    before = order(1, 1, 1, 50)
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(order(1, 1, 1, 50), before)
    assert sorted(before.tolist()) == list(range(50))
    others = [order(2, 1, 1, 50), order(1, 2, 1, 50), order(1, 1, 2, 50), order(1, 0, 1, 50), order(-1, 1, 1, 50)]
    assert all((other != before).any() for other in others)


@pytest.mark.parametrize(("samples", "batch_size"), [(8, 4), (8, 3), (8, 8), (3, 5), (7, 1)])
def test_batches_are_cut_out_of_the_epochs_orders(samples: int, batch_size: int) -> None:
    feed = Arrays((np.arange(samples), np.arange(samples)), batch_size)
    each = -(-samples // batch_size)
    whole = list(feed.batches(seed=5, trial=1, steps=3 * each))
    for epoch in range(3):
        rows = np.concatenate([rows for of, rows in whole if of == epoch])
        np.testing.assert_array_equal(rows, order(5, 1, epoch, samples))
    for start in range(2 * each):
        for steps in (1, each, each + 1):
            part = list(feed.batches(seed=5, trial=1, steps=steps, start=start))
            assert len(part) == steps
            for (epoch, rows), (expected_epoch, expected) in zip(part, whole[start : start + steps], strict=True):
                assert epoch == expected_epoch
                np.testing.assert_array_equal(rows, expected)


# ------------------------------------------------------------------------------------------------- as fit does


MOMENTUM = {"learning_rate": 0.05, "momentum": 0.9}
AS_FIT: dict[str, Callable[[], Any]] = {
    "momentum": lambda: optimizers.SGD(**MOMENTUM, weight_decay=0.1),
    "average": lambda: optimizers.SGD(**MOMENTUM, use_ema=True, ema_momentum=0.7),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(**MOMENTUM), dynamic_growth_steps=2),
}


def assert_close(net: Any, twin: Any) -> None:
    for received, expected in zip(copies(net.variables), copies(twin.variables), strict=True):
        np.testing.assert_allclose(received, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("fast", "average"), *(slow("fast", name) for name in ("momentum", "scaled")), slow("fit", "average")],
)
def test_training_is_fit_on_the_same_batches(kind: str, name: str) -> None:
    net, twin = (switched(maps(AS_FIT[name](), dropout=0.3, regularizer="l2")) for _ in range(2))
    engine_for(net, (X, Y), kind).train(7, trial=2)  # three and a half epochs
    rows = np.concatenate(rows_of((X, Y), 7))
    twin.fit(X[rows], Y[rows], batch_size=4, shuffle=False, verbose=0)
    assert_close(net, twin)


@pytest.mark.tensorflow("on other backends the engine is fit, which leaves the batch's size open")
def test_the_loop_is_training_batch_by_batch_bit_for_bit() -> None:
    net, twin = (switched(vectors(optimizers.AdamW(0.01), regularizer="l2")) for _ in range(2))
    engine_for(net, (X, VECTORS)).train(7, trial=2)
    for rows in rows_of((X, VECTORS), 7):
        twin.train_on_batch(X[rows], VECTORS[rows])
    assert_same_bits(net.variables, twin.variables)
    assert_same_bits(net.optimizer.variables, twin.optimizer.variables)


@fit_too
def test_a_plain_network_and_a_sequential_one(kind: str) -> None:
    net, twin = (vectors(optimizers.SGD(**MOMENTUM)) for _ in range(2))
    engine_for(net, (X, VECTORS), kind).train(4, trial=2)
    rows = np.concatenate(rows_of((X, VECTORS), 4))
    twin.fit(X[rows], VECTORS[rows], batch_size=4, shuffle=False, verbose=0)
    assert_close(net, twin)


@pytest.mark.parametrize(("kind", "batch_size"), [("fast", 3), slow("fast", 20), slow("fit", 3)])
def test_the_last_batch_of_an_epoch_may_be_smaller(kind: str, batch_size: int) -> None:
    net, twin = (switched(maps(optimizers.SGD(**MOMENTUM))) for _ in range(2))
    engine_for(net, (X, Y), kind, batch_size).train(7, trial=2)
    parts = rows_of((X, Y), 7, batch_size=batch_size)
    assert batch_size == 20 or len({len(rows) for rows in parts}) == 2
    for rows in parts:
        twin.train_on_batch(X[rows], Y[rows])
    assert int(numpy(net.optimizer.iterations)) == 7
    assert_close(net, twin)


@pytest.mark.parametrize(("kind", "batch_size"), [slow("fast", 4), ("fast", 3), slow("fit", 3)])
def test_start_continues_where_training_stopped(kind: str, batch_size: int) -> None:
    whole, parts = (switched(maps(dropout=0.3)) for _ in range(2))
    engine_for(whole, (X, Y), kind, batch_size).train(9, trial=2)
    engine = engine_for(parts, (X, Y), kind, batch_size)
    for start, steps in ((0, 2), (2, 1), (3, 5), (8, 1)):
        engine.train(steps, trial=2, start=start)
    assert_same_bits(parts.variables, whole.variables)


def two_in_two_out(**settings: Any) -> Any:
    keras.utils.set_random_seed(0)
    images = {"left": keras.Input((6, 6, 1), name="left"), "right": keras.Input((6, 6, 1), name="right")}
    shared = keras.layers.Conv2D(3, 3, activation="relu", name="conv1")
    pool = keras.layers.GlobalAveragePooling2D()
    sides = {name: pool(shared(image)) for name, image in images.items()}
    joined = keras.layers.Concatenate()([sides["left"], sides["right"]])
    outputs = {"a": keras.layers.Dense(1, name="a")(joined), "b": keras.layers.Dense(2, name="b")(sides["right"])}
    model = keras.Model(images, outputs)
    settings = {"loss": {"a": "mae", "b": "mse"}, "loss_weights": {"a": 0.2, "b": 5.0}, **settings}
    model.compile(
        optimizers.SGD(0.05, momentum=0.9), metrics={"a": ["mse"]}, weighted_metrics={"b": ["mae"]}, **settings
    )
    return model


TWO = ({"left": X, "right": X[::-1].copy()}, {"a": VECTORS[:, :1], "b": VECTORS},
       {"a": np.linspace(0, 2, 8, dtype="float32"), "b": np.linspace(3, 0, 8, dtype="float32")})  # fmt: skip


@fit_too
def test_many_inputs_outputs_loss_weights_and_sample_weights(kind: str) -> None:
    data = TWO
    nets = [two_in_two_out(), two_in_two_out(), two_in_two_out(loss_weights=None), two_in_two_out()]
    engine = engine_for(nets[0], data, kind)
    engine.train(6, trial=2)
    rows = np.concatenate(rows_of(data, 6))
    for twin in nets[1:3]:
        chosen = take(data, rows)
        twin.fit(chosen[0], chosen[1], sample_weight=chosen[2], batch_size=4, shuffle=False, verbose=0)
    nets[3].fit(take(TWO[0], rows), take(TWO[1], rows), batch_size=4, shuffle=False, verbose=0)
    assert_close(nets[0], nets[1])
    assert not same_bits(nets[1].weights, nets[2].weights)  # the loss weights count,
    assert not same_bits(nets[1].weights, nets[3].weights)  # and the sample weights
    expected = nets[1].evaluate(data[0], data[1], sample_weight=data[2], batch_size=4, verbose=0, return_dict=True)
    assert engine.evaluate() == pytest.approx(expected, rel=1e-6)
    assert len(expected) >= 5


def test_lists_of_inputs_and_an_unweighted_batch() -> None:
    keras.utils.set_random_seed(0)
    first, second = keras.Input((6, 6, 1)), keras.Input((6, 6, 1))
    conv = keras.layers.Conv2D(2, 3, padding="same")
    model = keras.Model([first, second], conv(keras.layers.Concatenate()([first, second])))
    model.compile("sgd", "mse")
    engine = engine_for(model, ([X, X], Y, None))
    before = copies(model.weights)
    engine.train(2, trial=0)
    assert not same_bits(model.weights, before)


@pytest.mark.tensorflow("train_step has another signature on other backends")
@fit_too
def test_a_train_step_and_a_test_step_of_the_users_own(kind: str) -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.trained = self.add_weight(
                shape=(), dtype="int32", initializer="zeros", trainable=False, name="trained"
            )
            self.tested = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="tested")

        def train_step(self, data: Any) -> Any:
            self.trained.assign_add(1)
            return super().train_step(data)

        def test_step(self, data: Any) -> Any:
            self.tested.assign_add(1)
            return {"doubled": 2 * super().test_step(data)["loss"]} | super().test_step(data)

    net = switched(maps(kind=Own))
    engine = engine_for(net, (X, Y), kind, batch_size=3)
    engine.train(7, trial=0)
    engine.evaluate()
    assert (int(numpy(net.trained)), int(numpy(net.tested))) == (7, 3)


@fit_too
def test_metrics_of_each_epoch_are_those_of_fit(kind: str) -> None:
    class Heard(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.logs: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.logs.append((epoch, {name: float(value) for name, value in logs.items()}))

    heard, net, twin = Heard(), switched(maps(metrics=["mae"])), switched(maps(metrics=["mae"]))
    engine_for(net, (X, Y), kind, callbacks=[heard]).train(5, trial=2, start=1)
    expected = []
    for epoch, rows in enumerate(
        [rows_of((X, Y), 1, start=1), rows_of((X, Y), 2, start=2), rows_of((X, Y), 2, start=4)]
    ):
        rows = np.concatenate(rows)
        settings = {"batch_size": 4, "shuffle": False, "verbose": 0, "validation_data": (X, Y)}
        history = twin.fit(X[rows], Y[rows], **settings).history
        expected.append((epoch, {name: values[0] for name, values in history.items()}))
    assert [epoch for epoch, _ in heard.logs] == [epoch for epoch, _ in expected] == [0, 1, 2]
    for (_, received), (_, wanted) in zip(heard.logs, expected, strict=True):
        assert received == pytest.approx(wanted, rel=1e-6)


# ------------------------------------------------------------------------------------------------- callbacks


class Events(keras.callbacks.Callback):  # type: ignore[misc]
    """Records its calls."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.stop_after = stop_after

    def on_train_begin(self, logs: Any = None) -> None:
        self.heard.append("begin")

    def on_train_end(self, logs: Any = None) -> None:
        self.heard.append("end")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.heard.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.heard.append(f"done {epoch}")
        assert self.model.built and "loss" in logs
        if epoch == self.stop_after:
            self.model.stop_training = True


class BatchEvents(Events):
    """... and also has a batch hook."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.heard.append("batch")


@fit_too
def test_epoch_callbacks_hear_of_one_training_as_in_fit(kind: str) -> None:
    events = Events()
    engine = engine_for(switched(maps()), (X, Y), kind, callbacks=[events])
    for _ in range(2):
        engine.train(4, trial=1)
    expected = Events()
    for _ in range(2):
        switched(maps()).fit(X, Y, batch_size=4, epochs=2, callbacks=[expected], verbose=0)
    assert events.heard == expected.heard == ["begin", "epoch 0", "done 0", "epoch 1", "done 1", "end"] * 2


class Validations(keras.callbacks.Callback):  # type: ignore[misc]
    """Records its parameters, and the hooks that `fit` calls around a validation."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.heard.append(dict(self.params))

    def on_test_begin(self, logs: Any = None) -> None:
        self.heard.append("begin")

    def on_test_end(self, logs: Any = None) -> None:
        self.heard.append(sorted(logs))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.heard.append(epoch)


class BatchValidations(Validations):
    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.heard.append(f"batch {batch}")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.heard.append(f"{batch} {sorted(logs)}")


class OwnTest(keras.Model):  # type: ignore[misc]
    def test_step(self, data: Any) -> Any:
        return super().test_step(data)


@fit_too
@pytest.mark.parametrize(
    ("kind_of_callback", "kind_of_model"),
    [
        (Validations, keras.Model),
        slow(Validations, OwnTest),
        slow(BatchValidations, keras.Model),
        (BatchValidations, OwnTest),
    ],
)
def test_callbacks_hear_of_validations_as_in_fit(kind: str, kind_of_callback: Any, kind_of_model: Any) -> None:
    received, expected = kind_of_callback(), kind_of_callback()
    engine_for(switched(maps(kind=kind_of_model)), (X, Y), kind, callbacks=[received]).train(4, trial=1)
    settings = {"batch_size": 4, "validation_batch_size": 4, "verbose": 0, "callbacks": [expected]}
    switched(maps(kind=kind_of_model)).fit(X, Y, epochs=2, validation_data=(X, Y), **settings)
    assert received.heard == expected.heard
    assert expected.heard[0] == {"epochs": 2, "steps": 2, "verbose": 0}


@both_kinds
@pytest.mark.parametrize("on_epoch", [True, slow(False)])
def test_averages_are_swapped_in_as_in_fit(kind: str, on_epoch: bool) -> None:
    nets = [switched(maps(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))) for _ in range(2)]
    swap = [keras.callbacks.SwapEMAWeights(swap_on_epoch=on_epoch) for _ in range(2)]
    engine_for(nets[0], (X, Y), kind, callbacks=[swap[0], Validations()], batch_size=8).train(2, trial=1)
    nets[1].fit(X, Y, batch_size=8, epochs=2, callbacks=[swap[1]], validation_data=(X, Y), verbose=0)
    for one, other in zip(nets[0].get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@both_kinds
def test_stop_training_ends_the_training_and_only_that(kind: str) -> None:
    events, net = Events(stop_after=1), switched(maps())
    engine = engine_for(net, (X, Y), kind, callbacks=[events])
    engine.train(20, trial=1)
    assert events.heard[-3:] == ["epoch 1", "done 1", "end"]
    assert int(numpy(net.optimizer.iterations)) == 4
    engine.train(2, trial=2)
    assert int(numpy(net.optimizer.iterations)) == 6


@fit_too
@pytest.mark.parametrize("source", ["arrays", *map(slow, ("known", "unknown", "endless"))])
def test_parts_are_one_training_for_callbacks(kind: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if source != "arrays" and BACKEND != "tensorflow":
        pytest.skip("tf.data needs TensorFlow")
    monkeypatch.setattr("shrinknet.engine.data.STREAM_EPOCH", 2)
    heard, net = Heard(), switched(maps(metrics=["mae"]))
    engine = engine_for(net, dataset_of(source), kind, callbacks=[heard])
    engine.validation = read_data((X, Y), 4, "validation data")
    for start, steps in ((0, 1), (1, 2), (3, 2)):
        engine.train(steps, trial=0, start=start, total=5)
        engine.evaluate()  # as the loop does between parts; it resets the metrics
    assert heard.heard == ["begin", "epoch 0", "done 0", "epoch 1", "done 1", "epoch 2", "done 2", "end"]
    twin, expected = switched(maps(metrics=["mae"])), Heard()
    rows = np.concatenate(rows_of((X, Y), 5, trial=0)) if source == "arrays" else np.arange(20) % 8
    for epoch in range(3):
        batch = rows[8 * epoch : 8 * epoch + 8]
        twin.fit(
            X[batch], Y[batch], batch_size=4, shuffle=False, verbose=0, validation_data=(X, Y), callbacks=[expected]
        )
    for received, wanted in zip(heard.logs, expected.logs, strict=True):
        assert received == pytest.approx(wanted, rel=1e-5)


class Heard(Events):
    """... and what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.logs.append(dict(logs))


def dataset_of(source: str) -> Any:
    """Two batches of 4, once or again and again, as arrays or as a stream that knows its length or does not."""
    if source == "arrays":
        return X, Y
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    return {"known": data, "unknown": data.filter(lambda x, y: True), "endless": data.repeat()}[source]


@fit_too
def test_a_callback_that_monitors_the_validation_stops_a_training_in_parts(kind: str) -> None:
    net = switched(maps(optimizers.SGD(0.0)))  # which never gets better
    early = keras.callbacks.EarlyStopping("val_loss", patience=3)
    engine = engine_for(net, (X, Y), kind, callbacks=[early])
    taken = [engine.train(3, trial=0, start=start, total=30) for start in (0, 3, 6)]
    assert taken == [3, 3, 2] and early.stopped_epoch == 3  # epochs of two batches
    assert not engine.end_training()
    engine.train(3, trial=1, total=6)
    assert engine.end_training() and early.wait == 0


@pytest.mark.parametrize(
    ("callback", "looks"),
    [
        (lambda: keras.callbacks.EarlyStopping("val_loss"), True),
        (lambda: keras.callbacks.EarlyStopping("loss"), False),
        (lambda: keras.callbacks.ReduceLROnPlateau(), True),
        (lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate), False),
        (lambda: keras.callbacks.ModelCheckpoint("x.keras"), False),
        (lambda: keras.callbacks.ModelCheckpoint("{val_loss}.keras"), True),
        (lambda: keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True), True),
        (lambda: keras.callbacks.ModelCheckpoint("x.keras", save_best_only=True, monitor="loss"), False),
        (lambda: keras.callbacks.CSVLogger("x.csv"), True),
        (lambda: keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None), True),
        (lambda: keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: None), False),
        (Events, True),
    ],
)
def test_validation_is_measured_only_for_callbacks_that_look_at_it(callback: Any, looks: bool) -> None:
    assert needs_validation(callback()) == looks


def test_without_need_the_validation_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    engine = engine_for(switched(maps()), (X, Y), callbacks=[schedule])
    monkeypatch.setattr(engine, "evaluate", lambda: pytest.fail("evaluated"))
    assert engine.train(4, trial=1) == 4


@fit_too
def test_keras_own_callbacks_work(kind: str) -> None:
    net = switched(maps(optimizers.SGD(0.1)))
    patience = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=100.0)
    lower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    engine_for(net, (X, Y), kind, callbacks=[patience, lower]).train(40, trial=1)
    assert int(numpy(net.optimizer.iterations)) == 6  # one epoch first, two more without improvement
    assert float(numpy(net.optimizer.learning_rate)) == np.float32(0.1 / 8)


@pytest.mark.tensorflow("other backends have only fit")
def test_callbacks_with_batch_hooks_get_fit() -> None:
    events = BatchEvents()
    engine = engine_for(switched(maps()), (X, Y), callbacks=[events])
    assert engine.name == "fit"
    engine.train(3, trial=1)
    assert events.heard.count("batch") == 3
    assert engine_for(switched(maps()), (X, Y), callbacks=[Events(), object()]).name == "compiled loop"
    assert engine_for(switched(maps(run_eagerly=True)), (X, Y)).name == "fit"


@fit_too
def test_progress_is_told(kind: str) -> None:
    told: list[tuple[int, int]] = []
    engine_for(switched(maps()), (X, Y), kind, 3, on_step=lambda step, steps: told.append((step, steps))).train(
        8, trial=0
    )
    assert told and all(steps == 8 for _, steps in told)
    assert [step for step, _ in told] == sorted(step for step, _ in told) and told[-1][0] <= 8


def test_parts_of_a_training_tell_of_the_whole() -> None:
    told: list[tuple[int, int]] = []
    engine = engine_for(switched(maps()), (X, Y), "fast", 3, on_step=lambda step, steps: told.append((step, steps)))
    for start in (0, 2, 4):
        engine.train(2, trial=1, start=start, total=6)
    assert told[-1] == (6, 6) and (2, 6) in told and (4, 6) in told


# ------------------------------------------------------------------------------------------------- streams


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of 3, 3 and 2 samples."""

    epochs = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        rows = slice(3 * index, 3 * index + 3)
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        self.epochs += 1


def dataset() -> Any:
    import tensorflow

    return tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(3)


def endless() -> Iterator[Any]:
    while True:
        for start in (0, 3, 6):
            yield X[start : start + 3], Y[start : start + 3]


STREAMS = {"tf.data": dataset, "PyDataset": Batches, "generator": endless}


@pytest.mark.parametrize(("kind", "name"), [*(("fast", name) for name in STREAMS), slow("fit", "tf.data")])
def test_streams_train_on_their_batches_in_their_order(kind: str, name: str) -> None:
    net, twin = (switched(maps(optimizers.SGD(**MOMENTUM), dropout=0.3)) for _ in range(2))
    engine = engine_for(net, STREAMS[name](), kind)
    for steps in (2, 5, 1):  # each continues where the last one stopped, across ends of epochs
        engine.train(steps, trial=0)
    for start in [0, 3, 6, 0, 3, 6, 0, 3]:
        twin.train_on_batch(X[start : start + 3], Y[start : start + 3])
    assert engine.feed.consumed == int(numpy(net.optimizer.iterations)) == 8
    assert_close(net, twin)


@pytest.mark.parametrize(("kind", "source"), [("fast", dataset), ("fast", Batches), ("fit", Batches)])
def test_streams_are_evaluated_as_keras_does_and_training_is_not_disturbed(kind: str, source: Any) -> None:
    net = switched(maps(metrics=["mae"]))
    engine = engine_for(net, source(), kind)
    engine.train(1, trial=0)
    received = engine.evaluate()
    assert received == pytest.approx(net.evaluate(X, Y, batch_size=3, verbose=0, return_dict=True), rel=1e-6)
    engine.train(1, trial=0)
    assert engine.feed.consumed == 2


class Forever(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of 2 without an end, numbered from the beginning."""

    @property
    def num_batches(self) -> None:
        return None

    def __getitem__(self, index: int) -> Any:
        rows = np.arange(2 * index, 2 * index + 2) % 8
        return X[rows], Y[rows]


@fit_too
@pytest.mark.parametrize("source", ["arrays", "endless", "PyDataset"])
def test_only_so_many_batches_are_evaluated_each_time_from_the_beginning(kind: str, source: str) -> None:
    if source == "endless" and BACKEND != "tensorflow":
        pytest.skip("tf.data needs TensorFlow")
    data, steps = {"arrays": ((X, Y), 3), "PyDataset": (Forever(), 3)}.get(source) or (dataset_of(source), 1)
    net = switched(maps(metrics=["mae"]))
    engine = engine_for(net, (X, Y), kind)
    feed = read_data(data, 2, "validation data", endless=False, steps=steps)
    count = {"arrays": 6, "PyDataset": 6, "endless": 4}[source]
    expected = net.evaluate(X[:count], Y[:count], batch_size=2, verbose=0, return_dict=True)
    for _ in range(2):
        assert engine.evaluate(feed) == pytest.approx(expected, rel=1e-6)


def test_more_batches_than_there_are_are_refused() -> None:
    with pytest.raises(DataError, match=r"validation data have 2 batches.*received 3"):
        read_data((X, Y), 4, "validation data", steps=3)
    with pytest.raises(DataError, match=r"never end.*validation_steps="):
        read_data(Forever(), 4, "validation data", endless=False)


def test_a_dataset_is_told_of_its_epochs() -> None:
    data = Batches()
    engine_for(switched(maps()), data).train(7, trial=0)
    assert data.epochs == 2


@both_kinds
def test_a_generator_that_runs_dry(kind: str) -> None:
    net = switched(maps())
    engine = engine_for(net, iter([(X[:4], Y[:4])] * 3), kind)
    with pytest.raises(DataError, match="generator of training data ended after 3 batches"):
        engine.train(5, trial=1)
    if engine.name != "fit":  # where Keras counts a step without data; the loop rolls back after this error
        assert int(numpy(net.optimizer.iterations)) == 3
    with pytest.raises(DataError, match="ended after"):
        engine.train(1, trial=2)


@both_kinds
def test_a_generator_loses_no_batch_to_looking_ahead(kind: str) -> None:
    taken = []

    def counted() -> Iterator[Any]:
        for number, batch in enumerate(endless()):
            taken.append(number)
            yield batch

    engine = engine_for(switched(maps()), counted(), kind)
    assert taken == [0]  # the one used to build the network; training still gets it
    engine.train(3, trial=0)
    engine.train(2, trial=1)
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.tensorflow("tf.data")
@both_kinds
def test_a_dataset_that_can_be_read_only_once(kind: str) -> None:
    import tensorflow

    once = iter([(X[:4], Y[:4])] * 5)
    shape = (tensorflow.TensorSpec((4, 6, 6, 1)), tensorflow.TensorSpec((4, 6, 6, 2)))
    engine = engine_for(
        switched(maps()), tensorflow.data.Dataset.from_generator(lambda: once, output_signature=shape), kind
    )
    with pytest.raises(DataError, match="ended after"):
        engine.train(50, trial=0)


def test_streams_with_sample_weights() -> None:
    def source(weights: Any) -> Iterator[Any]:
        while True:
            yield (X[:4], Y[:4], weights) if weights is not None else (X[:4], Y[:4])

    nets = [switched(maps()) for _ in range(3)]
    zeros = np.zeros((4, 1, 1), "float32")
    for net, weights in zip(nets, (None, np.ones((4, 1, 1), "float32"), zeros), strict=True):
        engine_for(net, source(weights)).train(2, trial=0)
    kernels = [net.get_layer("conv2").kernel for net in nets]
    np.testing.assert_allclose(*(numpy(kernel) for kernel in kernels[:2]), atol=1e-6)
    assert_same_bits([kernels[2]], [switched(maps()).get_layer("conv2").kernel])


class Counted:
    """A source that counts how often it is read from the beginning."""

    def __init__(self) -> None:
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return iter([(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:10], Y[8:10])])


def test_calibration_data_take_no_pass_of_their_own() -> None:
    """Each pass may shuffle anew, so that one more would change the batches that are trained on."""
    stream = Stream(source := Counted(), "training data")
    np.testing.assert_array_equal(stream.peek()[0], X[:4])
    np.testing.assert_array_equal(stream.few(7)[0], X[:7])
    assert source.begun == 1
    np.testing.assert_array_equal(stream.few(7)[0], X[:7])
    np.testing.assert_array_equal(stream.next()[0], X[:4])


# ------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize(
    ("kind", "batch_size", "weighted"),
    [slow("fast", 4, False), ("fast", 3, True), slow("fast", 20, False), slow("fit", 3, True)],
)
def test_evaluation_is_that_of_keras(kind: str, batch_size: int, weighted: bool) -> None:
    net = switched(maps(metrics=["mae"], weighted_metrics=["mse"], regularizer="l2"))
    weights = np.linspace(0, 2, 8).reshape(8, 1, 1).astype("float32") if weighted else None
    data = (X, Y) if weights is None else (X, Y, weights)
    engine = engine_for(net, data, kind, batch_size)
    engine.train(2, trial=0)
    expected = net.evaluate(X, Y, sample_weight=weights, batch_size=batch_size, verbose=0, return_dict=True)
    received = engine.evaluate()
    assert list(received) == list(expected) and received == pytest.approx(expected, rel=1e-6)
    assert engine.evaluate() == received  # nothing is left over from the first
    part = Arrays(take(data, np.arange(3)), 2)
    expected = net.evaluate(*data[:2], sample_weight=weights, batch_size=2, verbose=0, return_dict=True)
    assert engine.evaluate(part) != pytest.approx(expected, rel=1e-6)  # of the part, not of the whole data


def test_evaluation_changes_no_weight() -> None:
    net = switched(maps(dropout=0.5))
    engine = engine_for(net, (X, Y))
    engine.train(2, trial=0)
    before = copies([*net.variables, *net.optimizer.variables])
    engine.evaluate()
    assert_same_bits([*net.variables, *net.optimizer.variables], before)


# ------------------------------------------------------------------------------------------------- preparing


@fit_too
def test_preparing_creates_everything_and_changes_nothing(kind: str) -> None:
    net = switched(maps(metrics=["mae"], dropout=0.3))
    before = copies(net.variables)
    engine = engine_for(net, (X, Y), kind)
    assert_same_bits(net.variables, before)
    held = [id(variable) for variable in Checkpoint.of(net).variables]
    engine.train(3, trial=0)
    engine.evaluate()
    assert {id(variable) for variable in Checkpoint.of(net).variables} == set(held)


@pytest.mark.slow
@pytest.mark.tensorflow("XLA is chosen by the engine on TensorFlow only")
def test_measuring_whether_xla_pays_changes_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    net, twin = (switched(maps(dropout=0.3)) for _ in range(2))
    feed = read_data((X, Y), 4, "training data")
    engine = make_engine(net, feed, feed, seed=1)
    before = copies([*net.variables, *net.optimizer.variables])
    with caplog.at_level(logging.INFO, "shrinknet"):
        engine.prepare(steps_ahead=1_000_000)
    assert "XLA o" in caplog.text and "ms per step without" in caplog.text
    assert_same_bits([*net.variables, *net.optimizer.variables], before)
    engine.xla = False
    engine.train(3, trial=2)
    engine_for(twin, (X, Y)).train(3, trial=2)
    assert_same_bits(net.variables, twin.variables)


@pytest.mark.tensorflow("XLA is chosen by the engine on TensorFlow only")
def test_a_model_that_was_compiled_with_xla_gets_it_and_others_by_default_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "shrinknet"):
        assert engine_for(switched(maps(jit_compile=True)), (X, Y)).xla
        assert not engine_for(switched(maps(jit_compile=False)), (X, Y)).xla
    assert "the model was compiled with it" in caplog.text and "XLA off" in caplog.text


def test_switching_between_trainings_traces_nothing_and_is_seen() -> None:
    net = switched(maps(optimizers.SGD(0.1), kind=Counting))
    switches = Switches(net)
    switches.freeze(Filter("conv1", 0))
    engine = engine_for(net, (X, Y))
    engine.train(2, trial=0)
    engine.evaluate()
    traces = net.traces
    for index in range(3):
        switches.disable(Filter("conv1", index))
        switches.freeze(Filter("conv1", index))
        reader = numpy(net.get_layer("conv2").kernel)[:, :, index]
        own = numpy(net.get_layer("conv1").kernel)[..., index]
        score = engine.evaluate()["loss"]
        engine.train(2, trial=index + 1)
        assert engine.evaluate()["loss"] != score
        assert_same_bits([numpy(net.get_layer("conv2").kernel)[:, :, index]], [reader])
        assert_same_bits([numpy(net.get_layer("conv1").kernel)[..., index]], [own])
        switches.enable(Filter("conv1", index))
        assert engine.evaluate()["loss"] != score
    assert net.traces == traces


@fit_too
def test_freezing_in_the_middle_and_compiling_again_are_seen(kind: str) -> None:
    net = switched(maps(optimizers.AdamW(0.05, weight_decay=0.5)))
    engine = engine_for(net, (X, Y), kind)
    engine.train(2, trial=0)
    Switches(net).freeze(Filter("conv1", 1))
    kernel = net.get_layer("conv1").kernel
    before = numpy(kernel)[..., 1]
    engine.train(2, trial=1)
    assert_same_bits([numpy(kernel)[..., 1]], [before])
    net.compile(optimizers.SGD(0.5), "mae", metrics=["mse"])
    engine = engine_for(net, (X, Y), kind)
    engine.train(2, trial=2)
    assert_same_bits([numpy(kernel)[..., 1]], [before])
    assert list(engine.evaluate()) == ["loss", "mse"]


def test_a_weight_that_is_not_finite_is_found() -> None:
    net = switched(maps())
    engine = engine_for(net, (X, Y))
    assert engine.is_finite()
    for name, value in (("kernel", np.nan), ("bias", np.inf)):
        variable = getattr(net.get_layer("conv1"), name)
        old, broken = numpy(variable), numpy(variable)
        broken.flat[0] = value
        variable.assign(broken)
        assert not engine.is_finite()
        variable.assign(old)
    net.get_layer("norm").moving_variance.assign([np.nan, 1, 1])
    assert not engine.is_finite()


# ------------------------------------------------------------------------------------------------- refused data

NAN = np.where(np.arange(8).reshape(8, 1, 1, 1) == 3, np.nan, X)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X[:0], Y[:0]), "are empty"),
        ((X, Y[:5]), r"same number of samples.*\(8, 6, 6, 1\), \(5, 6, 6, 2\)"),
        ((NAN, Y), "36 numbers that are not finite"),
        (X, "received ndarray of shape"),
        (None, "received NoneType"),
        ((X,), "received a tuple of 1"),
        ((X, Y, X, Y), "received a tuple of 4"),
        ([], "received a list of 0"),
        (3, "received int"),
        (iter([]), "are empty"),
        (iter([X]), "received ndarray"),
    ],
)
def test_data_that_cannot_be_used(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        feed = read_data(data, 4, "validation data")
        first_batch(feed)
    assert "validation data" in str(caught.value) and "\n" not in str(caught.value)


def test_targets_that_are_not_finite_are_for_losses_of_the_user_s_own() -> None:
    missing = np.where(Y > 1, np.nan, Y)
    model = maps(compiled=False)
    model.compile("adam", "mse")
    with pytest.raises(DataError, match=r"training data contain .* not finite"):
        check_targets(model, (X, missing), "training data")
    model.compile("adam", lambda truth, output: keras.ops.nanmean(keras.ops.square(truth - output)))
    check_targets(model, (X, missing), "training data")


def test_what_is_data_is_read() -> None:
    feed = read_data([X.astype("float64"), keras.ops.convert_to_tensor(Y)], 4, "data")
    assert isinstance(feed, Arrays) and feed.samples == 8
    assert {array.dtype for array in feed.arrays} == {np.dtype("float32")}
    assert read_data(feed, 9, "data") is feed
    assert isinstance(read_data(Batches(), 4, "data"), Stream)
    assert not read_data(endless(), 4, "data").repeatable and read_data(Batches(), 4, "data").repeatable


@pytest.mark.parametrize(
    ("target", "loss", "fits"),
    [
        ((6, 6, 2), "mse", True), ((6, 6, 1), "mse", False), ((6, 6), "mse", False), ((2,), "mse", False),
        ((6, 6), "sparse_categorical_crossentropy", True), ((6, 6, 1), keras.losses.MeanSquaredError(), False),
        ((6, 6, 1), lambda truth, output: keras.ops.mean(output - truth), True),
    ],
)  # fmt: skip
def test_targets_that_would_broadcast(target: tuple[int, ...], loss: Any, fits: bool) -> None:
    model = maps(compiled=False)
    model.compile("adam", loss)
    batch = (X, np.zeros((8, *target), "float32"))
    if fits:
        check_targets(model, batch, "training data")
    else:
        with pytest.raises(DataError, match="broadcast"):
            check_targets(model, batch, "training data")


def test_the_engine_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # TensorFlow's own
        engine = engine_for(switched(maps()), dataset() if BACKEND == "tensorflow" else Batches())
        engine.train(7, trial=0)
