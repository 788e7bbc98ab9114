"""Histories: minimizations of one network with several strategies and thresholds; each trial is trained once."""

from __future__ import annotations

from typing import Any

from shrinknet.criterion import Criterion
from shrinknet.experiments.bench import Bench
from shrinknet.filters import Filter
from shrinknet.loop.pace import Fixed
from shrinknet.loop.proposals import ByCount
from shrinknet.loop.search import Ask, Attempt, Search
from shrinknet.loop.view import NetworkView
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.records import Trial
from shrinknet.strategies import load_strategy

# How a state was reached: number and filters of each accepted trial. The training of a trial depends only on its
# number, its filters and the state before it.
History = tuple[tuple[int, tuple[Filter, ...]], ...]


class Histories:
    """All states reached from one warmed-up network; each is computed on first use.

    Args:
        bench: at the end of its warm-up; steps: training steps of a trial.

    Attributes:
        trained: how many trials were trained; all others were reused.
    """

    def __init__(self, bench: Bench, steps: int) -> None:
        self.bench = bench
        self.steps = steps
        self.trained = 0
        self._states: dict[History, Checkpoint] = {(): bench.work.checkpoint()}
        self._scores: dict[tuple[History, str], float] = {}

    def restore(self, history: History) -> None:
        """Brings the network into the state after this history, training what is not known."""
        if history not in self._states:
            self.restore(history[:-1])
            number, filters = history[-1]
            self.bench.cut(*filters)
            self.bench.train(self.steps, number)
            self.trained += 1
            self._states[history] = self.bench.work.checkpoint()
        self._states[history].restore()

    def score(self, history: History, part: str = "validation") -> float:
        """The score of the state after this history on a part of the data."""
        if (history, part) not in self._scores:
            self.restore(history)
            self._scores[history, part] = self.bench.score(part)
        return self._scores[history, part]

    def minimize(self, strategy: str, threshold: float, reference: str, min_filters: int) -> dict[str, Any]:
        """One run until the strategy ends, with the same decisions as in the loop.

        Args:
            strategy, threshold, reference, min_filters: see `shrinknet.minimize`.

        Returns:
            Plain JSON types: scores of the warmed-up network (baseline), of the last accepted state (score) and of the
            control, each on validation and test data; disabled filters; trials.
        """
        self.restore(())
        run = _Run(self, self.bench.view(min_filters))
        search = Search(
            load_strategy(strategy, seed=self.bench.seed),
            Fixed(1),
            Criterion(threshold),
            baseline=self.score(()),
            moving=reference == "last",
        )
        self.restore(())
        search.run(run)
        trials = search.trials
        history = tuple((trial.number, trial.filters) for trial in trials if trial.accepted)
        uncut: History = tuple((number, ()) for number, _ in history)
        scores = {
            f"{prefix}{name}": self.score(states, part)
            for prefix, part in (("", "validation"), ("test_", "test"))
            for name, states in (("baseline", ()), ("score", history), ("control", uncut))
        }
        disabled = [str(filter) for _, filters in history for filter in filters]
        return {**scores, "disabled": len(disabled), "tried": len(trials), "accepted": len(history),
                "filters": " ".join(disabled), "trials": [_plain(trial) for trial in trials]}  # fmt: skip


class _Run:
    """One run within the histories: the process that a search drives (see `search.Process`)."""

    def __init__(self, histories: Histories, view: NetworkView) -> None:
        self.histories = histories
        self.view = view
        self.history: History = ()

    def reason_to_stop(self) -> str:
        return ""

    def proposals(self, ask: Ask) -> ByCount:
        return ByCount(ask)

    def attempt(self, number: int, filters: tuple[Filter, ...]) -> Attempt:
        return Attempt(self.histories.score((*self.history, (number, filters))), self.histories.steps)

    def settle(self, trial: Trial) -> Trial:
        if trial.accepted:
            self.history = (*self.history, (trial.number, trial.filters))
        self.histories.restore(self.history)
        return trial

    def told(self, trial: Trial) -> None: ...


def _plain(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.number, "filters": " ".join(map(str, trial.filters)), "score": trial.score,
            "ratio": trial.ratio, "accepted": trial.accepted}  # fmt: skip
