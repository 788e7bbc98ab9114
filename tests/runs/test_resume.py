"""An interrupted run resumes where it stopped, ends in the same bits, and refuses what would change them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import crashing
import keras
import numpy as np
import pytest
import tiny_runs
from crashing import Killed, Sums, bits, journal, story
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marking import slow

import shrinknet.runs.fingerprint
import shrinknet.runs.journal
from shrinknet import load_strategy, minimize, switched
from shrinknet.engine.data import read_data
from shrinknet.errors import OptionError, RunError, StrategyError
from shrinknet.filters import Filter
from shrinknet.loop.pace import make_pace
from shrinknet.loop.proposals import ByCount
from shrinknet.network.checkpoint import from_arrays, to_arrays
from shrinknet.runs.folder import FolderRecorder
from shrinknet.runs.generations import Generations
from shrinknet.runs.lock import RunLock, refuse_if_held
from shrinknet.runs.resume import read_saved
from shrinknet.runs.signals import uninterrupted
from shrinknet.runs.store import RunStore


class Stop(keras.callbacks.Callback):
    """Simulates the end of the process in the given epoch of the run."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.fixture(scope="module")
def whole() -> Any:
    """The tiny run, uninterrupted."""
    return story(None)


def interrupted(folder: pathlib.Path, trainings: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A tiny run that is killed in the middle of its training number `trainings`."""
    left, train = [trainings], Sums.train

    def killed(self: Sums, steps: int, trial: int, start: int = 0, total: int | None = None) -> int:
        left[0] -= 1
        done = train(self, steps if left[0] else 1, trial, start, total)
        if not left[0]:
            raise Killed
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Sums, "train", killed)
        with pytest.raises(Killed):
            story(folder, **options)


# -- the same bits


@pytest.fixture(scope="module")
def expected() -> Any:
    """The final bits of runs with real training, each computed once."""

    @functools.cache
    def bits_of(make: Any, trials: int) -> str:
        return bits(_minimized(None, make, max_trials=trials))

    return bits_of


@pytest.mark.parametrize("epoch", [slow(2), slow(5), slow(9)])
def test_dropout_and_batch_normalisation_on_arrays(epoch: int, expected: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(Killed):
        _minimized(tmp_path / "run", callbacks=[Stop(epoch)])
    assert bits(_minimized(tmp_path / "run", callbacks=[Stop(-1)])) == expected(_arrays, 3)


def _arrays() -> Any:
    return tiny_runs.DATA


def _minimized(folder: pathlib.Path | None, make: Any = _arrays, **options: Any) -> Any:
    settings = {"strategy": "random", "max_trials": 3, "threshold": 0.5, "control": True}
    options = {"warmup_steps": 4, "steps": 3, "seed": 1, "batch_size": 12, "verbose": 0, **settings, **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shrinknet.loop.result.measured_latencies", lambda models, *_, **__: [None] * len(models))
        return minimize(tiny_runs.classifier(), make(), make(), run_dir=folder, **options)


KEPT = pytest.mark.tensorflow("the tiny run keeps three cuts, with its random numbers")


@pytest.mark.parametrize(
    "trainings",
    [
        slow(1),
        slow(3),
        slow(4),
        slow(6),
        8,
        pytest.param(9, marks=[KEPT, pytest.mark.slow]),
        pytest.param(11, marks=KEPT),
    ],
)
def test_killed_in_any_phase(
    trainings: int, whole: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path / "run", trainings, monkeypatch)
    decided = len(journal(tmp_path / "run"))
    assert decided == min(max(0, trainings - 4), 5)  # three parts of the warm-up, five trials, the control
    done: list[int] = []
    train = Sums.train

    def counted(self: Sums, steps: int, trial: int, start: int = 0, total: int | None = None) -> int:
        done.append(trial)
        return train(self, steps, trial, start, total)

    monkeypatch.setattr(Sums, "train", counted)
    assert bits(story(tmp_path / "run")) == bits(whole)
    accepted = sum(trial.accepted for trial in whole.records)
    assert len(done) == 3 + 5 + accepted - (trainings - 1)  # only the killed training is repeated


def test_a_moved_run_resumes(whole: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "here", 6, monkeypatch)
    (tmp_path / "here").rename(tmp_path / "there")
    assert bits(story(tmp_path / "there")) == bits(whole)


def test_a_finished_run_answers_without_training(
    whole: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = story(tmp_path / "run")
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != "lock"}
    for name in ("train", "evaluate"):
        monkeypatch.setattr(Sums, name, lambda *arguments: pytest.fail("trained or measured"))
    again = story(tmp_path / "run")
    assert bits(again) == bits(first) == bits(whole)
    assert again.control is not None and again.summary == first.summary
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != "lock"}


def test_a_run_that_was_interrupted_by_the_user_resumes(whole: Any, tmp_path: pathlib.Path) -> None:
    class Interrupt:
        def on_trial_begin(self, number: int) -> None:
            if number == 3:
                raise KeyboardInterrupt

    first = story(tmp_path / "run", callbacks=[Interrupt()])
    assert len(first.records) == 2 and "Interrupted" in first.summary.stopped
    assert first.control is None  # it would take as long again
    assert bits(story(tmp_path / "run")) == bits(whole)


def test_the_time_that_a_run_has_taken_counts(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_seconds": 1e6, "control": False}
    interrupted(tmp_path / "run", 6, monkeypatch, **options)
    seconds = iter(range(0, 10**9, 400_000))
    monkeypatch.setattr("shrinknet.loop.notebook.time.monotonic", lambda: float(next(seconds)))
    assert "1e+06 seconds" in story(tmp_path / "run", **options).summary.stopped


def test_a_score_that_is_not_finite_is_kept_exactly(tmp_path: pathlib.Path) -> None:
    store = RunStore(tmp_path / "run", create=True)
    trial = crashing.story(None, max_trials=1).records[0]
    for number, ratio in enumerate((float("inf"), float("-inf"), float("nan"), 0.1), 1):
        store.append(type(trial)(**{**_fields(trial), "number": number, "ratio": ratio}))
    assert [str(trial.ratio) for trial in store.trials()] == ["inf", "-inf", "nan", "0.1"]


def _fields(trial: Any) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in type(trial).__dataclass_fields__}


@given(st.lists(st.booleans(), max_size=30), st.sampled_from(["adaptive", "one", 3]))
def test_a_pace_that_was_told_the_same_continues_the_same(verdicts: list[bool], spec: Any) -> None:
    filters = tuple(Filter("conv", index) for index in range(12))
    pace, kept, told = make_pace(spec, has_goals=True, decides=True), set(), []
    for accepted in verdicts:
        left = [filter for filter in filters if filter not in kept]
        batch = pace.next(ByCount(lambda count, left=left: tuple(left[:count])), left)
        again = make_pace(spec, has_goals=True, decides=True)
        for earlier in told:
            again.tell(*earlier)
        assert again.next(ByCount(lambda count, left=left: tuple(left[:count])), left) == batch
        if not batch:
            return
        pace.tell(batch, accepted)
        told.append((batch, accepted))
        kept |= set(batch) if accepted else set()


# -- streams


def _dataset(**shuffle: Any) -> Any:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(tiny_runs.DATA)
    return data.shuffle(48, **shuffle).batch(10)


def _seeded() -> Any:
    return _dataset(seed=3)


class Sequence(keras.utils.PyDataset):
    """Batches in an order that changes from epoch to epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(2)
        self.rows = np.arange(48)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        rows = self.rows[index * 12 : index * 12 + 12]
        noise = self.random.normal(size=(12, 8, 8, 1)).astype("float32") / 10
        return tiny_runs.X[rows] + noise, tiny_runs.Y[rows]

    def on_epoch_end(self) -> None:
        self.random.shuffle(self.rows)


@pytest.mark.tensorflow("a tf.data pipeline")
@pytest.mark.parametrize("make", [slow(_seeded), slow(Sequence)], ids=["tf.data", "PyDataset"])
def test_a_stream_is_taken_on_from_the_same_batch(make: Any, expected: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(Killed):
        _minimized(tmp_path / "run", make, callbacks=[_Last(2)])
    assert len(journal(tmp_path / "run")) == 1
    assert bits(_minimized(tmp_path / "run", make, callbacks=[_Last(-1)])) == expected(make, 3)


@pytest.mark.slow
@pytest.mark.tensorflow("a tf.data pipeline")
def test_the_warm_up_is_taken_on_from_the_same_batch(
    expected: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warming, told = FolderRecorder.warming, list[int]()

    def killed(self: FolderRecorder, snapshot: Any, arrays: Any) -> None:
        warming(self, snapshot, arrays)
        told.append(snapshot.warmup[-1][0])
        if len(told) == 2:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FolderRecorder, "warming", killed)
        _minimized(tmp_path / "run", _seeded)
    assert told == [1, 2]  # of four steps
    assert bits(_minimized(tmp_path / "run", _seeded, callbacks=[Stop(-1)])) == expected(_seeded, 3)


class _Last:
    """Kills the run at the start of a trial, after the previous one was decided."""

    def __init__(self, trial: int) -> None:
        self.trial = trial

    def on_trial_begin(self, number: int) -> None:
        if number == self.trial:
            raise Killed


def _generator() -> Any:
    while True:
        yield tiny_runs.X[:12], tiny_runs.Y[:12]


@pytest.mark.tensorflow("a tf.data pipeline")
@pytest.mark.parametrize(
    ("train", "message"),
    [
        (_generator, "training data are a generator"),
        (_dataset, r"training data are shuffled without a seed: write shuffle\(\.\.\., seed=1\)"),
        (_seeded, None),
        (lambda: tiny_runs.DATA, None),
    ],
    ids=["generator", "unseeded", "seeded", "arrays"],
)
def test_what_cannot_be_repeated_is_said_when_the_run_starts(
    train: Any, message: str | None, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    tf.random.set_seed(None)
    feeds = [read_data(train(), 12, "training data"), read_data(tiny_runs.DATA, 12, "validation data")]
    shrinknet.runs.fingerprint.identity(tiny_runs.classifier(), feeds, None)
    assert re.search(message, caplog.text) if message else not caplog.records


# -- what is refused


def _other_model(change: str) -> Any:
    net = crashing.model()
    if change == "weights":
        net.get_layer("first").bias.assign([0.0, 0.0, 0.0, 1.0])
    elif change == "optimizer":
        net.compile(keras.optimizers.SGD(0.2, momentum=0.9), "mse")
    elif change == "layers":
        net.get_layer("second").activation = keras.activations.relu
    elif change == "names":
        config = net.get_config()
        config["layers"][1]["config"]["name"] = "another"
        net = keras.Sequential.from_config(config)
        net.set_weights(crashing.model().get_weights())
        net.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    elif change == "loss":
        net.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mae")
    return net


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a run that was killed in its second trial."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupted(folder, 5, patch)
    return folder


@pytest.fixture
def folder(begun: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it."""
    return pathlib.Path(shutil.copytree(begun, tmp_path / "run"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3}, "steps: was 2, now 3"),
        ({"threshold": 0.5}, "threshold: was 0.9, now 0.5"),
        ({"seed": 5}, "seed: was 4, now 5"),
        ({"strategy": "sequential"}, "strategy: was random, now sequential"),
        ({"pace": "one"}, "pace: was adaptive, now one"),
        ({"score": "loss"}, "score: was None, now loss"),
        ({"control": False}, "control: was True, now False"),
        ({"steps": 3, "batch_size": 6}, "steps: was 2, now 3; batch_size: was 4, now 6"),
    ],
)
def test_another_configuration_is_refused(options: dict[str, Any], message: str, folder: pathlib.Path) -> None:
    with pytest.raises(
        RunError, match=rf"started with other settings, model or data: {message}\. Use the same.*--force"
    ):
        story(folder, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weights", "weights: was [0-9a-f]{16}, now [0-9a-f]{16}"),
        ("optimizer", 'optimizer: was SGD.*"learning_rate": 0.1.*, now SGD.*"learning_rate": 0.2'),
        ("layers", "layers: was [0-9a-f]{16}, now [0-9a-f]{16}"),
        ("names", "layers with filters: was first second out, now another second out"),
        ("loss", "loss: was mse, now mae"),
    ],
)
def test_another_model_is_refused(
    change: str, message: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _other_model(change)
    monkeypatch.setattr(crashing, "model", lambda: other)
    with pytest.raises(RunError, match=f"started with other settings, model or data: {message}"):
        story(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"warmup_patience": 2}, {"warmup_patience": 4}),
        ({"strategy": ("norm-l1", {"patience": 1})}, {"strategy": ("norm-l1", {"patience": 9})}),
        ({"strategy": ("norm-l1", {"patience": 1})}, {"strategy": "norm-l1"}),
        (
            {"strategy": lambda: load_strategy("norm-l1", patience=1)},
            {"strategy": lambda: load_strategy("norm-l1", patience=9)},
        ),
    ],
)
@pytest.mark.slow
def test_patience_may_change(before: dict[str, Any], after: dict[str, Any], tmp_path: pathlib.Path) -> None:
    options = {"run_dir": tmp_path / "run", "threshold": 1.0, "warmup_steps": 4, "steps": 1, "latency": False}

    def run(**given: Any) -> Any:
        made = {name: value() if callable(value) else value for name, value in given.items()}
        return tiny_runs.run(**options, **made)

    first = run(**before, max_trials=1)
    began = (tmp_path / "run" / "run.json").read_bytes()
    assert run(**after, max_trials=1).records == first.records
    assert "strategy" in after or (tmp_path / "run" / "run.json").read_bytes() == began  # it answered at once
    assert run(**after, max_trials=3).records[:1] == first.records


def test_other_data_are_refused_unless_they_are_meant(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crashing, "Y", crashing.Y + 1)
    with pytest.raises(RunError, match=r"training data: was 12 samples, float32.*sha256 \w+, now 12 samples"):
        story(folder)
    assert len(story(folder, new_data=True).records) == 5


def test_names_that_keras_gives_do_not_count(folder: pathlib.Path) -> None:
    for _ in range(3):
        keras.Input((3,))  # the next input layer has another name
    assert len(story(folder).records) == 5


def test_another_environment_is_a_warning_and_refused_if_strict(
    folder: pathlib.Path, whole: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = shrinknet.runs.fingerprint.of_environment()
    monkeypatch.setattr("shrinknet.runs.folder.of_environment", lambda: {**here, "numpy": "9.9"})
    with pytest.raises(RunError, match=rf"another environment.*numpy: was {np.__version__}, now 9.9.*--strict"):
        story(folder, strict=True)
    assert bits(story(folder)) == bits(whole)
    assert "started in another environment, so its last bits may differ: numpy: " in caplog.text


def test_the_environment_says_what_bits_depend_on() -> None:
    found = shrinknet.runs.fingerprint.of_environment()
    assert {"keras", "numpy", "machine", "processor", "backend"} <= set(found)
    if found["backend"] == "tensorflow":
        assert {"tensorflow", "threads", "oneDNN", "devices"} <= set(found)


@pytest.mark.slow
def test_force_sets_another_run_aside(folder: pathlib.Path, whole: Any) -> None:
    before = journal(folder)
    other = story(folder, force=True, steps=3)
    assert bits(other) == bits(story(None, steps=3))
    beside = folder.with_name("run.old1")
    assert journal(beside) == before and len(before) == 1
    assert bits(story(beside)) == bits(whole)  # it resumes there
    again = story(folder, force=True, steps=3)  # the same run is not another run
    assert bits(again) == bits(other) and not folder.with_name("run.old2").exists()


@pytest.mark.slow
def test_a_seed_that_was_drawn_is_kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "run", 5, monkeypatch, seed=None)
    seed = RunStore(tmp_path / "run").read_json("run")["config"]["seed"]
    assert bits(story(tmp_path / "run", seed=None)) == bits(story(None, seed=seed))
    (tmp_path / "run" / "run.json").write_text("lost")
    assert story(tmp_path / "run", seed=None).records  # the checkpoint has it too


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "cat.png").write_bytes(b"cat")
    with pytest.raises(RunError, match="contains other files"):
        story(tmp_path / "photographs")
    assert [path.name for path in (tmp_path / "photographs").iterdir()] == ["cat.png"]


def test_a_name_that_no_disk_takes_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match=r"could not be written: File name too long"):
        story(tmp_path / ("n" * 300))
    with pytest.raises(RunError, match=r"not a run folder.*found nothing"):
        RunStore(tmp_path / ("n" * 300))
    with pytest.raises(StrategyError, match="does not exist"):
        load_strategy("n" * 300 + ".py")


def test_mistakes_are_told_before_a_folder_is_made(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OptionError):
        story(tmp_path / "run", threshold=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.tensorflow("only there XLA is measured")
def test_what_was_decided_about_xla_stays(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shrinknet.engine.tensorflow import TensorFlowEngine

    with pytest.raises(Killed):
        _minimized(tmp_path / "run", callbacks=[Stop(1)], max_trials=0)
    monkeypatch.setattr(TensorFlowEngine, "decide_xla", lambda *arguments: pytest.fail("measured again"))
    assert _minimized(tmp_path / "run", callbacks=[Stop(-1)], max_trials=0).records == ()


# -- damage


def flip(path: pathlib.Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def newest(folder: pathlib.Path) -> pathlib.Path:
    """The newer one of the two checkpoints."""
    return max(folder.glob("state-?.npz"), key=lambda path: path.stat().st_mtime_ns)


def test_the_older_checkpoint_stands_in_for_a_damaged_one(
    folder: pathlib.Path, whole: Any, caplog: pytest.LogCaptureFixture
) -> None:
    flip(newest(folder))
    assert bits(story(folder)) == bits(whole)
    assert re.search(r"state-\d.npz is damaged.*continues from what is intact", caplog.text)
    assert "The journal has 1 trials, the checkpoint 0: the others are repeated" in caplog.text


def test_two_damaged_checkpoints_are_refused_or_set_aside(folder: pathlib.Path, whole: Any) -> None:
    for path in folder.glob("state-?.npz"):
        flip(path)
    with pytest.raises(RunError, match=r"Both checkpoints in .* are damaged.*--force"):
        story(folder)
    assert bits(story(folder, force=True)) == bits(whole)
    assert folder.with_name("run.old1").is_dir()


def test_a_first_checkpoint_that_is_damaged_costs_what_it_held(
    tmp_path: pathlib.Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path / "run", 2, monkeypatch)
    assert [path.name for path in tmp_path.glob("run/state-?.npz")] == ["state-1.npz"]
    flip(tmp_path / "run" / "state-1.npz")
    assert bits(story(tmp_path / "run")) == bits(whole)


@pytest.mark.parametrize("name", ["journal.db", "run.json", "warm-0.npz", "warm-1.npz", "uncut.keras"])
def test_what_is_kept_twice_is_repaired(
    name: str, folder: pathlib.Path, whole: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / name).write_bytes(b"damaged")
    assert bits(story(folder)) == bits(whole)
    assert journal(folder) == journal_of(whole)
    if name != "uncut.keras":  # it is only for users, and is rewritten
        assert f"{name} is damaged" in caplog.text
    assert RunStore(folder).read_json("run")["summary"] == whole.summary.to_dict()


def journal_of(result: Any) -> list[dict[str, Any]]:
    return [crashing.untimed(trial) for trial in result.records]


def test_the_state_after_the_warm_up_cannot_be_had_again(folder: pathlib.Path) -> None:
    for path in folder.glob("warm-?.npz"):
        path.write_bytes(b"damaged")
    with pytest.raises(RunError, match="state after the warm-up is lost"):
        story(folder)


@pytest.mark.parametrize(
    "name",
    ["slim.keras", *map(slow, ("switched.keras", "uncut.keras")), pytest.param("control-0.npz", marks=KEPT)],
)
def test_files_of_a_finished_run_are_rewritten(name: str, tmp_path: pathlib.Path, whole: Any) -> None:
    story(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    assert bits(story(tmp_path / "run")) == bits(whole)
    assert (tmp_path / "run" / name).exists() or name.startswith("control")


def test_a_journal_of_another_run_is_refused(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    story(tmp_path / "other", seed=9)
    shutil.copy(tmp_path / "other" / "journal.db", folder)
    with pytest.raises(RunError, match="contain different trials, so they belong to two runs"):
        story(folder)


@pytest.mark.parametrize("rows", [0, 1], ids=["a row short", "in step"])
def test_the_checkpoint_leads_the_journal(rows: int, folder: pathlib.Path, whole: Any) -> None:
    store = RunStore(folder)
    store.journal.replace(store.trials()[:rows])
    assert bits(story(folder)) == bits(whole)
    assert journal(folder) == journal_of(whole)


# -- files that are complete, but contain something else

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=5), values, max_size=3)),
    max_leaves=5,
)
PARTS = ["run", "warmup", "baseline", "trials", "position", "engine", "results", "elapsed", "generation"]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.sampled_from(PARTS), value=JSON, inside=st.booleans())
def test_a_checkpoint_of_anything_is_read_or_a_typed_error(
    begun: pathlib.Path, tmp_path_factory: pytest.TempPathFactory, part: str, value: Any, inside: bool
) -> None:
    store = RunStore(tmp_path_factory.getbasetemp() / "anything", create=True)
    members = RunStore(begun).read_arrays(newest(begun).name)
    facts = json.loads(members["facts"].tobytes())
    old = facts[part]
    facts[part] = {**old, next(iter(old)): value} if inside and isinstance(old, dict) and old else value
    members["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    store.write_arrays(newest(begun).stem, members)
    with contextlib.suppress(RunError):
        saved = read_saved(store, Generations(store, "state"))
        assert saved is None or isinstance(saved.snapshot.trials, tuple)


@settings(max_examples=50, deadline=None)
@given(st.lists(JSON | st.dictionaries(st.sampled_from(["number", "filters", "score", "x"]), JSON), min_size=1))
def test_a_journal_of_anything_is_read_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, rows: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "rows"
    store = RunStore(folder, create=True)
    before = ""
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection, connection:
        for number, row in enumerate(rows, 1):
            record = json.dumps(row)
            before = shrinknet.runs.journal._digest(number, before, record)
            connection.execute("INSERT INTO trials VALUES (?, ?, ?)", (number, record, before))
        connection.execute("UPDATE head SET row = ?, digest = ?", (len(rows), before))
    try:
        with contextlib.suppress(RunError):
            assert len(store.trials()) == len(rows)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("change", ["missing", "shape", "type", "more"])
def test_the_state_of_another_network_is_refused(change: str) -> None:
    net = switched(crashing.model())
    arrays = to_arrays(net)
    name = next(iter(arrays))
    if change == "missing":
        del arrays[name]
    else:
        array = arrays[name]
        arrays[name if change != "more" else "x"] = array.astype("float64") if change == "type" else array[:1]
    with pytest.raises(RunError, match="checkpoint belongs to another network"):
        from_arrays(net, arrays)


# -- one writer


HOLD = (
    "import sys, time; from shrinknet.runs.lock import RunLock; lock = RunLock(sys.argv[1]); print('held', flush=True)"
)


def holder(folder: pathlib.Path, then: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HOLD}; {then}", str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_name_of_the_first(folder: pathlib.Path) -> None:
    process = holder(folder)
    try:
        who = rf"being written by process {process.pid} on {re.escape(socket.gethostname())} since 20"
        with pytest.raises(RunError, match=who):
            story(folder)
        with pytest.raises(RunError, match=who):
            RunLock(folder)
        with pytest.raises(RunError, match=who):
            refuse_if_held(folder)
    finally:
        end(process)


def test_the_lock_of_a_dead_process_is_taken_over(folder: pathlib.Path, whole: Any) -> None:
    process = holder(folder)
    process.kill()
    process.communicate()
    assert json.loads((folder / "lock").read_text())["pid"] == process.pid
    assert bits(story(folder)) == bits(whole)


def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path: pathlib.Path) -> None:
    child = "import os; child = os.fork(); time.sleep(60 if child == 0 else 0.1); print(child, flush=True); os._exit(0)"
    process = holder(tmp_path / "run", child)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.wait()
    try:
        RunLock(tmp_path / "run").release()
    finally:
        os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_the_same_process_is_refused_too(tmp_path: pathlib.Path) -> None:
    with RunLock(tmp_path), pytest.raises(RunError, match="which is this one, on"):
        RunLock(tmp_path)
    with RunLock(tmp_path):
        refuse_if_held(tmp_path / "elsewhere")


def test_a_run_lets_go_however_it_ends(folder: pathlib.Path) -> None:
    with pytest.raises(RunError):
        story(folder, seed=77)
    RunLock(folder).release()


# -- signals


@pytest.fixture
def heard() -> Iterator[None]:
    """Makes Ctrl-C work even if the tests run as a background job of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_a_signal_waits_until_a_decision_is_written_down() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("written")
    assert done == ["written"]
    with uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_only_the_main_thread_hears_signals() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append("written")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["written"]


@pytest.mark.usefixtures("heard")
def test_a_signal_while_a_trial_is_written_down_does_not_tear_it(
    whole: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, rows = RunStore.append, []

    def signalled(self: RunStore, trial: Any) -> None:
        if trial.number == 2:
            signal.raise_signal(signal.SIGINT)
        append(self, trial)
        rows.append(trial.number)

    monkeypatch.setattr(RunStore, "append", signalled)
    first = story(tmp_path / "run")
    assert rows == [1, 2] and len(first.records) == 2 and "Interrupted" in first.summary.stopped
    assert bits(story(tmp_path / "run")) == bits(whole)


PROGRAM = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
import click, crashing
from shrinknet.cli.exits import Program

train = crashing.Sums.train

def slowly(*arguments, **keywords):
    time.sleep(0.2)
    return train(*arguments, **keywords)

crashing.Sums.train = slowly

class Tell:
    def on_trial_begin(self, number):
        print(number, flush=True)

@click.group(cls=Program)
def program(): pass

@program.command()
@click.argument("folder")
def run(folder):
    result = crashing.story(pathlib.Path(sys.argv[-1]), callbacks=[Tell()])
    print(crashing.bits(result), result.summary.stopped)

program()
"""


@pytest.mark.parametrize(("sent", "code"), [slow(signal.SIGINT, 130), slow(signal.SIGTERM, 143)])
def test_signals_roll_the_open_trial_back_and_save(
    sent: signal.Signals, code: int, whole: Any, tmp_path: pathlib.Path
) -> None:
    script = textwrap.dedent(PROGRAM).format(tests=str(pathlib.Path(__file__).parents[1]))
    command = [sys.executable, "-c", script, "run", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "3":
            process.send_signal(sent)
            break
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Interrupted: the open trial was rolled back." in output
    assert [row["number"] for row in journal(tmp_path / "run")] == [1, 2]
    assert bits(story(tmp_path / "run")) == bits(whole)


# -- the command line

EDGES = ["minimize", "edges", "--crop", "32", "--warmup-steps", "20", "--steps", "40", "--strategy", "random",
         "--threshold", "0.5", "--max-trials", "4", "--seed", "1", "--json"]  # fmt: skip


def shrinknet_edges(folder: pathlib.Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "shrinknet", *EDGES, "--run", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_second_command_on_the_same_run_is_refused_before_keras_is_loaded(tmp_path: pathlib.Path) -> None:
    (tmp_path / "keras.py").write_text("raise SystemExit('Keras was loaded')")
    with RunLock(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        process = shrinknet_edges(tmp_path)
        output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert f"is being written by process {os.getpid()} on {socket.gethostname()}" in said


@pytest.mark.slow
def test_the_same_command_resumes_and_ends_the_same(tmp_path: pathlib.Path) -> None:
    whole, _ = shrinknet_edges(tmp_path / "whole").communicate()
    process = shrinknet_edges(tmp_path / "run")
    while process.poll() is None and not _rows(tmp_path / "run"):
        time.sleep(0.1)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 143
    assert 1 <= len(json.loads(output)["trials"]) < 4
    shutil.move(tmp_path / "run", tmp_path / "moved")
    process = shrinknet_edges(tmp_path / "moved")
    resumed, said = process.communicate()
    assert process.returncode == 0, said
    again, _ = shrinknet_edges(tmp_path / "moved").communicate()
    assert _facts(resumed) == _facts(whole) and json.loads(again) == json.loads(resumed)
    other = shrinknet_edges(tmp_path / "moved", "--steps", "41")
    _, said = other.communicate()
    assert other.returncode == 2 and "steps: was 40, now 41" in said
    assert RunStore(tmp_path / "whole").digest("kernels.npz") == RunStore(tmp_path / "moved").digest("kernels.npz")


def _rows(folder: pathlib.Path) -> int:
    return len(RunStore(folder).trials()) if (folder / "journal.db").is_file() else 0


def _facts(output: str) -> Any:
    """The output of a command, without times and paths."""
    facts = json.loads(output)
    sides = facts["before"], facts["after"]
    timed = [{name: value for name, value in side.items() if not name.startswith("latency")} for side in sides]
    trials = [{**trial, "seconds": None} for trial in facts["trials"]]
    return timed, trials, facts["control_score"], facts["stopped"]
