"""What `minimize` returns, and how the end of a run is measured: before, after, and the control."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras

from shrinknet.errors import StorageError
from shrinknet.exporters import measured_latency
from shrinknet.loop.loop import Notebook, Outcome
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


def finish(notebook: Notebook, outcome: Outcome, options: Options, *, control: bool) -> Result:
    """Cuts the network out, measures before and after, and writes it down.

    Args:
        notebook: of the run; outcome: how its trials ended; options: its settings.
        control: also train the uncut network for as many steps, unless the run is to be continued.
    """
    bench, warm = notebook.bench, outcome.warm
    small = bench.slim()
    trained = _control(notebook, outcome, options) if control and not outcome.unfinished else None
    cost = bench.cost(small)
    known = notebook.saved.summary if notebook.saved else None
    summary = known or _summarize(bench, outcome, options, small, cost, trained)
    try:
        notebook.recorder.finished(
            After(summary, cost, bench.removed(), bench.kernels(), bench.net, small, not outcome.unfinished)
        )
    except StorageError as error:  # every decision is on the disk; what is missing follows from them
        _LOG.warning("%s The result is returned all the same; the same call completes the folder.", error)
    return Result(small, bench.net, warm.uncut, trained, outcome.trials, summary, warm.curve, warm.baseline)


def _summarize(bench: Workbench, outcome: Outcome, options: Options, small: Any, cost: Cost, trained: Any) -> Summary:
    warm, accepted = outcome.warm, outcome.accepted
    before = _measure(bench, warm.uncut, warm.cost, warm.baseline)
    after = _measure(bench, small, cost, outcome.score)
    data = bench.data
    return Summary(
        before=replace(before, filters=warm.filters),
        after=replace(after, filters=bench.filters_left()),
        accepted=len(accepted),
        rejected=len(outcome.trials) - len(accepted),
        steps=warm.steps + options.training.steps * len(accepted),
        stopped=outcome.stopped,
        control_score=None if trained is None else bench.score_of(trained, data.test or data.validation),
    )


def _control(notebook: Notebook, outcome: Outcome, options: Options) -> Any:
    """The uncut network, trained on the very batches that the slim one was trained on, reset as often."""
    bench, recorder = notebook.bench, notebook.recorder
    kept, numbers = bench.checkpoint(), tuple(trial.number for trial in outcome.accepted)
    bench.progress.begin("control")
    try:
        outcome.warm.checkpoint.restore()
        done = 0
        saved = recorder.control()
        if saved is not None and saved.numbers == numbers[: len(saved.numbers)]:
            bench.put_back(saved.arrays)
            bench.engine.go_to(saved.position)
            done = len(saved.numbers)
        for place in range(done, len(numbers)):
            if options.training.reset:
                bench.reset()
            bench.engine.train(options.training.steps, numbers[place])
            recorder.controlled(numbers[: place + 1], bench.engine.position(), bench.arrays)
        return bench.slim()
    finally:
        kept.restore()


def _measure(bench: Workbench, model: Any, cost: Cost, validation_score: float) -> Measurement:
    score = None if bench.data.test is None else bench.score_of(model, bench.data.test)
    latency = measured_latency(model, keras.tree.map_structure(lambda array: array[:1], bench.sample()))
    return Measurement(0, cost.parameters, cost.multiply_adds, cost.bytes, latency, score, validation_score)
