"""Runs with repair, early stops and a final training end in the same bits wherever they are interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crashing
import keras
import numpy as np
import pytest
from crashing import Failing, Killed, bits, story, training
from marking import slow

from shrinknet.loop.final import LESSON
from shrinknet.records import Trial

# Trials that pass on repair alone, that train and end early, that are given up, and a final training.
STORIES: dict[str, dict[str, Any]] = {
    "threshold": {"preset": "default", "strategy": "refit", "threshold": 0.8, "score": "loss", "pace": "one",
                  "steps": 6, "checks": 3, "final_steps": 5, "max_trials": 6, "final_distill": 0.0},
    "target": {"preset": "default", "strategy": "refit", "threshold": None, "target": {"parameters": 0.6},
               "pace": "rounds", "final_steps": 5, "final_distill": 0.0, "max_trials": None},
    "folded": {"preset": "default", "strategy": "random", "repair": "fold", "threshold": 0.5, "pace": "bisect",
               "train": "always", "steps": 4, "checks": 2, "final_steps": 3, "final_distill": 0.0,
               "compact": "always"},
}  # fmt: skip


@pytest.mark.parametrize("every", [197, slow(5)])
@pytest.mark.parametrize("name", ["target", *(slow(name) for name in STORIES if name != "target")])
def test_killed_at_some_disk_operations(name: str, every: int, tmp_path: Path) -> None:
    options, counter = STORIES[name], Failing()
    expected = bits(story(tmp_path / "whole", counter, **options))
    assert bits(story(None, **options)) == expected
    for action in range(2, counter.count + 1, every):
        folder = tmp_path / f"kill{action}"
        with pytest.raises(Killed):
            story(folder, Failing(action, Killed(), True), **options)
        assert bits(story(folder, **options)) == expected, f"{name}, killed at operation {action}"


def test_a_finished_run_answers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = STORIES["target"]
    expected = bits(story(tmp_path / "run", **options))
    trained: list[int] = []
    own = crashing.Sums.train
    monkeypatch.setattr(
        crashing.Sums,
        "train",
        lambda self, steps, *more, **named: (trained.append(steps), own(self, steps, *more, **named)),
    )
    assert bits(story(tmp_path / "run", **options)) == expected
    assert not trained


class Halve(keras.callbacks.Callback):
    """Halves the learning rate after each epoch, as ReduceLROnPlateau may."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rate = self.model.optimizer.learning_rate
        if isinstance(rate, keras.Variable):  # not the falling one of the trials
            rate.assign(rate / 2)


class Interrupt:
    """Raises when a trial begins."""

    def __init__(self, number: int, error: type[BaseException]) -> None:
        self.number, self.error = number, error

    def on_trial_begin(self, number: int) -> None:
        if number == self.number:
            raise self.error


@pytest.mark.slow
def test_a_rate_that_the_warm_up_lowered_does_not_change_what_follows_an_interruption(tmp_path: Path) -> None:
    options = {**STORIES["target"], "control": False, "warmup_steps": 4}
    expected = bits(training(tmp_path / "whole", callbacks=[Halve()], **options))
    with pytest.raises(Killed):
        training(tmp_path / "run", callbacks=[Halve(), Interrupt(1, Killed)], **options)
    assert bits(training(tmp_path / "run", callbacks=[Halve()], **options)) == expected


@pytest.mark.slow
def test_an_interrupted_final_training_hands_over_what_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = STORIES["target"]
    expected = bits(story(tmp_path / "whole", **options))
    own = crashing.Sums.train

    def train(self: Any, steps: int, trial: int, start: int = 0, total: int | None = None) -> int:
        if trial == LESSON and start >= 2:
            raise KeyboardInterrupt
        return own(self, steps, trial, start, total)

    with monkeypatch.context() as patch:
        patch.setattr(crashing.Sums, "train", train)
        result = story(tmp_path / "run", **options)
    assert "Interrupted" in result.summary.stopped and result.control is None
    small, cut = result.model(crashing.X), result.switched(crashing.X)
    np.testing.assert_allclose(small, cut, atol=1e-5)
    assert result.summary.after.parameters <= 0.6 * result.summary.before.parameters
    assert bits(story(tmp_path / "run", **options)) == expected


def test_the_story_has_trials_of_every_kind() -> None:
    records: tuple[Trial, ...] = story(None, **STORIES["threshold"]).records
    assert any(trial.accepted for trial in records)
    assert {trial.steps == 0 for trial in records} | {0 < trial.steps < 6 for trial in records} >= {True, False}
    assert all(np.isfinite(trial.untrained) for trial in records)
