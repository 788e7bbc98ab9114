"""Learns from its own trials which layers give way, and asks there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import Batch
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import norms, rounded


@final
class Learned:
    """Cuts the filter with the smallest kernel of the layer whose cuts were accepted most often so far.

    Each layer is an arm of a bandit (UCB1, Auer, Cesa-Bianchi and Fischer 2002): its worth is the share of its cuts
    that were accepted, as if one had been and one had not before the first, plus a bonus for layers that were tried
    little. Within a batch each choice counts as a rejection of its layer for the next one, so a batch is spread over
    layers in proportion to their worth. What was learned fades, because a layer gives way less as it gets smaller.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        curiosity: weight of the bonus, from 0.
        memory: share of what was learned of a layer that is left after each further trial of it, above 0, at most 1.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(self, patience: int | None = 8, *, curiosity: float = 0.5, memory: float = 0.9) -> None:
        if isinstance(curiosity, bool) or not isinstance(curiosity, int | float) or not 0 <= curiosity < math.inf:
            raise OptionError(f"The strategy's parameter curiosity is a number from 0; not {curiosity!r}.")
        if isinstance(memory, bool) or not isinstance(memory, int | float) or not 0 < memory <= 1:
            raise OptionError(f"The strategy's parameter memory is a number above 0, at most 1; not {memory!r}.")
        self._memory = Memory(patience)
        self._curiosity = curiosity
        self._kept = memory
        self._accepted: dict[str, float] = {}
        self._rejected: dict[str, float] = {}

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, of the most promising layer first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        size = norms(network, 1, bias=False)
        queues: dict[str, list[Filter]] = {}
        for filter in sorted(remaining, key=size.__getitem__, reverse=True):  # the smallest is popped first
            queues.setdefault(filter.layer, []).append(filter)
        layers = [layer for layer in dict.fromkeys(filter.layer for filter in remaining)]
        batch, asked = Batch(network, count), dict.fromkeys(layers, 0)
        while queues and not batch.full:
            best = max((layer for layer in layers if layer in queues), key=lambda layer: self._worth(layer, asked))
            if batch.add(queues[best].pop()):
                asked[best] += 1
            if not queues[best]:
                del queues[best]
        return batch.filters

    def tell(self, trial: Trial) -> None:
        """Learns from a trial; one of several filters counts for each of their layers, once."""
        self._memory.tell(trial)
        if trial.split:
            return
        for layer in dict.fromkeys(filter.layer for filter in trial.filters):
            for counts, told in ((self._accepted, trial.accepted), (self._rejected, not trial.accepted)):
                counts[layer] = counts.get(layer, 0.0) * self._kept + told

    def _worth(self, layer: str, asked: dict[str, int]) -> float:
        accepted = 1 + self._accepted.get(layer, 0.0)
        tried = accepted + 1 + self._rejected.get(layer, 0.0) + asked[layer]
        bonus = self._curiosity * math.sqrt(math.log(2 + self._memory.trials) / tried)
        return float(rounded(np.array(accepted / tried + bonus)))
