"""The loop: what it decides, how it ends, what it refuses, and that the same seed gives the same bits."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from marking import slow
from tiny_runs import DATA, X, Y, classifier, run

from shrinknet import Filter, Switches, minimize
from shrinknet.errors import DataError, ModelError, OptimizerError, OptionError, ScoreError, StrategyError
from shrinknet.layers import Switchboard
from shrinknet.records import Summary, Timing

pytestmark = pytest.mark.usefixtures("no_latency")


class Script:
    """A strategy with scripted answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.told: list[Any] = []

    def ask(self, network: Any, count: int) -> Any:
        return self.answers.pop(0) if self.answers else ()

    def tell(self, trial: Any) -> None:
        self.told.append(trial)


def test_accepted_trials_are_cut_out_and_rejected_ones_leave_no_trace() -> None:
    strategy = Script([Filter("conv1", 0)], [Filter("conv1", 1)], [Filter("conv2", 2)])
    scores = iter([1.0, 0.99, 0.5, 0.985])  # after the warm-up, and of the three trials
    result = run(strategy=strategy, score=lambda net: next(scores), mode="max", warmup_steps=0, threshold=0.98)
    assert [trial.accepted for trial in result.records] == [True, False, True]
    assert [trial.ratio for trial in result.records] == pytest.approx([0.99, 0.5 / 0.99, 0.985 / 0.99])
    assert strategy.told == list(result.records)
    assert Switches(result.switched).disabled == (Filter("conv1", 0), Filter("conv2", 2))
    assert result.model.get_layer("conv1").filters == 3 and result.model.get_layer("conv2").filters == 2
    assert result.model.count_params() == result.summary.after.parameters == result.records[-1].parameters
    np.testing.assert_allclose(result.model(X), result.switched(X), atol=1e-6)


def test_a_rejected_trial_puts_every_bit_back() -> None:
    states: list[list[bytes]] = []

    class Keep(Script):
        def ask(self, network: Any, count: int) -> Any:
            states.append([np.asarray(variable).tobytes() for variable in _everything(self.net)])
            return super().ask(network, count)

        def tell(self, trial: Any) -> None:
            states.append([np.asarray(variable).tobytes() for variable in _everything(self.net)])

    class Catch(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            strategy.net = self.model

    strategy = Keep([Filter("conv1", 0)], [Filter("conv2", 1)])
    result = run(strategy=strategy, score=lambda net: float(1 - 0.5 * len(states)), mode="max", callbacks=[Catch()])
    assert [trial.accepted for trial in result.records] == [False, False]
    assert states[0] == states[1] == states[2] == states[3] == states[4]


def _everything(net: Any) -> list[Any]:
    masks = [v for v in net.optimizer.variables if v.dtype == "bool"]
    return [v for v in (*net.variables, *net.optimizer.variables) if not any(v is mask for mask in masks)]


@pytest.mark.slow
def test_reference_baseline_bounds_the_total_loss_and_last_does_not() -> None:
    def play(reference: str) -> list[bool]:
        scores = iter([1.0, 0.98, 0.96, 0.94])
        strategy = Script(*([filter] for filter in (Filter("conv1", 0), Filter("conv1", 1), Filter("conv2", 0))))
        options = {"strategy": strategy, "mode": "max", "reference": reference, "warmup_steps": 0, "threshold": 0.97}
        return [trial.accepted for trial in run(score=lambda net: next(scores), **options).records]

    assert play("last") == [True, True, True]
    assert play("baseline") == [True, False, False]


def test_lower_is_better_for_a_loss() -> None:
    scores = iter([1.0, 1.01, 1.5])
    strategy = Script([Filter("conv1", 0)], [Filter("conv1", 1)])
    result = run(strategy=strategy, score=lambda net: next(scores), mode="min", warmup_steps=0, threshold=0.98)
    assert [trial.accepted for trial in result.records] == [True, False]
    assert result.records[0].ratio == pytest.approx(1 / 1.01)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"target": 6}, "target"),
        slow({"target": 0.8}, "target"),
        slow({"max_trials": 2}, "2 trials"),
        ({"max_seconds": 0}, "0 seconds"),
        ({"strategy": Script()}, "nothing left"),
    ],
)
def test_each_end(options: dict[str, Any], reason: str) -> None:
    result = run(
        strategy=options.pop("strategy", "sequential"), threshold=0.01, mode="max", score=lambda net: 1.0, **options
    )
    assert reason in result.summary.stopped
    if "target" in options:
        assert result.summary.after.filters == 6
    assert "The target is missed" not in result.summary.stopped


