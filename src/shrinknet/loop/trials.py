"""Trials: cut, repair, train, measure, and keep the cut or restore every bit."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from shrinknet.engine.callbacks import tell_trial
from shrinknet.loop.mending import Mender
from shrinknet.loop.meter import Meter
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.options import Options
from shrinknet.loop.pace import Filters, Proposals
from shrinknet.loop.proposals import ByCost
from shrinknet.loop.pupil import Pupil, is_worth_making, small_pupil, switched_pupil
from shrinknet.loop.search import Ask, Attempt, Search
from shrinknet.loop.teaching import taught
from shrinknet.loop.warming import Warm
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.network.optimizers import fresh_copy
from shrinknet.records import Trial
from shrinknet.runs.points import is_point
from shrinknet.runs.signals import uninterrupted

NOT_FINITE_IN_A_ROW = 3  # scores; no choice of filters would mend that
STILL_TO_COME = 2  # training is given up if this many times the last gain, in every part left, is not enough
Latency = Callable[[], float]


class Trials:
    """The trials on a network: the process that a search drives (see `search.Process`).

    Args:
        notebook: of the run; warm: the network before the first trial; search: drives this; options: of the run.
        latency: measures the network as it is now, in milliseconds; called only if a goal is about latency.
    """

    def __init__(self, notebook: Notebook, warm: Warm, search: Search, options: Options, latency: Latency) -> None:
        self.notebook = notebook
        self.bench = notebook.bench
        self.warm = warm
        self.search = search
        self.options = options
        self.latency = latency
        self.view = self.bench.view()
        self.meter = Meter(self.bench, options.goals, notebook.latency)
        self.mender = Mender(self.bench, options.repair)
        self.anchor = (
            0  # number of the accepted trial whose state is the target of repairs; 0: the state after the warm-up
        )
        self._anchored: Mapping[str, np.ndarray] | None = None  # that state, once later trials have changed the network
        self.before: Checkpoint | None = None  # of the open trial
        self.began = 0.0

    def catch_up(self) -> None:
        """Restores the network to its state after the trials of an interrupted run, and tells the search about them."""
        saved = self.notebook.saved
        if saved is not None and saved.snapshot.baseline is not None:
            self.bench.put_back(saved.arrays)
            self.bench.engine.go_to(saved.snapshot.position)
            for trial in saved.snapshot.trials:
                self.search.learn(trial)
            self.anchor, self._anchored = saved.snapshot.anchor, saved.anchor
            measured = [trial.latency_ms for trial in self.search.accepted if math.isfinite(trial.latency_ms)]
            if measured:
                self.meter.measured(measured[-1])
        self.bench.progress.state(self.search.score, self.bench.filters_left())

    # -- one trial

    def attempt(self, number: int, filters: Filters) -> Attempt:
        """Disables and freezes filters, repairs, trains and measures; an exception restores every bit."""
        self.began = time.monotonic()
        self.bench.progress.begin(f"trial {number}")
        self._remember()
        self.before = self.bench.checkpoint()
        tell_trial(self.bench.callbacks, "on_trial_begin", number)
        with self._rolled_back():
            self.bench.cut(*filters)
            if not self.mender.mend():
                return Attempt(math.nan)
            untrained = math.nan
            if self.options.training.train == "when-needed":
                untrained, guards = self.bench.scores()
                if self.search.verdict(untrained, guards).accepted:
                    return Attempt(untrained, 0, untrained, guards)
            if self.options.training.reset:
                self.bench.reset()
            return self._train(number, untrained)

    def _train(self, number: int, untrained: float) -> Attempt:
        """Trains in parts until the scores are good enough twice in a row, or hopeless."""
        score, guards = untrained, dict[str, float]()
        training, done, good, pupil = self.options.training, 0, 0, self._pupil()
        steps, engine = training.steps or 0, pupil.engine
        for left in reversed(range(training.checks)):
            asked = math.ceil(steps * (training.checks - left) / training.checks) - done
            taken = 0
            if asked:
                with taught(pupil.net, self.warm.uncut, training.distill):
                    taken = engine.train(asked, number, start=done, total=steps)
            before, done = score, done + taken
            score, guards = pupil.scores(self.bench)
            good = good + 1 if self.search.verdict(score, guards).accepted else 0
            if (asked and engine.stopped) or good > 1 or self._is_hopeless(before, score, left):
                break
        if engine.end_training():  # callbacks may have changed the weights, as EarlyStopping(restore_best_weights=True)
            score, guards = pupil.scores(self.bench)
        pupil.give_back()
        return Attempt(score, done, untrained, guards)

    def _pupil(self) -> Pupil:
        """What this trial trains: the small network if it is wanted and trains alike, else the switched one."""
        small = small_pupil(self.bench, fresh_copy(self.bench.net.optimizer)) if self._wants_small() else None
        return small or switched_pupil(self.bench)

    def _wants_small(self) -> bool:
        training = self.options.training
        if not training.reset or training.compact != "auto":
            return training.reset and training.compact == "always"
        saved = self.warm.cost.multiply_adds - self.bench.cost().multiply_adds
        return is_worth_making(self.bench, training.steps or 0, saved)

    def _is_hopeless(self, before: float, score: float, left: int) -> bool:
        """Whether the score is not going to be good enough after `left` more parts of the training."""
        if math.isnan(before):
            return False
        gain = score - before if self.search.criterion.higher_is_better else before - score
        missing = self.search.criterion.missing(score, self.search.reference)
        return not missing <= STILL_TO_COME * max(gain, 0.0) * left

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

    # -- the target of repairs

    def _remember(self) -> None:
        """Tells the mender its target, also after an interruption."""
        if not self.search.accepted or self.search.accepted[-1].number == self.anchor:
            self.mender.remember()  # the network is in that state now
        elif self.anchor:
            self.mender.remember(lambda: self.bench.put_back(self._anchored or {}))
        else:
            self.mender.remember(self.warm.checkpoint.restore)

    def _move_anchor(self, trial: Trial) -> None:
        """Makes the network after an accepted trial with training the new target of repairs."""
        if not (trial.accepted and self.mender.remembers):
            return
        if trial.steps:
            self.mender.forget()
            self.anchor, self._anchored = trial.number, None
        elif self.anchor and self._anchored is None:  # the trial has left the state: it must be kept apart from now on
            self._anchored = self._arrays_before()

    def _arrays_before(self) -> Mapping[str, np.ndarray]:
        """The state before the open trial."""
        now = self.bench.checkpoint()
        try:
            if self.before is not None:
                self.before.restore()
            return self.bench.arrays()
        finally:
            now.restore()

    # -- decisions

    def settle(self, trial: Trial) -> Trial:
        """Keeps the cut or restores every bit; records the trial and the state after it."""
        if not trial.accepted:
            self._roll_back()
        self._move_anchor(trial)
        self.before = None
        cost = self.bench.cost()
        trial = replace(
            trial,
            filters_left=self.bench.filters_left(),
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            seconds=time.monotonic() - self.began,
            latency_ms=self._latency(trial),
        )
        if trial.accepted and is_point(self.warm.cost.multiply_adds, [*self.search.accepted, trial]):
            self.notebook.recorder.kept(trial.number, self.bench.weights)
        trials = (*self.search.trials, trial)
        snapshot = self.notebook.snapshot(self.warm.curve, self.warm.baseline, trials, self.anchor)
        self.notebook.recorder.decided(snapshot, self.bench.arrays, self._anchored)
        return trial

    def _latency(self, trial: Trial) -> float:
        if not trial.accepted or self.meter.latency is None:
            return math.nan
        latency = self.latency()
        self.meter.measured(latency)
        return latency

    def told(self, trial: Trial) -> None:
        """Tells callbacks and the progress bar."""
        self.bench.progress.state(self.search.score, trial.filters_left)
        tell_trial(self.bench.callbacks, "on_trial_end", trial)

    def proposals(self, ask: Ask) -> Proposals:
        """See `search.Process`."""
        return ByCost(ask, self.meter, self.options.scope.round_to)

    def missed(self) -> str:
        """That the target was not reached, in a sentence; empty: it was, or there is none."""
        goals = self.options.goals
        return f"The target is missed: {self.meter.told()} left." if goals and not self.meter.reached() else ""

    def reason_to_stop(self) -> str:
        """Why the run ends now; empty: it continues."""
        trials, stop = self.search.trials, self.options.stop
        last = [trial.score for trial in trials[-NOT_FINITE_IN_A_ROW:]]
        if len(last) == NOT_FINITE_IN_A_ROW and not any(map(math.isfinite, last)):
            return (
                f"The last {NOT_FINITE_IN_A_ROW} scores were not finite numbers: the training diverges. Lower the "
                "learning rate, or look for unusual numbers in the data."
            )
        if self.meter.reached():
            return f"The target is reached: {self.meter.told()} left."
        if stop.trials is not None and len(trials) >= stop.trials:
            return f"The limit of {stop.trials} trials is reached."
        if stop.seconds is not None and self.notebook.elapsed >= stop.seconds:
            return f"The limit of {stop.seconds:g} seconds is reached."
        return ""
