"""The loop: warm up; then cut, repair, train, measure, and keep the cut or restore every bit.

`minimize_network` runs the warm-up and all trials, from the start or from where an earlier run was interrupted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import keras

from shrinknet.errors import DataError, OptionError
from shrinknet.exporters import measured_latency
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.options import Options
from shrinknet.loop.pace import Pace
from shrinknet.loop.search import Search
from shrinknet.loop.trials import Trials
from shrinknet.loop.warming import Warm, warm_up
from shrinknet.loop.workbench import Workbench
from shrinknet.records import Trial
from shrinknet.strategies import Strategy

_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Outcome:
    """How the trials ended.

    Attributes:
        warm: the network before the first trial; trials: all decided ones; score: of the last accepted state.
        stopped: why they ended, one sentence; unfinished: whether they were interrupted; the same call then continues.
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


def minimize_network(
    notebook: Notebook, strategy: Strategy, pace: Pace, options: Options, optimizer: Any = None
) -> Outcome:
    """Runs the warm-up and the trials.

    Args:
        notebook: of the run, new or loaded from an interrupted one.
        strategy, pace, options: see `minimize`; optimizer: of the trials; None: the model's own.
    """
    bench = notebook.bench
    if any(goal.unit == "latency" for goal in options.goals) and notebook.latency is None:
        notebook.latency = latency_of(bench)
    criterion = options.criterion(bench.scorer)
    warm = warm_up(notebook, options.warmup, criterion, optimizer)
    search = Search(
        strategy, pace, criterion, baseline=warm.baseline, guards=warm.guards, moving=options.reference == "last"
    )
    trials = Trials(notebook, warm, search, options, lambda: latency_of(bench))
    trials.catch_up()
    stopped, unfinished = "", True
    try:
        stopped, unfinished = " ".join(filter(None, (search.run(trials), trials.missed()))), False
    except KeyboardInterrupt:
        stopped = "Interrupted: the open trial was rolled back."
        _LOG.warning("Interrupted. The open trial is rolled back; the accepted cuts are applied and measured now.")
    except DataError as error:
        stopped = f"{error} The open trial was rolled back."
        _LOG.warning(stopped)
    return Outcome(warm, tuple(search.trials), search.score, stopped, unfinished)


def latency_of(bench: Workbench) -> float:
    """Median latency in milliseconds of the network as it would be cut out now, for one sample.

    Raises:
        OptionError: it cannot be measured here.
    """
    sample = keras.tree.map_structure(lambda array: array[:1], bench.sample())
    latency = measured_latency(bench.slim(), sample, input_shape=bench.shapes)
    if latency is None:
        raise OptionError(
            "The target is about latency, but this network cannot be exported to LiteRT, so that its latency cannot be "
            "measured here. Give the target in multiply_adds."
        )
    return latency