def test_a_target_that_is_missed_is_said_to_be() -> None:
    result = run(strategy="sequential", threshold=0.01, mode="max", score=lambda net: 1.0, target=3, max_trials=1)
    assert result.summary.stopped.startswith("The limit of 1 trials is reached. The target is missed: ")


@pytest.mark.parametrize("data", [(X, None), (X,), X])
def test_data_without_targets_are_told_what_to_do(data: Any) -> None:
    with pytest.raises(DataError, match=r"Expected training data as \(x, y\).*takes any, such as np.zeros"):
        minimize(classifier(), data, DATA, threshold=0.5, max_trials=1)


def test_interrupt_rolls_back_the_open_trial_and_returns_what_was_decided() -> None:
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if trials and len(trials) == 2:
                raise KeyboardInterrupt

        def on_trial_begin(self, number: int) -> None:
            trials.append(number)

    trials: list[int] = []
    result = run(strategy="sequential", score=lambda net: 1.0, mode="max", callbacks=[Interrupt()])
    assert [trial.accepted for trial in result.records] == [True]
    assert "Interrupted" in result.summary.stopped
    assert Switches(result.switched).disabled == result.records[0].filters


@pytest.mark.slow
def test_three_scores_that_are_not_finite_end_the_run() -> None:
    scores = iter([1.0, math.nan, math.inf, math.nan, 1.0])
    result = run(strategy="sequential", score=lambda net: next(scores), mode="max", warmup_steps=0)
    assert [trial.accepted for trial in result.records] == [False] * 3
    assert "not finite" in result.summary.stopped


def test_a_weight_that_is_not_finite_rejects_behind_a_finite_score() -> None:
    class Poison(keras.callbacks.Callback):
        def on_trial_begin(self, number: int) -> None:
            self.poisoned = True

        def on_train_end(self, logs: Any = None) -> None:
            if getattr(self, "poisoned", False):
                self.model.get_layer("conv2").bias.assign([0.0, math.nan, 0.0])

    result = run(strategy="sequential", score=lambda net: 1.0, mode="max", callbacks=[Poison()], max_trials=1)
    assert not result.records[0].accepted and math.isnan(result.records[0].score)
    assert all(np.isfinite(weight).all() for weight in result.model.get_weights())


@pytest.mark.slow
def test_an_adaptive_pace_splits_what_failed() -> None:
    bad = Filter("conv1", 2)

    def score(net: Any) -> float:
        return 0.1 if bad in Switches(net).disabled else 1.0

    result = run(strategy="sequential", score=score, mode="max", pace="adaptive", threshold=0.9)
    tried = [(trial.filters, trial.accepted, trial.split) for trial in result.records]
    assert ((bad,), False, False) in tried
    assert any(split for _, _, split in tried) and all(len(filters) > 1 for filters, _, split in tried if split)
    gone = Switches(result.switched).disabled
    assert bad not in gone and len(gone) == 5 - (Filter("conv1", 3) not in gone)


def test_warm_up_ends_early_when_the_score_stagnates() -> None:
    result = run(score=lambda net: 1.0, mode="max", warmup_steps=50, warmup_patience=2, max_trials=0)
    assert result.warmup == ((5, 1.0), (10, 1.0), (15, 1.0))


