"""The loop: warm up; then select, switch off, reset, train, measure, and keep the cut or go back, until nothing is
worth trying (thesis of B. Jenei, Szeged 2018, flowchart 2.2). `Minimization.run` and `decide` are the whole method.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from shrinknet.costs.counting import cost, graph_cost
from shrinknet.cutting.slimmer import slim
from shrinknet.engine import make_engine
from shrinknet.engine.callbacks import tell_trial
from shrinknet.engine.data import Arrays, Feed, first_batch
from shrinknet.errors import DataError, ModelError
from shrinknet.filters import Filter
from shrinknet.loop.options import Options
from shrinknet.loop.pace import Pace
from shrinknet.loop.progress import Progress
from shrinknet.loop.scoring import Score, make_scorer
from shrinknet.loop.view import NetworkView
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.network.compiled import carry_compilation
from shrinknet.network.optimizers import reset_optimizer
from shrinknet.network.switches import Switches, keep_frozen
from shrinknet.records import Cost, Trial
from shrinknet.runs.recorder import Recorder
from shrinknet.runs.signals import uninterrupted
from shrinknet.strategies import Strategy, checked_ask

NOT_FINITE_IN_A_ROW = 3  # scores; then something is wrong that no other filter will mend
CALIBRATION_SAMPLES = 64
_LOG = logging.getLogger("shrinknet")


@dataclass
class Minimization:
    """One run: the network, what decides about it, and what happened so far."""

    net: Any
    feeds: list[Feed]
    test: Feed | None
    options: Options
    pace: Pace
    strategy: Strategy
    seed: int
    callbacks: Sequence[Any] = ()
    progress: Progress | None = None
    lines: int = 0
    trial_optimizer: Any = None
    trials: list[Trial] = field(default_factory=list)
    warmup: list[tuple[int, float]] = field(default_factory=list)
    phase: str = "warm-up"
    baseline: float = math.nan  # until the warm-up is over
    score_now: float | None = None
    reference: float = math.nan
    stopped: str = ""
    unfinished: bool = False  # stopped from outside: the same command goes on

    def prepare(self, score: Score, mode: str, recorder: Recorder) -> None:
        """Makes the engine and the view that the strategy gets; refuses what cannot work before any training."""
        self.recorder = recorder
        batch = first_batch(self.feeds[0])
        self.shapes = [tuple(np.shape(array))[1:] for array in keras.tree.flatten(batch[0])]
        self.switches = Switches(self.net, self.shapes)
        if not self.switches.filters:
            reasons = "; ".join(f"{layer}: {reason}" for layer, reason in self.switches.unswitchable.items())
            raise ModelError(
                f"The model {self.net.name} has no filters that can be cut ({reasons or 'no such layers'})."
            )
        self.engine = make_engine(self.net, self.feeds[0], self.feeds[1], self.seed, self.callbacks, self._on_step)
        self.engine.prepare(self.options.warmup_steps + self.options.steps, recorder.xla)
        self.results = recorder.results or tuple(self.engine.evaluate())
        self.scorer = make_scorer(score, mode, self.net, self.results)
        self.view = self._view()
        self.start = time.monotonic()
        recorder.put_back(self)

    def _view(self) -> NetworkView:
        train = self.feeds[0]
        if isinstance(train, Arrays):
            rows = np.linspace(0, train.samples - 1, min(CALIBRATION_SAMPLES, train.samples)).astype(int)
            calibration = replace(train, arrays=train.take(rows))
        else:
            calibration = Arrays(keras.tree.map_structure(np.asarray, first_batch(train)), CALIBRATION_SAMPLES)
        return NetworkView(
            self.switches,
            frozen=self.switches.frozen,
            min_filters=self.options.min_filters,
            whole_layers=self.options.candidates == "layers",
            calibration=lambda: calibration.arrays[0],
            measure=lambda: self.scorer(self.net, lambda: self.engine.evaluate(calibration)),
            higher_is_better=self.scorer.higher_is_better,
        )

    def run(self) -> None:
        """The thesis's process: warm up, then trials until an end is reached."""
        self.warm_up()
        for trial in self.recorder.decided(self):
            self.learn(trial)
        self.stopped = self.reason_to_stop()
        try:
            while not self.stopped:
                batch = self.pace.next(self.ask, self.view.candidates())
                if not batch:
                    self.stopped = "The strategy has nothing left to try."
                    break
                self.decide(batch)
                self.stopped = self.reason_to_stop()
        except KeyboardInterrupt:
            self.stopped, self.unfinished = "Interrupted: the open trial was stepped back.", True
        except DataError as error:
            self.stopped, self.unfinished = f"{error} The open trial was stepped back.", True
            _LOG.warning(self.stopped)

    def decide(self, batch: tuple[Filter, ...]) -> None:
        """One trial: switch off and freeze, reset, train, measure; keep, or put every bit back."""
        number, began = len(self.trials) + 1, time.monotonic()
        self.phase = f"trial {number}"
        before = Checkpoint.of(self.net)
        tell_trial(self.callbacks, "on_trial_begin", number)
        try:
            self.cut(batch)
            self.reset()
            self.engine.train(self.options.steps, number)
            score = self.score()
        except BaseException:
            with uninterrupted():
                before.restore()
            raise
        ratio = self.scorer.ratio(score, self.reference)
        accepted = ratio >= self.options.threshold
        with uninterrupted():
            if not accepted:
                before.restore()
            trial = self.trial(number, batch, score, ratio, accepted, time.monotonic() - began)
            self.recorder.trial(self, trial)
            self.learn(trial)
        tell_trial(self.callbacks, "on_trial_end", trial)
        if self.lines:
            print(f"trial {number}: {' '.join(map(str, batch))} {'kept' if accepted else 'back'}, {self.scorer.name} "
                  f"{score:.4g} = {ratio:.1%} of {trial.reference:.4g}, {trial.filters_left} filters left")  # fmt: skip

    def cut(self, batch: tuple[Filter, ...]) -> None:
        """Switches off and freezes; or bypasses the layers that these filters stand for."""
        if self.options.candidates == "layers":
            self.switches.bypass(*dict.fromkeys(filter.layer for filter in batch))
        else:
            self.switches.disable(*batch)
            self.switches.freeze(*batch)

    def reset(self) -> None:
        """The optimizer begins anew, unless the user wants it to go on."""
        if self.options.reset:
            reset_optimizer(self.net.optimizer)

    def begin_trials(self) -> None:
        """From now on the network trains with the optimizer for trials; once is enough."""
        if self.trial_optimizer is not None:
            carry_compilation(self.net, self.net, self.trial_optimizer)
            keep_frozen(self.net)
            self.engine.prepare(0, self.engine.xla)
            self.trial_optimizer = None

    def learn(self, trial: Trial) -> None:
        """What follows from a decided trial, made now or before an interruption."""
        self.trials.append(trial)
        if trial.accepted:
            self.score_now = trial.score
            self.reference = trial.score if self.options.reference == "last" else self.reference
        self.pace.tell(trial.filters, trial.accepted)
        self.strategy.tell(trial)

    def trial(
        self, number: int, batch: tuple[Filter, ...], score: float, ratio: float, accepted: bool, seconds: float
    ) -> Trial:
        """The record of a trial; the network stands as it is after the decision."""
        cost = self.cost()
        return Trial(
            number,
            batch,
            score,
            self.reference,
            ratio,
            accepted,
            split=not accepted and self.pace.splits(batch),
            filters_left=self.filters_left(),
            parameters=cost.parameters,
            multiply_adds=cost.multiply_adds,
            seconds=seconds,
        )

    def ask(self, count: int) -> tuple[Filter, ...]:
        """What the strategy wants to try, checked; never more than the target leaves."""
        spare = self.filters_left() - self._target()
        return checked_ask(self.strategy, self.view, max(1, min(count, spare)))

    def warm_up(self) -> None:
        """Trains before the first trial, scoring ten times on the way; ends early when the score stagnates."""
        steps = self.options.warmup_steps
        marks = {math.ceil(steps * part / 10) for part in range(1, 11)} - {0}
        for mark in sorted(marks) if math.isnan(self.baseline) else ():
            if mark > self.warm_steps and not self.stagnates():
                self.engine.train(mark - self.warm_steps, trial=0, start=self.warm_steps)
                self.warmup.append((mark, self.score()))
                self.recorder.warming(self)
        if math.isnan(self.baseline):
            _LOG.info("the warm-up took %d of %d steps", self.warm_steps, steps)
            self.baseline = self.warmup[-1][1] if self.warmup else self.score()
            self.scorer.check_baseline(self.baseline)
        self.reference = self.score_now = self.baseline
        self.uncut = slim(self.net, self.sample())
        self.cost_before = self.cost()
        self.filters_before = self.filters_left()
        self.begin_trials()
        self.warm = Checkpoint.of(self.net)
        self.recorder.warmed_up(self)

    @property
    def warm_steps(self) -> int:
        """Steps that the warm-up has taken."""
        return self.warmup[-1][0] if self.warmup else 0

    def stagnates(self) -> bool:
        """Whether the warm-up's last scores were no better than one before them, as often as the user's patience."""
        best, stale = math.nan, 0
        for _, score in self.warmup:
            better = not self.scorer.ratio(score, best) <= 1
            best, stale = (score, 0) if better else (best, stale + 1)
        return self.options.warmup_patience is not None and stale >= self.options.warmup_patience

    def score(self) -> float:
        """The validation score; NaN when any weight is not finite, which a finite loss can hide."""
        return self.scorer(self.net, self.engine.evaluate) if self.engine.is_finite() else math.nan

    def cost(self, small: Any = None) -> Cost:
        """What the network would cost if it were cut now; or what it does cost, cut out."""
        if small is None and self.switches.bypassed:
            small = slim(self.net, self.sample())
        if small is None:
            return graph_cost(self.switches.graph, self.switches.read("disabled"))
        return cost(small, self.shapes)

    def filters_left(self) -> int:
        """Filters that are neither disabled nor bypassed."""
        bypassed = self.switches.bypassed
        return sum(filter.layer not in bypassed for filter in self.switches.enabled)

    def reason_to_stop(self) -> str:
        """Why the run ends now; empty: it goes on."""
        options, left = self.options, self.filters_left()
        last = [trial.score for trial in self.trials[-NOT_FINITE_IN_A_ROW:]]
        if len(last) == NOT_FINITE_IN_A_ROW and not any(map(math.isfinite, last)):
            return (
                f"The last {NOT_FINITE_IN_A_ROW} scores were not finite numbers: the training diverges. Lower the "
                "learning rate, or look for unusual numbers in the data."
            )
        if options.target is not None and left <= self._target():
            return f"The target is reached: {left} filters left."
        if options.max_trials is not None and len(self.trials) >= options.max_trials:
            return f"The limit of {options.max_trials} trials is reached."
        if options.max_seconds is not None and time.monotonic() - self.start >= options.max_seconds:
            return f"The limit of {options.max_seconds:g} seconds is reached."
        return ""

    def _target(self) -> int:
        target = self.options.target
        return math.ceil(target * len(self.switches.filters)) if isinstance(target, float) else target or 0

    def sample(self) -> Any:
        """A few inputs, to compare networks on."""
        return keras.tree.map_structure(lambda array: np.asarray(array)[:8], first_batch(self.feeds[1])[0])

    def _on_step(self, step: int, steps: int) -> None:
        if self.progress is not None:
            self.progress.update(self.phase, step, steps, self.score_now, self.filters_left())
