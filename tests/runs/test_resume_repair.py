"""Runs with repair, early stops and a final training end in the same bits wherever they are interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crashing
import numpy as np
import pytest
from crashing import Failing, Killed, bits, story

from shrinknet.records import Trial

# Trials that pass on repair alone, that train and end early, that are given up, and a final training.
STORIES: dict[str, dict[str, Any]] = {
    "threshold": {"preset": "default", "strategy": "refit", "threshold": 0.8, "score": "loss", "pace": "one",
                  "steps": 6, "checks": 3, "final_steps": 5, "max_trials": 6, "final_distill": 0.0},
    "target": {"preset": "default", "strategy": "refit", "threshold": None, "target": {"parameters": 0.6},
               "pace": "rounds", "final_steps": 5, "final_distill": 0.0, "max_trials": None},
    "folded": {"preset": "default", "strategy": "random", "repair": "fold", "threshold": 0.5, "pace": "bisect",
               "train": "always", "steps": 4, "checks": 2, "final_steps": 3, "final_distill": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_killed_at_some_disk_operations(name: str, tmp_path: Path) -> None:
    options, counter = STORIES[name], Failing()
    expected = bits(story(tmp_path / "whole", counter, **options))
    assert bits(story(None, **options)) == expected
    for action in range(2, counter.count + 1, 5):
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


def test_the_story_has_trials_of_every_kind() -> None:
    records: tuple[Trial, ...] = story(None, **STORIES["threshold"]).records
    assert any(trial.accepted for trial in records)
    assert {trial.steps == 0 for trial in records} | {0 < trial.steps < 6 for trial in records} >= {True, False}
    assert all(np.isfinite(trial.untrained) for trial in records)