@pytest.mark.slow
def test_early_stopping_ends_the_warm_up_and_the_final_training(tmp_path: Path) -> None:
    class Once(keras.callbacks.EarlyStopping):  # type: ignore[misc]
        begun = 0

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            self.begun += 1

    def called() -> tuple[Any, Any]:
        early = Once("val_loss", patience=1, min_delta=1000.0)  # two epochs of three batches; never better
        arguments = {"score": "accuracy", "threshold": 0.01, "warmup_steps": 40, "steps": 2, "max_trials": 1}
        return run(callbacks=[early], preset="default", final_steps=30, run_dir=tmp_path, **arguments), early

    result, early = called()
    assert [step for step, _ in result.warmup] == [4, 6]
    assert result.baseline == result.warmup[-1][1] and result.summary.steps == 6 + result.records[0].steps + 6
    assert early.begun == 2 + (result.records[0].steps > 0)
    again, early = called()
    assert early.begun == 0 and str(again.summary) == str(result.summary)
    for one, other in zip(result.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_several_scores_guard_a_cut_and_are_kept_bit_for_bit(tmp_path: Path) -> None:
    def second(net: Any) -> float:
        """Falls under its threshold with the second filter that goes."""
        return 1.0 - 0.1 * len(Switches(net).disabled) / 3

    options = {"strategy": "sequential", "threshold": {"first": 0.5, "second": 0.95}, "mode": "max", "max_trials": 3,
               "reference": "baseline"}  # fmt: skip

    def first(net: Any) -> float:
        return 1.0

    result = run(score=[first, second], run_dir=tmp_path, **options)
    assert [trial.accepted for trial in result.records] == [True, False, False]
    assert [trial.ratio for trial in result.records] == [1.0, 1.0, 1.0]
    assert [trial.guards["second"] for trial in result.records] == [1 - 0.1 / 3, 1 - 0.2 / 3, 1 - 0.2 / 3]
    assert result.trials["guard second"].tolist() == [trial.guards["second"] for trial in result.records]
    again = run(score=[first, second], run_dir=tmp_path, **{**options, "max_trials": 4})
    assert again.records[:3] == result.records and not again.records[3].accepted
    alone = run(score=first, strategy="sequential", mode="max", max_trials=3)
    assert all(trial.accepted for trial in alone.records) and alone.records[0].guards == {}
    moving = run(score=[first, second], **{**options, "reference": "last"})
    assert [trial.accepted for trial in moving.records] == [True, True, True]


def test_endless_data_need_a_number_of_batches() -> None:
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(DATA).batch(16)
    limits = {"validation_steps": 2, "test_steps": 1}
    options = {"steps": 2, "max_trials": 1, "final_steps": 0, "seed": 1, "verbose": 0}
    endless = minimize(classifier(), DATA, data.repeat(), test_data=data.repeat(), **limits, **options)
    finite = minimize(classifier(), DATA, data.take(2), test_data=data.take(1), **options)
    assert str(endless.summary) == str(finite.summary) and endless.summary.before.score is not None
    with pytest.raises(DataError, match=r"test data never end.*test_steps="):
        minimize(classifier(), DATA, DATA, test_data=data.repeat(), **options)
    with pytest.raises(OptionError, match="test_steps only together with test_data"):
        minimize(classifier(), DATA, DATA, test_steps=1, **options)


@pytest.mark.slow
def test_latency_is_measured_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = [Timing(4.0, 3.0, 5.0), Timing(1.0, 0.5, 2.0)]
    monkeypatch.setattr("shrinknet.loop.result.measured_latencies", lambda models, sample, input_shape: timings)
    summary = run(max_trials=0).summary
    assert (summary.before.latency_ms, summary.after.latency_high_ms) == (4.0, 2.0)
    assert "25.0%" in str(summary) and "Half of the measured latencies: 3 to 5 ms, then 0.5 to 2 ms." in str(summary)
    assert Summary.from_dict(json.loads(json.dumps(summary.to_dict()))) == summary
    timings[1] = Timing(2.0, 1.0, 3.5)
    summary = run(max_trials=0).summary
    assert summary.latency_is_noise and "within noise" in str(summary) and "50.0%" not in str(summary)
    monkeypatch.setattr("shrinknet.loop.result.measured_latencies", lambda *_, **__: pytest.fail("measured"))
    assert run(max_trials=0, latency=False).summary.after.latency_ms is None


def test_data_of_unknown_length_can_be_trained_on() -> None:
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(DATA).batch(16).filter(lambda x, y: True)
    model = classifier()
    result = minimize(model, data, DATA, warmup_steps=4, steps=2, max_trials=1, final_steps=0, seed=1, verbose=0)
    assert len(result.records) == 1


def test_the_user_s_model_is_left_alone() -> None:
    model = classifier()
    before = [variable.numpy().copy() for variable in model.variables]
    run(model, strategy="random", max_trials=2)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.variables, strict=True))
    assert not any(isinstance(layer, Switchboard) for layer in model._flatten_layers())


