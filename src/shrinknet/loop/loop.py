"""The loop: warm up; then cut, train, measure, and keep the cut or put every bit back.

`minimize_network` is a run from its beginning, or from where it was interrupted, to its end.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shrinknet.criterion import Criterion
from shrinknet.engine.callbacks import tell_trial
from shrinknet.errors import DataError
from shrinknet.loop.options import Options, Warmup
from shrinknet.loop.pace import Filters, Pace
from shrinknet.loop.search import Search
from shrinknet.loop.workbench import Workbench
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.records import Cost, Trial
from shrinknet.runs.recorder import Before, Recorder, Saved, Snapshot
from shrinknet.runs.signals import uninterrupted
from shrinknet.strategies import Strategy

NOT_FINITE_IN_A_ROW = 3  # scores; then something is wrong that no other filter will change
_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Warm:
    """The network after its warm-up, before the first cut.

    Attributes:
        curve: (step, validation score) pairs of the warm-up; baseline: the score at its end.
        uncut: the network, plain; cost, filters: of it.
        checkpoint: its state.
    """

    curve: tuple[tuple[int, float], ...]
    baseline: float
    uncut: Any
    cost: Cost
    filters: int
    checkpoint: Checkpoint

    @property
    def steps(self) -> int:
        """Training steps that the warm-up has taken."""
        return self.curve[-1][0] if self.curve else 0


@dataclass(frozen=True)
class Outcome:
    """The end of the trials.

    Attributes:
        warm: the network before them; trials: all that were decided; score: of the last accepted state.
        stopped: why they ended, one sentence; unfinished: stopped from outside, the same command continues the run.
    """

    warm: Warm
    trials: tuple[Trial, ...]
    score: float
    stopped: str
    unfinished: bool

    @property
    def accepted(self) -> list[Trial]:
        """The trials whose cuts were kept."""
        return [trial for trial in self.trials if trial.accepted]


class Notebook:
    """Notes where a run stands: what the recorder is given, and the time the run has taken."""

    def __init__(self, bench: Workbench, recorder: Recorder, saved: Saved | None) -> None:
        self.bench = bench
        self.recorder = recorder
        self.saved = saved
        self.start = time.monotonic() - (saved.snapshot.elapsed if saved else 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken, those before an interruption included."""
        return time.monotonic() - self.start

    def snapshot(
        self, curve: Sequence[tuple[int, float]], baseline: float | None = None, trials: Sequence[Trial] = ()
    ) -> Snapshot:
        """Where the run stands now."""
        engine = self.bench.engine
        return Snapshot(
            tuple(curve), baseline, tuple(trials), engine.position(), engine.decisions(), self.bench.results,
            self.elapsed,
        )  # fmt: skip


def minimize_network(
    notebook: Notebook, strategy: Strategy, pace: Pace, options: Options, optimizer: Any = None
) -> Outcome:
    """A run, up to the end of its trials.

    Args:
        notebook: of the run, at its beginning or where it was interrupted.
        strategy, pace, options: see `minimize`; optimizer: what the trials train with, None: the model's own.
    """
    bench = notebook.bench
    warm = warm_up(notebook, options.warmup, optimizer, options.max_drop)
    criterion = Criterion(options.threshold, bench.scorer.higher_is_better, options.max_drop)
    moving = options.reference == "last"
    search = Search(strategy, pace, criterion, baseline=warm.baseline, moving=moving)
    trials = Trials(notebook, warm, search, options)
    trials.catch_up()
    stopped, unfinished = "", True
    try:
        stopped, unfinished = search.run(trials), False
    except KeyboardInterrupt:
        stopped = "Interrupted: the open trial was rolled back."
        _LOG.warning("Interrupted. The open trial is rolled back; what was decided is cut out and measured now.")
    except DataError as error:
        stopped = f"{error} The open trial was rolled back."
        _LOG.warning(stopped)
    return Outcome(warm, tuple(search.trials), search.score, stopped, unfinished)


