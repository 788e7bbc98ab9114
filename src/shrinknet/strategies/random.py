"""Cuts filters drawn by chance: the baseline that every other strategy has to beat."""

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
    """Cuts filters drawn at random, all layers alike.

    The draw is a function of the seed and the number of decided trials, so an interrupted run draws on as it would
    have. Filters rejected since the last acceptance are not drawn; when none is left, the run ends early.

    Args:
        trials: decided trials, accepted or rejected, after which the run ends; a batch is one trial, and the parts
            of a batch that was split are one each. None: until every candidate was rejected since the last
            acceptance.
        seed: integer from 0.

    Raises:
        OptionError: `trials` or `seed` is out of range.
    """

    def __init__(self, trials: int | None = 10, seed: int = 0) -> None:
        self._trials = at_least_one("trials", trials)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise OptionError(f"The strategy's parameter seed is an integer from 0 to 2**64 - 1; not {seed!r}.")
        self._seed = seed
        self._memory = Memory()

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates by chance; empty after `trials` trials."""
        if self._trials is not None and self._memory.trials >= self._trials:
            return ()
        remaining = self._memory.remaining(network)
        # Raw numbers, not Generator.permutation: NumPy keeps only the raw stream the same from version to version.
        numbers = np.random.Philox(key=[self._seed, self._memory.trials]).random_raw(len(remaining))
        order = np.argsort(numbers, kind="stable")
        return take(network, (remaining[place] for place in order), count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