def test_filters_frozen_by_the_user_are_no_candidates() -> None:
    from shrinknet import switched

    net = switched(classifier())
    Switches(net).freeze(Filter("conv1", 0), Filter("conv1", 1))
    result = run(net, strategy="sequential", score=lambda net: 1.0, mode="max")
    assert Switches(result.switched).disabled[:1] == (Filter("conv1", 2),)
    assert result.model.get_layer("conv1").filters == 2


def test_the_control_is_the_uncut_network_trained_on_the_same_batches() -> None:
    result = run(strategy="sequential", score=lambda net: 1.0, mode="max", max_trials=2, control=True, steps=0)
    assert result.control.count_params() == result.uncut.count_params()
    np.testing.assert_array_equal(result.control(X), result.uncut(X))
    assert result.summary.control_score == 1.0
    trained = run(strategy="sequential", score=lambda net: 1.0, mode="max", max_trials=2, control=True)
    assert np.abs(trained.control(X) - trained.uncut(X)).max() > 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_in_two_processes() -> None:
    code = textwrap.dedent(
        """
        import hashlib, json, sys
        sys.path.insert(0, "tests")
        import shrinknet.loop.result
        from tiny_runs import run
        shrinknet.loop.result.measured_latencies = lambda models, *_, **__: [None] * len(models)
        result = run(strategy="random", pace="adaptive", max_trials=4, threshold=0.5)
        weights = hashlib.sha256(b"".join(w.tobytes() for w in result.model.get_weights())).hexdigest()
        trials = [[str(t.filters), t.score.hex(), t.accepted] for t in result.records]
        print(json.dumps([weights, trials]))
        """
    )
    outputs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        for _ in range(2)
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0])[1]) >= 3


# Bad input: one clear sentence each, and nothing is lost.

CONV = [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, name="only"), keras.layers.Flatten()]


def _uncompiled() -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(1)], name="raw")


def _without_filters() -> Any:
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)], name="flat")
    model.compile("sgd", "mse")
    return model


