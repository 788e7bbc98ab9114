"""Cuts filters drawn at random: the baseline that every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory, at_least_one
from shrinknet.strategies.protocol import Network


@final
class Random:
    """Cuts filters drawn at random from all layers.

    The draw is a function of the seed and the number of decided trials, so a resumed run draws the same filters as an
    uninterrupted one. Filters rejected since the last acceptance are not drawn; if none is left, the search ends early.

    Args:
        trials: decided trials, accepted or rejected, after which the search ends; a batch is one trial, and the parts
            of a batch that was split are one each. None: it ends when every candidate has been rejected since the last
            acceptance.
        seed: integer from 0.

    Raises:
        OptionError: `trials` or `seed` is out of range.
    """

    def __init__(self, trials: int | None = 10, seed: int = 0) -> None:
        self._trials = at_least_one("trials", trials)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise OptionError(
                f"Expected the strategy's parameter seed to be an integer from 0 to 2**64 - 1; received {seed!r}."
            )
        self._seed = seed
        self._memory = Memory()

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` random candidates; empty after `trials` trials."""
        if self._trials is not None and self._memory.trials >= self._trials:
            return ()
        remaining = self._memory.remaining(network)
        # Raw numbers, not Generator.permutation: NumPy keeps only the raw stream stable between versions.
        numbers = np.random.Philox(key=[self._seed, self._memory.trials]).random_raw(len(remaining))
        order = np.argsort(numbers, kind="stable")
        return take(network, (remaining[place] for place in order), count)

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)
