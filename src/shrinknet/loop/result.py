"""What `minimize` returns, and how the end of a run is measured: before, after, and the control."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras

from shrinknet.cutting.slimmer import slim
from shrinknet.engine.data import Feed
from shrinknet.engine.fit import FitEngine
from shrinknet.exporters import measured_latency
from shrinknet.loop.loop import Minimization
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.records import Cost, Measurement, Summary, Trial, trials_frame

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Result:
    """What `minimize` returns.

    Attributes:
        model: the slim network, plain Keras, compiled as the user's model; with `trial_optimizer`, where one was given.
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


def finish(run: Minimization, control: bool) -> Result:
    """Cuts the network out, measures before and after, and writes it down.

    Args:
        run: is over, or was interrupted.
        control: also train the uncut network for as many steps, unless the run is to go on.
    """
    small = slim(run.net, run.sample())
    accepted = [trial for trial in run.trials if trial.accepted]
    trained = _control(run, accepted) if control and not run.unfinished else None
    summary = run.recorder.summary or _summarize(run, small, accepted, trained)
    result = Result(small, run.net, run.uncut, trained, tuple(run.trials), summary, tuple(run.warmup), run.baseline)
    run.recorder.finished(run, result)
    return result


def _summarize(run: Minimization, small: Any, accepted: list[Trial], trained: Any) -> Summary:
    before = _measure(run, run.uncut, run.cost_before, run.baseline)
    after = _measure(run, small, run.cost(small), accepted[-1].score if accepted else run.baseline)
    return Summary(
        before=replace(before, filters=run.filters_before),
        after=replace(after, filters=run.filters_left()),
        accepted=len(accepted),
        rejected=len(run.trials) - len(accepted),
        steps=run.warm_steps + run.options.steps * len(accepted),
        stopped=run.stopped,
        control_score=None if trained is None else _score_of(run, trained, run.test or run.feeds[1]),
    )


def _control(run: Minimization, accepted: list[Trial]) -> Any:
    """The uncut network, trained on the very batches that the slim one was trained on, reset as often."""
    kept, numbers = Checkpoint.of(run.net), [trial.number for trial in accepted]
    run.phase = "control"
    try:
        run.warm.restore()
        for place in range(run.recorder.control(run, numbers), len(numbers)):
            run.reset()
            run.engine.train(run.options.steps, numbers[place])
            run.recorder.controlled(run, numbers[: place + 1])
        return slim(run.net, run.sample())
    finally:
        kept.restore()


def _measure(run: Minimization, model: Any, cost: Cost, validation_score: float) -> Measurement:
    score = None if run.test is None else _score_of(run, model, run.test)
    latency = measured_latency(model, keras.tree.map_structure(lambda array: array[:1], run.sample()))
    return Measurement(0, cost.parameters, cost.multiply_adds, cost.bytes, latency, score, validation_score)


def _score_of(run: Minimization, model: Any, feed: Feed) -> float:
    return run.scorer(model, lambda: FitEngine(model, feed, feed, run.seed).evaluate())
