"""Cuts filters that the loss hardly feels: a first-order estimate from one pass forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.ranking import lowest, within_layers


@final
class Taylor:
    """Cuts the group whose activation times gradient is smallest: to first order the change of the loss without it.

    The criterion of arXiv:1611.06440: the mean over calibration samples of the absolute value of the sum over places
    of activation times gradient, divided by the Euclidean norm of these values over the layer, so that layers can be
    compared. It is taken where the group is read, which is where disabling sets it to 0; a group that several layers
    read counts the sum over them.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        relative: divide by the norm over the layer.
    """

    def __init__(self, patience: int | None = 2, *, relative: bool = True) -> None:
        self._memory = Memory(patience)
        self._relative = relative

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the least felt first; empty after `patience` rejections in a row."""
        if not self._memory.remaining(network):
            return ()
        felt = {filter: float(np.abs(falls).mean(dtype=np.float64)) for filter, falls in network.slopes().items()}
        return lowest(network, self._memory, within_layers(felt, "norm") if self._relative else felt, count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
