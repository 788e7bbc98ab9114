"""Notebook: how far a run is, for its recorder."""

from __future__ import annotations

import time
from collections.abc import Sequence

from shrinknet.loop.workbench import Workbench
from shrinknet.records import Trial
from shrinknet.runs.recorder import Recorder, Saved, Snapshot


class Notebook:
    """Knows how far a run is: what the recorder is given, and how long the run has taken.

    Attributes:
        latency: milliseconds of the uncut network, where the target is about it.
        guards: the guards' scores by name after the warm-up.
    """

    def __init__(self, bench: Workbench, recorder: Recorder, saved: Saved | None) -> None:
        self.bench = bench
        self.recorder = recorder
        self.saved = saved
        self.latency: float | None = saved.snapshot.latency if saved else None
        self.guards: dict[str, float] = dict(saved.snapshot.guards) if saved else {}
        self.start = time.monotonic() - (saved.snapshot.elapsed if saved else 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken, including those before an interruption."""
        return time.monotonic() - self.start

    def snapshot(
        self,
        curve: Sequence[tuple[int, float]],
        baseline: float | None = None,
        trials: Sequence[Trial] = (),
        anchor: int = 0,
    ) -> Snapshot:
        """How far the run is now."""
        engine = self.bench.engine
        return Snapshot(
            tuple(curve), baseline, tuple(trials), engine.position(), engine.decisions(), self.bench.results,
            self.elapsed, anchor, self.latency, self.guards,
        )  # fmt: skip
