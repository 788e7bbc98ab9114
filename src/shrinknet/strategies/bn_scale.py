"""Cuts filters that batch normalization scales down: what training has made small is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.ranking import lowest, within_layers


@final
class BatchNormScale:
    """Cuts the group with the smallest scale (gamma) in its batch normalizations, in absolute value.

    After network slimming (arXiv:1708.06519), which also trains with an L1 penalty on the scales; without that they
    tell less. A group that several normalizations scale has the mean of theirs; one that none scales comes last.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        relative: divide by the mean over the layer first.
    """

    def __init__(self, patience: int | None = 2, *, relative: bool = False) -> None:
        self._memory = Memory(patience)
        self._relative = relative

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the smallest scale first; empty after `patience` rejections in a row."""
        if not self._memory.remaining(network):
            return ()
        scales = network.scales()
        return lowest(network, self._memory, within_layers(scales, "mean") if self._relative else scales, count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
