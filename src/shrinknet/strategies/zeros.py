"""Cuts filters that are mostly silent behind their activation function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.ranking import lowest


@final
class Zeros:
    """Cuts the group with the largest share of zeros where it is read, on the calibration data.

    The average percentage of zeros (APoZ) of arXiv:1607.03250. It tells something where a ReLU or the like comes
    before the readers; groups without any zero go by the size of their activations.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
    """

    def __init__(self, patience: int | None = 2) -> None:
        self._memory = Memory(patience)

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the most silent first; empty after `patience` rejections in a row."""
        if not self._memory.remaining(network):
            return ()
        signals = network.signals()
        largest = max((signal.size for signal in signals.values()), default=0.0) or 1.0
        values = {
            filter: -signal.zeros if signal.zeros else signal.size / largest for filter, signal in signals.items()
        }
        return lowest(network, self._memory, values, count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
