"""Cuts filters with small weights, because they contribute little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import norms, peers, rounded


class _Norm:
    """Ranks the candidates of all layers by the norm of their kernels, smallest first, then network order.

    After a rejection the next in rank is asked for.
    """

    order: ClassVar[int]

    def __init__(self, patience: int | None = 2, *, relative: bool = False, bias: bool = False) -> None:
        self._memory = Memory(patience)
        self._relative = relative
        self._bias = bias

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the smallest first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        size = norms(network, self.order, self._bias)
        if self._relative:
            size = _relative(network, size)
        return take(network, sorted(remaining, key=size.__getitem__), count)

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)


@final
class NormL1(_Norm):
    """Cuts the filter whose weights have the smallest sum of absolute values (arXiv:1608.08710).

    Args:
        patience: rejections in a row since the last acceptance that end the search; None: it ends when every candidate
            has been rejected since the last acceptance.
        relative: first divide each norm by the mean of its layer's enabled filters. Otherwise layers whose filters have
            few weights come first.
        bias: count the bias as a weight.
    """

    order = 1


@final
class NormL2(_Norm):
    """Cuts the filter whose weights have the smallest Euclidean norm.

    Args:
        patience: as for `NormL1`.
        relative: as for `NormL1`.
        bias: as for `NormL1`.
    """

    order = 2


def _relative(network: Network, size: dict[Filter, float]) -> dict[Filter, float]:
    """Each norm divided by the mean over its peers; 0 if all of them are 0."""
    relative: dict[Filter, float] = {}
    for family in peers(network, bias=False):
        sizes = np.array([size[filter] for filter in family.filters])
        shares = rounded(sizes / (sizes.mean() or 1.0))
        relative |= dict(zip(family.filters, shares.tolist(), strict=True))
    return relative
