"""Cuts the filters that cost the least score, which is measured at the price of one evaluation per candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import norms


@final
class Ablation:
    """Cuts the filter whose removal costs the least score on the calibration data, before any training.

    Every candidate is measured again each time (the exhaustive ranking of arXiv:1611.06440). Ties are broken by the
    smaller norm, then by network order; a score that is not finite comes last. In a batch the losses are those of
    single filters: the trial shows their joint effect. After a rejection the next in rank is asked for.

    Args:
        patience: rejections in a row since the last acceptance that end the search; None: it ends when every candidate
            has been rejected since the last acceptance.
    """

    def __init__(self, patience: int | None = 2) -> None:
        self._memory = Memory(patience)

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the least important first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        sign = -1.0 if network.higher_is_better else 1.0
        size = norms(network)

        def rank(filter: Filter) -> tuple[float, float]:
            score = network.score(without=(filter,))
            return sign * score if math.isfinite(score) else math.inf, size[filter]

        return take(network, sorted(remaining, key=rank), count)

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)