def _not_finite() -> Any:
    model = classifier()
    model.get_layer("conv1").bias.assign([0, math.nan, 0, 0])
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: keras.Sequential([keras.layers.Dense(2)], name="unbuilt"), "unbuilt is not built.*keras.Input"),
        (lambda: "small.keras", "Expected a compiled Keras model; received str"),
        (_uncompiled, "raw is not compiled.*model.compile"),
        (_without_filters, "no filters that can be cut.*dense.*output"),
        (_not_finite, "conv1/bias.*not all finite"),
    ],
)
def test_models_that_cannot_be_used(model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        run(model())


BAD = np.where(np.arange(48)[:, None, None, None] == 3, np.nan, X)


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ((X[:0], Y[:0]), DATA, "training data are empty.*length 0"),
        (DATA, (X[:0], Y[:0]), "validation data are empty"),
        ((X, Y[:5]), DATA, "same number of samples.*48.*5"),
        ((BAD, Y), DATA, "training data contain 64 numbers that are not finite"),
        (
            DATA,
            (X, np.where(np.arange(48) == 1, np.inf, Y[:, 0])),
            "validation data contain 1 numbers that are not finite",
        ),
        (X, DATA, "training data as .x, y.*ndarray"),
        (None, DATA, "training data as .x, y.*NoneType"),
        (DATA, iter([DATA]), "validation data are a generator"),
        ((X, np.tile(Y, 2)), DATA, "targets have shape .2,.*output has .1,.*broadcast"),
        (DATA, (X[:, :4], Y), r"shape .8, 8, 1. in the validation data.*received .4, 8, 1."),
        ((np.full((48, 8, 8, 1), "a"), Y), DATA, "Expected numbers in the training data"),
        (((X[:4], Y[:4]) for _ in range(3)), DATA, "ended after 3 batches.*while True"),
    ],
)
def test_data_that_cannot_be_used(train: Any, validation: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        minimize(classifier(), train, validation, preset="thesis", warmup_steps=10, steps=2, verbose=0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.eye(3)[Y[:, 0].astype(int)], r"shape .3,. per sample.*class indices.*categorical_crossentropy"),
        (Y + 2, "contain class 3.0; the model's output has 0 to 2"),
        (Y - 1, "contain class -1.0"),
    ],
)
def test_invalid_class_numbers(targets: Any, message: str) -> None:
    kinds = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), kinds.Flatten(), kinds.Dense(4), kinds.Dense(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(DataError, match=message):
        minimize(model, (X, targets), DATA, warmup_steps=1, steps=1, verbose=0)
    with pytest.raises(DataError, match=message):
        minimize(model, DATA, (X, targets), warmup_steps=1, steps=1, verbose=0)


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return X[index::3], Y[index::3]


def _tf_data() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)


@pytest.mark.parametrize("data", [_tf_data, slow(Batches)])
def test_batches_are_taken_from_whatever_gives_them(data: Any) -> None:
    options: dict[str, Any] = {
        "score": lambda net: 1.0,
        "mode": "max",
        "preset": "thesis",
        "warmup_steps": 7,
        "steps": 4,
        "max_trials": 2,
        "verbose": 0,
    }
    result = minimize(classifier(), data(), data(), strategy="sequential", **options)
    assert [trial.accepted for trial in result.records] == [True, True]
    assert int(result.switched.optimizer.iterations) == 4
    assert result.summary.after.multiply_adds < result.summary.before.multiply_adds


