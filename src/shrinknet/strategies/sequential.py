"""Tries one filter after another in network order, without any ranking, so that every filter is tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import final

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory, at_least_one
from shrinknet.strategies.protocol import Network


@final
class Sequential:
    """Cuts filters in network order, from the first to the last, each tried once.

    Rejected filters are not tried again in the same round. In a later round they are, if an acceptance has changed the
    network since.

    Args:
        rounds: how many times to go through the network; None: until every candidate has been rejected since the last
            acceptance.

    Raises:
        OptionError: `rounds` is below 1.
    """

    def __init__(self, rounds: int | None = 1) -> None:
        self._rounds = at_least_one("rounds", rounds)
        self._memory = Memory()
        self._turns: Counter[Filter] = Counter()

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates in network order; empty after the last filter of the last round."""
        due = [
            filter
            for filter in self._memory.remaining(network)
            if self._rounds is None or self._turns[filter] < self._rounds
        ]
        return take(network, sorted(due, key=self._turns.__getitem__), count)

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)
        if not trial.split:
            self._turns.update(trial.filters)
