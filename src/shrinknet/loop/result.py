"""The result of `minimize`: before, after, and the control."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras

from shrinknet.cutting.slimmer import say_if_another_class
from shrinknet.errors import StorageError
from shrinknet.exporters import measured_latencies
from shrinknet.loop.final import Ending, train_control, train_finally
from shrinknet.loop.loop import Outcome
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.options import Options
from shrinknet.loop.workbench import Workbench
from shrinknet.records import Cost, Measurement, Summary, Trial, trials_frame
from shrinknet.runs.recorder import After

if TYPE_CHECKING:
    import pandas

_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Result:
    """What `minimize` returns.

    Attributes:
        model: the slim network, plain Keras, compiled like the user's model, with `trial_optimizer` if one was given.
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
        """A pandas.DataFrame with one row per trial."""
        return trials_frame(self.records)

    def __str__(self) -> str:
        return str(self.summary)


def finish(
    notebook: Notebook, outcome: Outcome, options: Options, *, own: Any, control: bool, latency: bool = True
) -> Result:
    """Runs the final training, cuts the network out, measures before and after, and records the result.

    Args:
        notebook: of the run; outcome: how its trials ended; options: its settings.
        own: the optimizer that the model was compiled with.
        control: also train the uncut network for as many steps, unless the run was interrupted.
        latency: measure it for the summary.
    """
    bench, warm = notebook.bench, outcome.warm
    ending = train_finally(notebook, outcome, options, own)
    if ending.interrupted:
        outcome = replace(outcome, stopped=ending.interrupted, unfinished=True)
    small = bench.slim()
    say_if_another_class(bench.net, small)
    trained = train_control(notebook, outcome, options, own) if control and not outcome.unfinished else None
    cost = bench.cost(small)
    known = notebook.saved.summary if notebook.saved else None
    summary = known or _summarize(bench, outcome, ending, options, small, cost, trained)
    if known is None and latency:
        summary = _timed(summary, bench, warm.uncut, small)
    try:
        notebook.recorder.finished(
            After(summary, cost, bench.removed(), bench.kernels(), bench.net, small, not outcome.unfinished)
        )
    except StorageError as error:  # every decision is on disk; the rest follows from them
        _LOG.warning("%s The result is returned nevertheless; repeat the call to complete the folder.", error)
    return Result(small, bench.net, warm.uncut, trained, outcome.trials, summary, warm.curve, warm.baseline)


def _summarize(
    bench: Workbench, outcome: Outcome, ending: Ending, options: Options, small: Any, cost: Cost, trained: Any
) -> Summary:
    warm, accepted, data = outcome.warm, outcome.accepted, bench.data
    before = _measure(bench, warm.uncut, warm.cost, warm.baseline)
    after = _measure(bench, small, cost, ending.score)
    return Summary(
        before=replace(before, filters=warm.filters),
        after=replace(after, filters=bench.filters_left()),
        accepted=len(accepted),
        rejected=len(outcome.trials) - len(accepted),
        steps=warm.steps + sum(trial.steps for trial in accepted) + ending.steps,
        spent=warm.steps + sum(trial.steps for trial in outcome.trials) + ending.steps,
        stopped=outcome.stopped,
        control_score=None if trained is None else bench.score_of(trained, data.test or data.validation),
        notes=_notes(bench, outcome, ending, options),
    )


def _notes(bench: Workbench, outcome: Outcome, ending: Ending, options: Options) -> tuple[str, ...]:
    """What the user should know about the scores."""
    criterion, baseline = replace(options.criterion(bench.scorer), guards={}), outcome.warm.baseline
    if not options.decides or criterion.verdict(ending.score, baseline).accepted:
        return ()
    return (
        f"The whole loss is greater than a single cut's allowance: the validation score went from {baseline:.4g} to "
        f"{ending.score:.4g}. Each cut was compared with the one before; reference='baseline' bounds the whole.",
    )


def _measure(bench: Workbench, model: Any, cost: Cost, validation_score: float) -> Measurement:
    score = None if bench.data.test is None else bench.score_of(model, bench.data.test)
    return Measurement(0, cost.parameters, cost.multiply_adds, cost.bytes, None, score, validation_score)


def _timed(summary: Summary, bench: Workbench, uncut: Any, small: Any) -> Summary:
    """The summary with the latency of both networks, measured in turn."""
    sample = keras.tree.map_structure(lambda array: array[:1], bench.sample())
    before, after = measured_latencies([uncut, small], sample, input_shape=bench.shapes)
    return replace(summary, before=summary.before.timed(before), after=summary.after.timed(after))
