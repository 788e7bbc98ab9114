"""Cuts filters whose output can be reconstructed from the other filters of their layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import Batch
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network


@final
class Rebuildable:
    """Cuts the filter whose output is best explained by the other filters of its layer.

    On the calibration data each filter's output is predicted by least squares from a constant and the outputs of its
    layer's other enabled filters. The filter's score is the mean squared error of this prediction, relative to the
    mean variance of the layer's outputs, so that layers can be compared. A copy, a constant, a dead filter and a
    weighted sum of others have an error of zero. New weights in the reader can compensate for a rebuildable filter;
    training has to find them (arXiv:1707.06168 solves for them instead). A group's score is the sum over its producers.

    Within a batch each choice counts as removed for the next one, so of two copies only one is asked for.

    Args:
        patience: rejections in a row since the last acceptance that end the search; None: it ends when every candidate
            has been rejected since the last acceptance.
        positions: use at most this many output positions of a layer, evenly spread over samples and places.

    Raises:
        OptionError: `patience` or `positions` is below 1.
    """

    def __init__(self, patience: int | None = 2, *, positions: int = 20_000) -> None:
        if positions < 1:
            raise OptionError(f"Expected the strategy's parameter positions to be at least 1; received {positions!r}.")
        self._memory = Memory(patience)
        self._positions = positions

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the best explained first; empty after `patience` rejections in a row."""
        open_filters = list(self._memory.remaining(network))
        members = {filter: network.group(filter).filters for filter in open_filters}
        layers = dict.fromkeys(member.layer for group in members.values() for member in group)
        outputs = {layer: _Outputs(network, layer, self._positions) for layer in layers}
        batch = Batch(network, count)
        while open_filters and not batch.full:
            best = min(open_filters, key=lambda filter: sum(outputs[m.layer].missed[m.index] for m in members[filter]))
            open_filters.remove(best)
            if batch.add(best) and not batch.full:
                for member in members[best]:
                    outputs[member.layer].remove(member.index)
        return batch.filters

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)


@final
class _Outputs:
    """The covariance of one layer's outputs.

    Attributes:
        missed: filter -> the part of its output that the others do not explain, in units of the layer's mean variance;
            from 0.
    """

    def __init__(self, network: Network, layer: str, positions: int) -> None:
        outputs = network.activations(layer)
        rows = outputs.reshape(-1, outputs.shape[-1])  # (positions, filters)
        rows = rows[:: -(-len(rows) // positions)].astype(np.float64)
        rows -= rows.mean(axis=0)
        self._left = list(network.enabled(layer))
        self._products = rows.T @ rows / len(rows)  # (filters, filters)
        self._unit = float(np.diag(self._products)[self._left].mean()) or 1.0
        self.missed = self._missed()

    def remove(self, index: int) -> None:
        """Stops using this filter to explain others."""
        self._left.remove(index)
        self.missed = self._missed()

    def _missed(self) -> dict[int, float]:
        products = self._products[np.ix_(self._left, self._left)] / self._unit
        # The unexplained part of a filter is 1 / its diagonal entry of the inverse. The ridge, of about float32's
        # resolution, makes the inverse exist when filters explain each other exactly.
        ridge = 1e-7
        inverse = np.linalg.inv(products + ridge * np.eye(len(products)))
        missed = np.round(np.maximum(1 / np.diag(inverse) - ridge, 0), 6)
        return dict(zip(self._left, missed.tolist(), strict=True))
