"""Cuts filters that point in the same direction as others of their layer: what they do is done already."""

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

    A filter is its kernel flattened with its bias appended, a group its producers' vectors joined. Left out are the
    filter itself and disabled filters; frozen ones and the last of a layer are compared with, though not asked for.
    Equal similarities, as of the two most similar filters, go by the smaller norm, then by network order. A vector
    of zeros has similarity 0 to every other; a filter without any other to compare with comes last.

    In a batch each choice counts as gone for the next one, as if it had been accepted and no weight had moved: of
    two copies one is asked for, not both. After a rejection the next in rank is asked; the rejected filters are
    back, so the others are compared with them as before.
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
        """Remembers what became of a trial."""
        self._memory.tell(trial)


@final
class CosineMax(_Cosine):
    """Cuts the filter with the largest cosine similarity to any one other filter of its layer.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
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
    """The similarities among one set of peers, from which filters can be taken out one by one."""

    def __init__(self, family: Peers, summary: str, absolute: bool) -> None:
        norms = np.linalg.norm(family.vectors, axis=1)
        self.rows = {filter: row for row, filter in enumerate(family.filters)}
        self._norms = rounded(norms).tolist()
        self._similarity = similarity(family.vectors, norms)
        if absolute:
            self._similarity = np.abs(self._similarity)
        self._summary = summary
        self._compared = ~np.eye(len(norms), dtype=bool)  # (filters, filters): whom a row is compared with

    def remove(self, filter: Filter) -> None:
        """Compares no filter with this one from now on."""
        self._compared[:, self.rows[filter]] = False

    def keys(self) -> dict[Filter, tuple[float, float]]:
        """For each filter what it is ranked by, smallest first: similarity with the sign turned, norm."""
        if self._summary == "max":
            values = np.max(self._similarity, axis=1, where=self._compared, initial=-np.inf)
        else:
            others = self._compared.sum(axis=1)
            mean = np.sum(self._similarity, axis=1, where=self._compared) / np.maximum(others, 1)
            values = np.where(others > 0, np.round(mean, 12), -np.inf)
        ranks = zip((-values).tolist(), self._norms, strict=True)
        return dict(zip(self.rows, ranks, strict=True))


def similarity(vectors: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every two rows, in [-1, 1], 0 where a row is all zeros.

    Rounded to 12 decimals, and symmetric to the bit: what ties by the formula ties in the ranking too, and no
    library's order of summation decides.

    Args:
        vectors: float64, shape (filters, weights).
        norms: their L2 norms, shape (filters,).

    Returns:
        float64, shape (filters, filters).
    """
    unit = vectors / np.where(norms > 0, norms, 1.0)[:, np.newaxis]
    product = unit @ unit.T
    return np.round((product + product.T) / 2, 12)