def warm_up(notebook: Notebook, warmup: Warmup, optimizer: Any = None, max_drop: float | None = None) -> Warm:
    """Trains before the first trial, scoring ten times on the way; ends early when the score stagnates.

    A run that was interrupted continues its warm-up, or its network is put back to where it stood at the end of it.

    Args:
        optimizer: what the trials train with; None: the model's own.
        max_drop: see `Criterion`.
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
            bench.scorer.warn_of(bench.first, max_drop)
        _train(notebook, warmup, curve)
        _LOG.info("the warm-up took %d of %d steps", curve[-1][0] if curve else 0, warmup.steps)
        baseline = curve[-1][1] if curve else bench.score()
        bench.scorer.check_baseline(baseline, max_drop)
        if optimizer is not None:
            bench.take_optimizer(optimizer)
    else:
        baseline = saved.baseline
        if optimizer is not None:
            bench.take_optimizer(optimizer)
        bench.put_back(recorder.warm_state())
    uncut = bench.slim()
    warm = Warm(tuple(curve), baseline, uncut, bench.cost(), bench.filters_left(), bench.checkpoint())
    before = Before(bench.scorer.name, bench.scorer.higher_is_better, warm.cost, uncut, bench.kernels())
    recorder.warmed_up(before, notebook.snapshot(curve, baseline), bench.arrays)
    return warm


def _train(notebook: Notebook, warmup: Warmup, curve: list[tuple[int, float]]) -> None:
    """Trains up to each tenth of the warm-up and adds its score to the curve."""
    bench = notebook.bench
    for mark in sorted({math.ceil(warmup.steps * part / 10) for part in range(1, 11)} - {0}):
        done = curve[-1][0] if curve else 0
        if mark > done and not stagnates(bench, [score for _, score in curve], warmup.patience):
            bench.engine.train(mark - done, trial=0, start=done)
            curve.append((mark, bench.score()))
            bench.progress.state(curve[-1][1], bench.filters_left())
            notebook.recorder.warming(notebook.snapshot(curve), bench.arrays)


def stagnates(bench: Workbench, scores: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` scores were no better than one before them; None: never."""
    best, stale = math.nan, 0
    for score in scores:
        better = not bench.scorer.ratio(score, best) <= 1
        best, stale = (score, 0) if better else (best, stale + 1)
    return patience is not None and stale >= patience


class Trials:
    """The trials on a network: the process that a search drives (see `search.Process`)."""

    def __init__(self, notebook: Notebook, warm: Warm, search: Search, options: Options) -> None:
        self.notebook = notebook
        self.bench = notebook.bench
        self.warm = warm
        self.search = search
        self.options = options
        self.view = self.bench.view(options.scope.min_filters)
        self.before: Checkpoint | None = None  # of the open trial
        self.began = 0.0

    def catch_up(self) -> None:
        """Puts the network back to where it stood after the trials decided before, and tells the search of them."""
        saved = self.notebook.saved
        if saved is not None and saved.snapshot.baseline is not None:
            self.bench.put_back(saved.arrays)
            self.bench.engine.go_to(saved.snapshot.position)
            for trial in saved.snapshot.trials:
                self.search.learn(trial)
        self.bench.progress.state(self.search.score, self.bench.filters_left())

    def attempt(self, number: int, filters: Filters) -> float:
        """Switches off and freezes, resets, trains and measures; an exception puts every bit back."""
        self.began = time.monotonic()
        self.bench.progress.begin(f"trial {number}")
        self.before = self.bench.checkpoint()
        tell_trial(self.bench.callbacks, "on_trial_begin", number)
        with self._rolled_back():
            self.bench.cut(*filters)
            if self.options.training.reset:
                self.bench.reset()
            self.bench.engine.train(self.options.training.steps, number)
            return self.bench.score()

    @contextlib.contextmanager
    def _rolled_back(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with uninterrupted():
                self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self.before is not None:
            self.before.restore()
            self.before = None

    def settle(self, trial: Trial) -> Trial:
        """Keeps the cut or puts every bit back; writes the trial and the state after it down."""
        if not trial.accepted:
            self._roll_back()
        self.before = None
        cost = self.bench.cost()
        trial = replace(
            trial,
            filters_left=self.bench.filters_left(),
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            seconds=time.monotonic() - self.began,
        )
        trials = (*self.search.trials, trial)
        snapshot = self.notebook.snapshot(self.warm.curve, self.warm.baseline, trials)
        self.notebook.recorder.decided(snapshot, self.bench.arrays)
        return trial

    def told(self, trial: Trial) -> None:
        """Tells callbacks and the progress bar."""
        self.bench.progress.state(self.search.score, trial.filters_left)
        tell_trial(self.bench.callbacks, "on_trial_end", trial)

    def most(self) -> int:
        """Never more filters than the target leaves."""
        return self.bench.filters_left() - self._target()

    def reason_to_stop(self) -> str:
        """Why the run ends now; empty: it continues."""
        trials, stop, left = self.search.trials, self.options.stop, self.bench.filters_left()
        last = [trial.score for trial in trials[-NOT_FINITE_IN_A_ROW:]]
        if len(last) == NOT_FINITE_IN_A_ROW and not any(map(math.isfinite, last)):
            return (
                f"The last {NOT_FINITE_IN_A_ROW} scores were not finite numbers: the training diverges. Lower the "
                "learning rate, or look for unusual numbers in the data."
            )
        if self.options.target is not None and left <= self._target():
            return f"The target is reached: {left} filters left."
        if stop.trials is not None and len(trials) >= stop.trials:
            return f"The limit of {stop.trials} trials is reached."
        if stop.seconds is not None and self.notebook.elapsed >= stop.seconds:
            return f"The limit of {stop.seconds:g} seconds is reached."
        return ""

    def _target(self) -> int:
        target = self.options.target
        return math.ceil(target * len(self.bench.switches.filters)) if isinstance(target, float) else target or 0
