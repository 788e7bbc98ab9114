"""The final training: the network that is left is trained with a rate that falls to 0, and so is the control."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

from shrinknet.errors import DataError
from shrinknet.loop.loop import Outcome
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.options import Options
from shrinknet.loop.pupil import Pupil, small_pupil, switched_pupil
from shrinknet.loop.rates import final_optimizer
from shrinknet.loop.teaching import taught
from shrinknet.loop.workbench import Workbench
from shrinknet.network.checkpoint import Checkpoint, to_arrays
from shrinknet.network.guarded import keep_frozen
from shrinknet.runs.recorder import FinalState

LESSON = 2**30  # takes the place of a trial's number when the order of the data is drawn
PARTS = 10
_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Ending:
    """The outcome of the final training.

    Attributes:
        steps: training steps taken; score: validation score of the network that is kept.
        interrupted: why it was not completed, one sentence; the network is then as it was before. Empty: it was.
    """

    steps: int
    score: float
    interrupted: str = ""


def train_finally(notebook: Notebook, outcome: Outcome, options: Options, own: Any) -> Ending:
    """Trains the network that is left; if that makes its validation score worse, the network stays as it was.

    Args:
        own: the optimizer that the model was compiled with.
    """
    bench, steps = notebook.bench, options.final.steps or 0
    if outcome.unfinished or not outcome.accepted or not steps:
        return Ending(0, outcome.score)
    bench.progress.begin("final training")
    optimizer = final_optimizer(options.final, options.training, own)
    pupil = small_pupil(bench, optimizer)
    if pupil is None:
        bench.take_optimizer(optimizer)
        pupil = switched_pupil(bench)
    before = Checkpoint.of(pupil.net)
    try:
        taken, score = _train(notebook, outcome, options, pupil)
    except (KeyboardInterrupt, DataError) as error:
        before.restore()
        why = "Interrupted" if isinstance(error, KeyboardInterrupt) else str(error).rstrip(".")
        _LOG.warning("%s. The network is handed over as it was before the final training.", why)
        return Ending(0, outcome.score, f"{why}: the final training was left out.")
    if not is_as_good(bench, score, outcome.score) or not _guards_hold(bench, outcome, options, pupil):
        before.restore()
        return Ending(taken, outcome.score)
    pupil.give_back()
    return Ending(taken, score)


def _train(notebook: Notebook, outcome: Outcome, options: Options, pupil: Pupil) -> tuple[int, float]:
    """Trains in ten parts, each recorded, from where a run was interrupted; the steps and the score at the end.

    A callback may stop it; the record then says so, since a finished run must not train again.
    """
    bench, steps = notebook.bench, options.final.steps or 0
    numbers = tuple(trial.number for trial in outcome.accepted)
    done, score, stopped = _go_on(notebook, pupil, numbers)
    for part in range(1, PARTS + 1):
        mark = math.ceil(steps * part / PARTS)
        if mark > done and not stopped:
            with taught(pupil.net, outcome.warm.uncut, options.final.distill):
                taken = pupil.engine.train(mark - done, LESSON, start=done, total=steps)
            stopped, done, score = pupil.engine.stopped, done + taken, pupil.score(bench)
            bench.progress.state(score, bench.filters_left())
            state = FinalState(numbers, done, score, pupil.engine.position(), to_arrays(pupil.net), stopped)
            notebook.recorder.finalizing(state)
    return done, score


def _guards_hold(bench: Workbench, outcome: Outcome, options: Options, pupil: Pupil) -> bool:
    """Whether each guard keeps enough of its score after the warm-up, or is as good as before the final training."""
    if not bench.scorer.guards:
        return True
    _, now = bench.scorer.with_guards(pupil.net, pupil.engine.evaluate)
    criteria, before, start = options.criterion(bench.scorer).guards, outcome.accepted[-1].guards, outcome.warm.guards
    return all(
        criterion.verdict(now[name], start[name]).accepted
        or replace(criterion, threshold=1.0, max_drop=None).verdict(now[name], before[name]).accepted
        for name, criterion in criteria.items()
    )


def is_as_good(bench: Workbench, score: float, other: float) -> bool:
    """Whether a score is at least as good as another; never if it is not finite."""
    if not math.isfinite(score):
        return False
    return score >= other if bench.scorer.higher_is_better else score <= other


def _go_on(notebook: Notebook, pupil: Pupil, numbers: tuple[int, ...]) -> tuple[int, float, bool]:
    """Restores an interrupted final training: its steps, its score, whether a callback stopped it."""
    saved = notebook.recorder.final()
    if saved is None or saved.numbers != numbers:
        return 0, math.nan, False
    pupil.put_back(saved.arrays, notebook.bench)
    pupil.engine.go_to(saved.position)
    return saved.done, saved.score, saved.stopped


def train_control(notebook: Notebook, outcome: Outcome, options: Options, own: Any) -> Any:
    """The uncut network, trained on the same batches as the slim one, its optimizer reset as often."""
    bench, recorder = notebook.bench, notebook.recorder
    kept, optimizer = bench.checkpoint(), bench.net.optimizer
    lessons = [(trial.number, trial.steps) for trial in outcome.accepted if trial.steps]
    if options.final.steps and outcome.accepted:
        lessons.append((LESSON, options.final.steps))
    numbers = tuple(number for number, _ in lessons)
    bench.progress.begin("control")
    try:
        outcome.warm.checkpoint.restore()
        done = 0
        saved = recorder.control()
        if saved is not None and saved.numbers == numbers[: len(saved.numbers)]:
            if LESSON in saved.numbers:
                bench.take_optimizer(final_optimizer(options.final, options.training, own))
            bench.put_back(saved.arrays)
            bench.engine.go_to(saved.position)
            done = len(saved.numbers)
        for place in range(done, len(lessons)):
            number, steps = lessons[place]
            if number == LESSON:
                _finish_control(bench, outcome, options, own)
            else:
                if options.training.reset:
                    bench.reset()
                with taught(bench.net, outcome.warm.uncut, options.training.distill):
                    bench.engine.train(steps, number)
            recorder.controlled(numbers[: place + 1], bench.engine.position(), bench.arrays)
        return bench.slim()
    finally:
        _compile_again(bench, optimizer)
        kept.restore()


def _finish_control(bench: Workbench, outcome: Outcome, options: Options, own: Any) -> None:
    """The final training of the control; if it makes the score worse, the control stays as it was."""
    before, score = bench.checkpoint(), bench.score()
    bench.take_optimizer(final_optimizer(options.final, options.training, own))
    with taught(bench.net, outcome.warm.uncut, options.final.distill):
        bench.engine.train(options.final.steps or 0, LESSON)
    if not is_as_good(bench, bench.score(), score):
        before.restore()


def _compile_again(bench: Workbench, optimizer: Any) -> None:
    if bench.net.optimizer is not optimizer:
        bench.take_optimizer(optimizer)
        keep_frozen(bench.net)
