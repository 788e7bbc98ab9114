"""The loop: warm up; then select, switch off, reset, train, measure, and keep the cut or go back, until nothing is
worth trying (thesis of B. Jenei, Szeged 2018, flowchart 2.2). `Minimization.run` and `decide` are the whole method.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shrinknet.checkpoint import Checkpoint
from shrinknet.costs import cost, graph_cost
from shrinknet.engine import make_engine
from shrinknet.engine.callbacks import tell_trial
from shrinknet.engine.data import Arrays, Feed, check_targets, first_batch, read_data
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.filters import Filter
from shrinknet.fingerprint import identity, of_function, of_setting, of_strategy
from shrinknet.network import NetworkView
from shrinknet.optimizers import other_optimizer, reset_optimizer
from shrinknet.pace import Pace
from shrinknet.progress import Progress
from shrinknet.rebuild import carry_compilation
from shrinknet.recorder import Recorder
from shrinknet.records import Cost, Measurement, Summary, Trial, trials_frame
from shrinknet.resume import stored_seed
from shrinknet.runlock import refuse_if_held
from shrinknet.scoring import Score, Scorer, make_scorer
from shrinknet.signals import uninterrupted
from shrinknet.slimmer import slim
from shrinknet.strategies import Strategy, checked_ask, load_strategy
from shrinknet.switches import Switches, keep_frozen, switched

if TYPE_CHECKING:
    import os

    import pandas

NOT_FINITE_IN_A_ROW = 3  # scores; then something is wrong that no other filter will mend
CALIBRATION_SAMPLES = 64
_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Options:
    """The settings of the loop; see `minimize`."""

    threshold: float = 0.98
    reference: str = "last"
    warmup_steps: int = 10_000
    warmup_patience: int | None = None
    steps: int = 2_000
    target: int | float | None = None
    max_trials: int | None = None
    max_seconds: float | None = None
    min_filters: int = 1
    candidates: str = "filters"
    reset: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise OptionError(
                f"Expected threshold in (0, 1], the share of the score that a cut must keep; received {self.threshold}."
            )
        if self.reference not in ("last", "baseline"):
            raise OptionError(f"Expected reference to be 'last' or 'baseline'; received {self.reference!r}.")
        if self.candidates not in ("filters", "layers"):
            raise OptionError(f"Expected candidates to be 'filters' or 'layers'; received {self.candidates!r}.")
        least = {
            "warmup_steps": 0,
            "steps": 0,
            "min_filters": 0,
            "max_trials": 0,
            "max_seconds": 0,
            "warmup_patience": 1,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value >= bound):
                raise OptionError(f"Expected {name} to be a number of at least {bound}; received {value!r}.")
        target = self.target
        if target is not None and not (0 < target < 1 if isinstance(target, float) else target >= 1):
            raise OptionError(
                "Expected target to be a number of filters from 1 (int), or a share of them between 0 and 1 (float); "
                f"received {target!r}."
            )


@dataclass(frozen=True)
class Result:
    """What `minimize` returns.

    Attributes:
        model: the slim network, plain Keras, compiled as the user's model.
        switched: the switched network it came from.
        uncut: the plain network after its warm-up, before the first cut.
        control: the uncut network trained for as many steps as the slim one; None unless it was asked for.
        records: the trials, one `Trial` each.
        summary: before and after.
        warmup: (step, validation score) pairs of the warm-up.
        baseline: validation score after the warm-up.
    """

    model: Any
    switched: Any
    uncut: Any
    control: Any
    records: tuple[Trial, ...]
    summary: Summary
    warmup: tuple[tuple[int, float], ...]
    baseline: float

    @property
    def trials(self) -> pandas.DataFrame:
        """A pandas.DataFrame with a row a trial."""
        return trials_frame(self.records)

    def __str__(self) -> str:
        return str(self.summary)


def minimize(
    model: Any,
    train_data: Any,
    validation_data: Any,
    *,
    score: Score = None,
    mode: str = "auto",
    strategy: str | Strategy = "cosine-max",
    threshold: float = 0.98,
    reference: str = "last",
    warmup_steps: int = 10_000,
    warmup_patience: int | None = None,
    steps: int = 2_000,
    pace: str | int = "one",
    target: int | float | None = None,
    max_trials: int | None = None,
    max_seconds: float | None = None,
    min_filters: int = 1,
    candidates: str = "filters",
    trial_optimizer: Any = None,
    reset: bool = True,
    batch_size: int = 32,
    test_data: Any = None,
    control: bool = False,
    run_dir: str | os.PathLike[str] | None = None,
    force: bool = False,
    strict: bool = False,
    new_data: bool = False,
    seed: int | None = None,
    callbacks: Sequence[Any] = (),
    verbose: str | int = "auto",
) -> Result:
    """Finds the smallest network that still solves the task, and cuts it out.

    Args:
        model: a compiled Sequential or Functional Keras model; it is not changed.
        train_data, validation_data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a PyDataset; a
            generator for training only.
        score: name of a compiled metric, "loss", or a function of the model; None: the first compiled metric, else
            the loss.
        mode: "max": higher is better, "min": lower is better, "auto": told by the metric or its name.
        strategy: a name that `shrinknet strategies` lists, a path to a .py file, or a `Strategy`.
        threshold: share of the reference score that a cut must keep, in (0, 1]; higher is stricter.
        reference: "last": the score after the last accepted cut; "baseline": that after the warm-up, which bounds the
            total loss.
        warmup_steps: training steps before the first trial; steps: training steps in each trial.
        warmup_patience: end the warm-up after this many tenths of it without a better score; None: never.
        pace: filters tried at once: "one", a number, or "adaptive".
        target: stop at this number (int) or share (float) of filters left.
        max_trials, max_seconds: stop after so many trials, or so long; the trial under way is finished.
        min_filters: filters that every layer keeps; 0: a residual branch can be emptied, and is then taken out.
        candidates: "filters", or "layers": convolutions and dense layers between tensors of one shape, each a candidate
            of its own that is bypassed and taken out. A strategy sees a layer as its first filter; "sequential",
            "random" and "ablation" suit. Filters follow in a second run, on the model that is left.
        trial_optimizer: what the trials train with: an optimizer or its name; a learning rate or a schedule, as
            `keras.optimizers.schedules.CosineDecay(1e-3, steps)`, for the model's own. None: the model's own.
        reset: whether the optimizer begins each trial as new: slots, momentum, and the schedule's steps.
        batch_size: samples a batch, for arrays.
        test_data: arrays, a tf.data.Dataset or a PyDataset that no decision sees, for the summary.
        control: also train the uncut network for as many steps, for comparison.
        run_dir: folder for checkpoints, journal, models and page; None: nothing is written. A run that was interrupted,
            however that came, goes on after its last decided trial when the same call is made again, and ends in the
            same bits; one that is finished answers at once.
        force: where the folder holds another run, set that beside and begin anew; otherwise it is refused.
        strict: refuse to go on with other versions, threads or devices; otherwise they are a warning.
        new_data: go on with other data than the run began with; otherwise they are refused.
        seed: of the order of the data and the strategy; the same seed gives the same bits on the same machine. The
            model's own seeds are the user's. None: the run folder's, or a random one.
        callbacks: Keras callbacks, told of epochs; objects with `on_trial_begin(number)` or `on_trial_end(trial)`.
        verbose: "auto": a progress bar on a terminal; 0: nothing; 1: a line a trial.

    Returns:
        The slim model, the trials, and the table before/after. After Ctrl-C: what was decided so far.

    Raises:
        ModelError, DataError, ScoreError, OptionError, StrategyError: see their sentences.
        NotEquivalentError: the slim network would not compute the same; nothing is returned.
        RunError: the run folder holds another run, or is being written by another process.
        StorageError: the disk is full or fails; what was decided before is kept.

    Example:
        >>> result = minimize(model, (x, y), (x, y), threshold=0.9, warmup_steps=20, steps=5, max_trials=2, seed=1)
        >>> result.model.count_params() == result.summary.after.parameters
        True
    """
    options = Options(
        threshold, reference, warmup_steps, warmup_patience, steps, target, max_trials, max_seconds, min_filters,
        candidates, reset,
    )  # fmt: skip
    paces = Pace(pace)
    if run_dir is not None:
        refuse_if_held(run_dir)
    if seed is None:
        seed = stored_seed(run_dir)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    chosen = load_strategy(strategy, seed=seed)
    _check_model(model)
    feeds = [
        read_data(train_data, batch_size, "training data"),
        read_data(validation_data, batch_size, "validation data"),
    ]
    if not getattr(feeds[1], "repeatable", True):
        raise DataError(
            "The validation data are a generator, which can be read only once. Expected arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    test = None if test_data is None else read_data(test_data, batch_size, "test data")
    net = switched(model)
    check_targets(net, first_batch(feeds[0]))
    first_batch(feeds[1])
    progress = Progress() if verbose == "auto" else None
    if trial_optimizer is not None:
        trial_optimizer = other_optimizer(trial_optimizer, net.optimizer)
    run = Minimization(
        net, feeds, test, options, paces, chosen, seed, callbacks, progress, int(verbose == 1), trial_optimizer
    )
    config = {
        **options.__dict__,
        "strategy": of_strategy(strategy),
        "pace": "adaptive" if paces.adaptive else paces.count,
        "seed": seed,
        "batch_size": batch_size,
        "mode": mode,
        "score": of_function(score),
        "control": control,
        "trial_optimizer": of_setting(trial_optimizer),
    }
    with Recorder.open(run_dir, force=force, strict=strict, new_data=new_data) as recorder:
        recorder.begin(config, lambda: identity(model, feeds, test))
        try:
            run.prepare(score, mode, recorder)
            run.run()
            return run.finish(control)
        finally:
            if progress is not None:
                progress.close()


def _check_model(model: Any) -> None:
    if not getattr(model, "built", False):
        raise ModelError(f"The model {model.name} is not built. Start it with keras.Input(shape), or call it once.")
    if not model.compiled or model.optimizer is None:
        raise ModelError(f"The model {model.name} is not compiled. Call model.compile(optimizer, loss, metrics) first.")
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"The weights {variable.path} of model {model.name} are not all finite numbers. Mend them first."
            )


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
        self.shapes = [tuple(np.shape(array))[1:] for array in _leaves(batch[0])]
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
            calibration = Arrays(_numpy(first_batch(train)), CALIBRATION_SAMPLES)
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
        self.uncut = slim(self.net, self._sample())
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
            small = slim(self.net, self._sample())
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

    def _sample(self) -> Any:
        return _map(lambda array: np.asarray(array)[:8], first_batch(self.feeds[1])[0])

    def _on_step(self, step: int, steps: int) -> None:
        if self.progress is not None:
            self.progress.update(self.phase, step, steps, self.score_now, self.filters_left())

    def finish(self, control: bool) -> Result:
        """Cuts the network out, measures before and after, and writes it down."""
        small = slim(self.net, self._sample())
        accepted = [trial for trial in self.trials if trial.accepted]
        trained = self._control(accepted) if control and not self.unfinished else None
        summary = self.recorder.summary or self._summarize(small, accepted, trained)
        result = Result(
            small, self.net, self.uncut, trained, tuple(self.trials), summary, tuple(self.warmup), self.baseline
        )
        self.recorder.finished(self, result)
        return result

    def _summarize(self, small: Any, accepted: list[Trial], trained: Any) -> Summary:
        before, after = (
            self._measure(self.uncut, self.cost_before, self.baseline),
            self._measure(small, self.cost(small), accepted[-1].score if accepted else self.baseline),
        )
        return Summary(
            before=replace(before, filters=self.filters_before),
            after=replace(after, filters=self.filters_left()),
            accepted=len(accepted),
            rejected=len(self.trials) - len(accepted),
            steps=self.warm_steps + self.options.steps * len(accepted),
            stopped=self.stopped,
            control_score=None if trained is None else self._score_of(trained, self.test or self.feeds[1]),
        )

    def _control(self, accepted: list[Trial]) -> Any:
        """The uncut network, trained on the very batches that the slim one was trained on, reset as often."""
        kept, numbers = Checkpoint.of(self.net), [trial.number for trial in accepted]
        self.phase = "control"
        try:
            self.warm.restore()
            for place in range(self.recorder.control(self, numbers), len(numbers)):
                self.reset()
                self.engine.train(self.options.steps, numbers[place])
                self.recorder.controlled(self, numbers[: place + 1])
            return slim(self.net, self._sample())
        finally:
            kept.restore()

    def _measure(self, model: Any, cost: Cost, validation_score: float) -> Measurement:
        score = None if self.test is None else self._score_of(model, self.test)
        return Measurement(
            0, cost.parameters, cost.multiply_adds, cost.bytes, self.latency(model), score, validation_score
        )

    def _score_of(self, model: Any, feed: Feed) -> float:
        from shrinknet.engine.fit import FitEngine

        return self.scorer(model, lambda: FitEngine(model, feed, feed, self.seed).evaluate())

    def latency(self, model: Any) -> float | None:
        """Median milliseconds for one sample in LiteRT on one thread; None where that cannot be had."""
        from shrinknet.exporters import measured_latency

        return measured_latency(model, _map(lambda array: np.asarray(array)[:1], self._sample()))


def _leaves(structure: Any) -> list[Any]:
    import keras

    return list(keras.tree.flatten(structure))


def _map(function: Any, structure: Any) -> Any:
    import keras

    return keras.tree.map_structure(function, structure)


def _numpy(structure: Any) -> Any:
    return _map(np.asarray, structure)


__all__ = ["Minimization", "Options", "Result", "Scorer", "minimize"]
