"""Cuts filters that point in the same direction as others of their layer, and are therefore redundant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import Batch
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import Peers, peers, rounded


class _Cosine:
    """Ranks the candidates of all layers by their cosine similarity to the other filters of their layer.

    The vector of a filter is its kernel, flattened, with its bias appended; that of a group is the concatenation of
    its producers' vectors. A filter is compared with all other enabled filters of its layer, including those that are
    frozen or the last of the layer and cannot be asked for. Ties, such as between the two most similar filters, are
    broken by the smaller norm, then by network order. A vector of zeros has similarity 0 to every other; a filter with
    nothing to compare it with comes last.

    Within a batch each choice counts as removed for the next one, as if it had been accepted without changing any
    weight: of two copies only one is asked for. After a rejection the next in rank is asked for; the rejected filters
    are enabled again, so the others are still compared with them.
    """

    summary: ClassVar[str]
    absolute: ClassVar[bool]

    def __init__(self, patience: int | None = 2) -> None:
        self._memory = Memory(patience)

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the most similar first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        place = {filter: position for position, filter in enumerate(remaining)}
        tables = [_Table(family, self.summary, self.absolute) for family in peers(network)]
        home = {filter: table for table in tables for filter in table.rows if filter in place}
        keys = {filter: key for table in tables for filter, key in table.keys().items() if filter in place}
        batch = Batch(network, count)
        while keys and not batch.full:
            best = min(keys, key=lambda filter: (*keys[filter], place[filter]))
            del keys[best]
            if batch.add(best) and not batch.full:
                home[best].remove(best)
                keys |= {filter: key for filter, key in home[best].keys().items() if filter in keys}
        return batch.filters

    def tell(self, trial: Trial) -> None:
        """Records the result of a trial."""
        self._memory.tell(trial)


@final
class CosineMax(_Cosine):
    """Cuts the filter with the largest cosine similarity to any one other filter of its layer.

    Args:
        patience: rejections in a row since the last acceptance that end the search; None: it ends when every candidate
            has been rejected since the last acceptance.
    """

    summary = "max"
    absolute = False


@final
class CosineMean(_Cosine):
    """Cuts the filter with the largest mean cosine similarity to the other filters of its layer.

    Args:
        patience: as for `CosineMax`.
    """

    summary = "mean"
    absolute = False


@final
class CosineMaxAbsolute(_Cosine):
    """Like cosine-max, with opposite filters counted as similar: the absolute value of the similarity.

    Args:
        patience: as for `CosineMax`.
    """

    summary = "max"
    absolute = True


@final
class CosineMeanAbsolute(_Cosine):
    """Like cosine-mean, with opposite filters counted as similar: the absolute values of the similarities.

    Args:
        patience: as for `CosineMax`.
    """

    summary = "mean"
    absolute = True


@final
class _Table:
    """The similarities among one set of peers, from which filters can be removed one by one."""

    def __init__(self, family: Peers, summary: str, absolute: bool) -> None:
        norms = np.linalg.norm(family.vectors, axis=1)
        self.rows = {filter: row for row, filter in enumerate(family.filters)}
        self._norms = rounded(norms).tolist()
        self._similarity = similarity(family.vectors, norms)
        if absolute:
            self._similarity = np.abs(self._similarity)
        self._summary = summary
        self._compared = ~np.eye(len(norms), dtype=bool)  # (filters, filters): what a row is compared with

    def remove(self, filter: Filter) -> None:
        """Stops comparing other filters with this one."""
        self._compared[:, self.rows[filter]] = False

    def keys(self) -> dict[Filter, tuple[float, float]]:
        """The sort key of each filter, smallest first: negative similarity, norm."""
        if self._summary == "max":
            values = np.max(self._similarity, axis=1, where=self._compared, initial=-np.inf)
        else:
            others = self._compared.sum(axis=1)
            mean = np.sum(self._similarity, axis=1, where=self._compared) / np.maximum(others, 1)
            values = np.where(others > 0, np.round(mean, 12), -np.inf)
        ranks = zip((-values).tolist(), self._norms, strict=True)
        return dict(zip(self.rows, ranks, strict=True))


def similarity(vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every two rows, in [-1, 1]; 0 if a row is all zeros.

    Rounded to 12 decimals and exactly symmetric, so that mathematical ties are ties in the ranking, whatever order of
    summation a library uses.

    Args:
        vectors: float64, shape (filters, weights).
        norms: their L2 norms, shape (filters,).

    Returns:
        float64, shape (filters, filters).
    """
    unit = vectors / np.where(norms > 0, norms, 1.0)[:, np.newaxis]
    product = unit @ unit.T
    return np.round((product + product.T) / 2, 12)
