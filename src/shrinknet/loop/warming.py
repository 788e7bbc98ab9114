"""Warm-up: training before the first trial, and the network at its end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shrinknet.criterion import Criterion
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.settings import Warmup
from shrinknet.loop.workbench import Workbench
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.records import Cost
from shrinknet.runs.recorder import Before

_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Warm:
    """The network after its warm-up, before the first cut.

    Attributes:
        curve: (step, validation score) pairs of the warm-up; baseline: the score at its end.
        uncut: the network, plain; cost, filters: of it.
        checkpoint: its state; guards: the scores of the guards by name.
    """

    curve: tuple[tuple[int, float], ...]
    baseline: float
    uncut: Any
    cost: Cost
    filters: int
    checkpoint: Checkpoint
    guards: Mapping[str, float]

    @property
    def steps(self) -> int:
        """Training steps of the warm-up."""
        return self.curve[-1][0] if self.curve else 0


def warm_up(notebook: Notebook, warmup: Warmup, criterion: Criterion, optimizer: Any = None) -> Warm:
    """Trains before the first trial, scoring ten times on the way; ends early when the score stagnates.

    An interrupted run continues its warm-up, or restores the network to its state at the end of it.

    Args:
        criterion: of the trials to come, whose scores must suit it.
        optimizer: of the trials; None: the model's own.
    """
    bench, recorder = notebook.bench, notebook.recorder
    saved = notebook.saved.snapshot if notebook.saved else None
    curve = list(saved.warmup) if saved else []
    bench.progress.begin("warm-up")
    if notebook.saved and saved and saved.baseline is None:
        bench.put_back(notebook.saved.arrays)
        bench.engine.go_to(saved.position)
    if saved is None or saved.baseline is None:
        if warmup.steps and not curve:
            bench.scorer.warn_of(bench.first, criterion.max_drop)
        _train(notebook, warmup, curve)
        _LOG.info("the warm-up took %d of %d steps", curve[-1][0] if curve else 0, warmup.steps)
        baseline = curve[-1][1] if curve else bench.score()
        bench.scorer.check_baseline(baseline, criterion.max_drop)
        notebook.guards = bench.scores()[1] if bench.scorer.guards else {}
        for guard in bench.scorer.guards:
            guard.check_baseline(notebook.guards.get(guard.name, math.nan), criterion.guards[guard.name].max_drop)
        if optimizer is not None:
            bench.take_optimizer(optimizer)
    else:
        baseline = saved.baseline
        if optimizer is not None:
            bench.take_optimizer(optimizer)
        bench.put_back(recorder.warm_state())
    uncut = bench.slim()
    warm = Warm(tuple(curve), baseline, uncut, bench.cost(), bench.filters_left(), bench.checkpoint(),
                notebook.guards)  # fmt: skip
    before = Before(bench.scorer.name, bench.scorer.higher_is_better, warm.cost, uncut, bench.kernels())
    recorder.warmed_up(before, notebook.snapshot(curve, baseline), bench.arrays)
    return warm


def _train(notebook: Notebook, warmup: Warmup, curve: list[tuple[int, float]]) -> None:
    """Trains up to each tenth of the warm-up and adds its score to the curve; a callback may stop it.

    A stop is not written down: a run that is killed right after it repeats this tenth, and is stopped there again.
    """
    bench = notebook.bench
    for mark in sorted({math.ceil(warmup.steps * part / 10) for part in range(1, 11)} - {0}):
        done = curve[-1][0] if curve else 0
        if mark > done and not stagnates(bench, [score for _, score in curve], warmup.patience):
            taken = bench.engine.train(mark - done, trial=0, start=done, total=warmup.steps)
            curve.append((done + taken, bench.score()))
            bench.progress.state(curve[-1][1], bench.filters_left())
            if bench.engine.stopped:
                break
            notebook.recorder.warming(notebook.snapshot(curve), bench.arrays)
    if bench.engine.end_training():  # it was stagnating; callbacks may have changed the weights
        curve[-1] = (curve[-1][0], bench.score())


def stagnates(bench: Workbench, scores: Sequence[float], patience: int | None) -> bool:
    """Whether none of the last `patience` scores was better than the best before them; None: never."""
    best, stale = math.nan, 0
    for score in scores:
        better = not bench.scorer.ratio(score, best) <= 1
        best, stale = (score, 0) if better else (best, stale + 1)
    return patience is not None and stale >= patience
