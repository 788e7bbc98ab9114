"""Search: the trials of a run (ask, try, judge, learn), whatever carries them out.

The method on one screen (thesis of B. Jenei, Szeged 2018, flowchart 2.2): until nothing is left to try, the
strategy chooses filters, the network has to do without them, and the cut is kept if enough of the score is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shrinknet.criterion import NONE, Criterion, Verdict
from shrinknet.filters import Filter
from shrinknet.loop.pace import Filters, Pace, Proposals
from shrinknet.records import Trial
from shrinknet.runs.signals import uninterrupted
from shrinknet.strategies import Network, Strategy, checked_ask

Ask = Callable[[int], Filters]


@dataclass(frozen=True)
class Attempt:
    """The outcome of doing without some filters.

    Attributes:
        score: NaN if it could not be computed.
        steps: training steps taken.
        untrained: the score before training; NaN if it was not measured.
        guards: the scores of the guards by name.
    """

    score: float
    steps: int = 0
    untrained: float = math.nan
    guards: Mapping[str, float] = field(default_factory=dict)


class Process(Protocol):
    """What a search drives: something that can do without filters for a while, and go back."""

    @property
    def view(self) -> Network:
        """The network as the strategy sees it."""

    def reason_to_stop(self) -> str:
        """Why the search ends now; empty: it goes on."""

    def proposals(self, ask: Ask) -> Proposals:
        """What the pace can ask for; `ask(count)` returns at most `count` filters, best first."""

    def attempt(self, number: int, filters: Filters) -> Attempt:
        """Does without these filters as well. If it raises, everything is as before."""

    def settle(self, trial: Trial) -> Trial:
        """Keeps the cut or restores everything, and records it; returns the trial with the network's cost filled in."""

    def told(self, trial: Trial) -> None:
        """Called once the trial is decided and recorded."""


class Search:
    """The trials of one run.

    Args:
        strategy: chooses the filters; pace: decides how many at once.
        criterion: what a cut must keep.
        baseline: score of the uncut network; guards: those of the guards by name.
        moving: compare with the last accepted score instead of the baseline.

    Attributes:
        trials: those decided so far.
        score: of the last accepted state.
        reference: what the next score is compared with; references: what those of the guards are.
    """

    def __init__(
        self,
        strategy: Strategy,
        pace: Pace,
        criterion: Criterion,
        *,
        baseline: float,
        guards: Mapping[str, float] = NONE,
        moving: bool = False,
    ) -> None:
        self.strategy = strategy
        self.pace = pace
        self.criterion = criterion
        self.baseline = self.score = self.reference = baseline
        self.references = dict(guards)
        self.moving = moving
        self.trials: list[Trial] = []

    def run(self, process: Process) -> str:
        """Runs trials until the search ends; returns why it ended."""
        while not (stopped := process.reason_to_stop()):
            filters = self.propose(process, process.view.candidates())
            if not filters:
                return "The strategy has nothing left to try."
            self.decide(process, filters)
        return stopped

    def propose(self, process: Process, candidates: Collection[Filter]) -> Filters:
        """The filters of the next trial; empty: there is nothing left to try."""
        proposals = process.proposals(lambda count: checked_ask(self.strategy, process.view, count))
        return self.pace.next(proposals, candidates)

    def decide(self, process: Process, filters: Filters) -> None:
        """One trial."""
        number = len(self.trials) + 1
        attempt = process.attempt(number, filters)
        with uninterrupted():
            trial = process.settle(self.judged(number, filters, attempt))
            self.learn(trial)
        process.told(trial)

    def judged(self, number: int, filters: Filters, attempt: Attempt) -> Trial:
        """The trial with its verdict, without the network's cost."""
        verdict = self.verdict(attempt.score, attempt.guards)
        split = not verdict.accepted and self.pace.splits(filters)
        return Trial(
            number, filters, attempt.score, self.reference, verdict.ratio, verdict.accepted, split,
            steps=attempt.steps, untrained=attempt.untrained, guards=dict(attempt.guards),
        )  # fmt: skip

    def verdict(self, score: float, guards: Mapping[str, float]) -> Verdict:
        """Whether a network with these scores would be kept."""
        return self.criterion.verdict(score, self.reference, guards, self.references)

    def learn(self, trial: Trial) -> None:
        """Updates score, pace and strategy after a decided trial, a new one or one from before an interruption."""
        self.trials.append(trial)
        if trial.accepted:
            self.score = trial.score
            if self.moving:
                self.reference, self.references = trial.score, dict(trial.guards)
        self.pace.tell(trial.filters, trial.accepted)
        self.strategy.tell(trial)

    @property
    def accepted(self) -> list[Trial]:
        """The trials whose cuts were kept."""
        return [trial for trial in self.trials if trial.accepted]
