"""Cuts filters near the centre of their layer, because the surrounding filters can take over their function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import peers


@final
class GeometricMedian:
    """Cuts the filter with the smallest sum of distances to the others of its layer, relative to its layer's mean.

    Based on filter pruning via the geometric median (arXiv:1811.00250), which prunes a fixed share of every layer.
    Here the candidates of all layers are ranked together, so each sum is divided by the mean over its layer: a value
    below 1 means closer to the centre than the average filter. Unlike a small norm this finds filters that others can
    replace, and unlike cosine similarity it takes their lengths into account. A filter with nothing to compare it with
    comes last.

    Args:
        patience: rejections in a row since the last acceptance that end the search; None: it ends when every candidate
            has been rejected since the last acceptance.
        bias: append the bias to each kernel.
    """

    def __init__(self, patience: int | None = 2, *, bias: bool = True) -> None:
        self._memory = Memory(patience)
        self._bias = bias

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the most central first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        distance: dict[Filter, float] = {}
        for family in peers(network, self._bias):
            distance |= dict(zip(family.filters, centrality(family.vectors).tolist(), strict=True))
        return take(network, sorted(remaining, key=distance.__getitem__), count)

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)


def centrality(vectors: np.ndarray) -> np.ndarray:
    """Each row's summed Euclidean distance to the other rows, divided by the mean of these sums.

    Args:
        vectors: float64, shape (filters, weights).

    Returns:
        float64, shape (filters,), from 0, mean 1; all 0 if the rows are equal, infinite for a single row.
    """
    if len(vectors) == 1:
        return np.array([np.inf])
    centred = vectors - vectors.mean(axis=0)  # less cancellation in the subtraction below
    squares = np.einsum("fw,fw->f", centred, centred)
    product = centred @ centred.T
    squared = squares[:, np.newaxis] + squares - (product + product.T)  # (filters, filters)
    noise = 1e-13 * np.square(vectors).sum(axis=1).max()  # indistinguishable in float32
    sums = np.sqrt(np.where(squared > noise, squared, 0.0)).sum(axis=1)
    # Equal sums must tie whatever the order of summation; 9 decimals are certain to survive the subtraction.
    shares: np.ndarray = np.round(sums / (sums.mean() or 1.0), 9)
    return shares
