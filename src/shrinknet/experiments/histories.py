"""Histories: minimizations of one network with several strategies and thresholds; each trial is trained once."""

from __future__ import annotations

from typing import Any

from shrinknet.criterion import Criterion
from shrinknet.engine.data import Arrays
from shrinknet.errors import OptionError
from shrinknet.experiments.bench import Bench
from shrinknet.filters import Filter
from shrinknet.loop.pace import Fixed
from shrinknet.loop.proposals import ByCount
from shrinknet.loop.search import Ask, Attempt, Search
from shrinknet.loop.view import NetworkView
from shrinknet.minimizer import minimize
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
                "steps": self.steps * len(trials),
                "filters": " ".join(disabled), "trials": [_plain(trial) for trial in trials]}  # fmt: skip

    def by_default(self, threshold: float, min_filters: int) -> dict[str, Any]:
        """As `minimize`, by the default of `shrinknet.minimize` from the same network."""
        self.restore(())
        bench = self.bench
        train, validation, test = (bench.parts[name] for name in ("train", "validation", "test"))
        if not (isinstance(train, Arrays) and isinstance(validation, Arrays) and isinstance(test, Arrays)):
            raise OptionError("The strategy 'default' needs crops that fit in memory: raise memory=, or take fewer.")
        result = minimize(
            bench.work.slim(), train.arrays, validation.arrays, test_data=test.arrays, threshold=threshold,
            min_filters=min_filters,
            score="soft_f1", mode="max", seed=bench.seed, batch_size=bench.settings.batch, control=True, verbose=0,
        )  # fmt: skip
        summary, trials = result.summary, result.records
        scores = {
            "baseline": summary.before.validation_score, "score": summary.after.validation_score,
            "control": bench.work.score_of(result.control, validation),
            "test_baseline": summary.before.score, "test_score": summary.after.score,
            "test_control": summary.control_score,
        }  # fmt: skip
        kept = [trial for trial in trials if trial.accepted]
        disabled = [str(filter) for trial in kept for filter in trial.filters]
        return {**scores, "disabled": len(disabled), "tried": len(trials), "accepted": len(kept),
                "steps": summary.spent, "filters": " ".join(disabled),
                "trials": [_plain(trial) for trial in trials]}  # fmt: skip


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