def test_a_generator_that_runs_dry_in_a_trial_rolls_back_and_keeps_what_was_decided() -> None:
    batches = ((X[:4], Y[:4]) for _ in range(8))
    result = minimize(
        classifier(),
        batches,
        DATA,
        score=lambda net: 1.0,
        mode="max",
        preset="thesis",
        strategy="sequential",
        warmup_steps=2,
        steps=5,
    )
    assert [trial.accepted for trial in result.records] == [True]
    assert "ended after 8 batches" in result.summary.stopped
    assert Switches(result.switched).disabled == result.records[0].filters


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "f7"}, ScoreError, "no score named 'f7'.*loss.*accuracy|accuracy.*loss"),
        ({"score": lambda net: 1.0}, ScoreError, "higher '<lambda>' is better.*mode='max'"),
        ({"mode": "up"}, ScoreError, "mode.*'up'"),
        ({"score": lambda net: 0.0, "mode": "max"}, ScoreError, "positive score.*received 0.0.*zero"),
        ({"score": lambda net: -1.0, "mode": "max"}, ScoreError, "positive score.*received -1.0.*negative"),
        ({"score": lambda net: math.nan, "mode": "max"}, ScoreError, "received nan.*not a finite number"),
        ({"threshold": 0.0}, OptionError, r"threshold in \(0, 1\].*received 0.0"),
        ({"threshold": 1.5}, OptionError, "received 1.5"),
        ({"threshold": math.nan}, OptionError, "received nan"),
        ({"reference": "first"}, OptionError, "'last' or 'baseline'.*'first'"),
        ({"pace": "fast"}, OptionError, "pace.*'fast'"),
        ({"pace": 0}, OptionError, "pace.*0"),
        ({"target": 1.5}, OptionError, "target.*1.5"),
        ({"steps": -1}, OptionError, "steps.*-1"),
        ({"min_filters": -1}, OptionError, "min_filters.*-1"),
        ({"threshold": "0.9"}, OptionError, "received '0.9'"),
        ({"steps": 1.5}, OptionError, "steps to be a whole number.*1.5"),
        ({"batch_size": 0}, OptionError, "batch_size.*at least 1.*received 0"),
        ({"seed": "a"}, OptionError, "seed to be a whole number.*'a'"),
        ({"callbacks": object()}, OptionError, "callbacks to be a list; received object"),
        ({"callbacks": [3]}, OptionError, "on_trial_begin.*received 3"),
        ({"trial_optimizer": {}}, OptimizerError, "trial_optimizer.*received {}"),
        ({"trial_optimizer": math.nan}, OptimizerError, "learning rate above 0 for the trials; received nan"),
        ({"trial_optimizer": -1}, OptimizerError, "received -1"),
        ({"strategy": "cosine-maximum"}, StrategyError, "cosine-maximum.*cosine-max"),
        ({"strategy": Script([Filter("conv1", 0)] * 2), "pace": 2}, StrategyError, "conv1.0..*twice"),
        ({"strategy": Script([Filter("conv9", 0)])}, StrategyError, "conv9"),
        ({"strategy": Script([Filter("conv1", 9)])}, StrategyError, "conv1.9.*does not exist"),
        ({"strategy": Script([Filter("out", 0)])}, StrategyError, "out.0."),
        ({"strategy": Script([Filter("conv1", 0)], [Filter("conv1", 0)])}, StrategyError, "already disabled"),
        ({"strategy": Script([Filter("conv1", 0)]), "min_filters": 4}, StrategyError, "last filters of its layer"),
        ({"strategy": Script("conv1")}, StrategyError, "answered 'conv1'"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], error: type[Exception], message: str) -> None:
    options = {"score": lambda net: 1.0, "mode": "max", **options} if "strategy" in options else options
    with pytest.raises(error, match=message):
        run(**{"warmup_steps": 2, "steps": 1, **options})


@pytest.mark.slow
def test_the_first_compiled_metric_is_the_score_and_else_the_loss() -> None:
    assert run(max_trials=0).summary.before.validation_score == pytest.approx(
        run(max_trials=0, score="accuracy").baseline
    )
    model = classifier(metrics=())
    assert run(model, max_trials=0).baseline == pytest.approx(run(classifier(), score="loss", max_trials=0).baseline)


def test_a_run_folder_holds_what_the_page_needs(tmp_path: Any) -> None:
    from shrinknet import write_page
    from shrinknet.runs.store import RunStore

    result = run(strategy="random", max_trials=3, threshold=0.5, run_dir=tmp_path / "run")
    store = RunStore(tmp_path / "run")
    assert store.trials() == result.records
    assert store.read_json("run")["summary"] == result.summary.to_dict()
    arrays = store.read_arrays("kernels")
    assert arrays["after/conv1"].shape == (3, 3, 1, 4)
    slim = keras.models.load_model(tmp_path / "run" / "slim.keras")
    np.testing.assert_array_equal(slim(X), result.model(X))
    assert "conv1" in write_page(tmp_path / "run").read_text()
