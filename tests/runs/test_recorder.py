"""The contract of both kinds of recorders: accept everything that the loop passes, and return it on request."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from shrinknet.filters import Filter
from shrinknet.records import Cost, Measurement, Summary, Trial
from shrinknet.runs.folder import FolderRecorder
from shrinknet.runs.recorder import After, Before, NoRecorder, Recorder, Snapshot

STATE = {"00000 kernel": np.arange(3, dtype="float32")}
CONFIG = {"steps": 2, "max_trials": 1}
TRIAL = Trial(1, (Filter("conv", 0),), 0.9, 1.0, 0.9, True)


def network() -> Any:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def snapshot(trials: tuple[Trial, ...] = (), baseline: float | None = None) -> Snapshot:
    return Snapshot(((1, 0.5),), baseline, trials, {"consumed": 3}, {"xla": False}, ("loss",), 1.5)


def whole_story(recorder: Recorder) -> None:
    """Everything that can happen, in order."""
    net, cost = network(), Cost(())
    recorder.warming(snapshot(), lambda: STATE)
    recorder.warmed_up(Before("loss", False, cost, net, {"conv": np.zeros((1, 2))}), snapshot((), 1.0), lambda: STATE)
    recorder.decided(snapshot((TRIAL,), 1.0), lambda: STATE)
    recorder.controlled((1,), {"consumed": 4}, lambda: STATE)
    measured = Measurement(2, 3, 4, 5)
    recorder.finished(After(Summary(measured, measured), cost, {"conv": [0]}, {}, net, net, True))


@pytest.fixture(params=["nothing", "folder"])
def opened(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Callable[[], Recorder]:
    return NoRecorder if request.param == "nothing" else lambda: FolderRecorder(tmp_path / "run")


def identity() -> dict[str, Any]:
    return {"model": {"layers": "a"}, "data": {"training data": "b"}}


def test_a_run_that_begins_has_nothing_saved(opened: Callable[[], Recorder]) -> None:
    with opened() as recorder:
        assert recorder.begin(CONFIG, identity) is None
        assert recorder.control() is None


def test_everything_is_taken(opened: Callable[[], Recorder]) -> None:
    with opened() as recorder:
        recorder.begin(CONFIG, identity)
        whole_story(recorder)


def test_what_is_not_kept_is_not_asked_for() -> None:
    with NoRecorder() as recorder:
        recorder.begin(CONFIG, lambda: pytest.fail("nobody compares"))
        recorder.decided(snapshot((TRIAL,), 1.0), lambda: pytest.fail("nobody keeps it"))


def test_a_folder_gives_back_what_it_was_given(tmp_path: pathlib.Path) -> None:
    with FolderRecorder(tmp_path / "run") as recorder:
        recorder.begin(CONFIG, identity)
        whole_story(recorder)
    with FolderRecorder(tmp_path / "run") as recorder:
        saved = recorder.begin(CONFIG, identity)
        assert saved is not None and saved.summary is not None
        assert saved.snapshot == snapshot((TRIAL,), 1.0)
        np.testing.assert_array_equal(saved.arrays["00000 kernel"], STATE["00000 kernel"])
        np.testing.assert_array_equal(recorder.warm_state()["00000 kernel"], STATE["00000 kernel"])
        control = recorder.control()
        assert control is not None and (control.numbers, control.position) == ((1,), {"consumed": 4})


def test_a_finished_run_goes_further_when_its_limits_are_raised(tmp_path: pathlib.Path) -> None:
    with FolderRecorder(tmp_path / "run") as recorder:
        recorder.begin(CONFIG, identity, ("max_trials",))
        whole_story(recorder)
    with FolderRecorder(tmp_path / "run") as recorder:
        saved = recorder.begin({**CONFIG, "max_trials": 4}, identity, ("max_trials",))
        assert saved is not None and saved.summary is None and saved.snapshot.trials == (TRIAL,)
