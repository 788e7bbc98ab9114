"""Cuts filters that say little: small activations, or mostly zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.ranking import lowest, within_layers


@final
class Activation:
    """Cuts the group whose activations are smallest in absolute value on the calibration data, where they are read.

    The criterion "mean activation" of arXiv:1611.06440.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        relative: divide by the mean over the layer first, so that layers can be compared.
    """

    def __init__(self, patience: int | None = 2, *, relative: bool = True) -> None:
        self._memory = Memory(patience)
        self._relative = relative

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the smallest first; empty after `patience` rejections in a row."""
        if not self._memory.remaining(network):
            return ()
        sizes = {filter: signal.size for filter, signal in network.signals().items()}
        return lowest(network, self._memory, within_layers(sizes, "mean") if self._relative else sizes, count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
