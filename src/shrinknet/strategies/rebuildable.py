"""Cuts filters whose output the others of their layer can rebuild: whoever reads it loses nothing it cannot make up."""

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
    """Cuts the filter of whose output least is left once the other filters of its layer have explained what they can.

    On the calibration data each filter's output is predicted from the outputs of its layer's other enabled filters,
    and a constant, by least squares. What the prediction misses is the filter's score: its mean square, relative to
    the mean variance of the layer's outputs, so that layers can be compared. A copy, a constant, a dead filter and a
    weighted sum of others miss nothing. The reader of a rebuildable filter can take it over by new weights, which
    training has to find (after arXiv:1707.06168, where the readers are solved for). A group's score is the sum over
    its producers.

    In a batch each choice counts as gone for the next one, so of two copies one is asked for.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        positions: at most so many output positions of a layer are used, evenly spread over samples and places.

    Raises:
        OptionError: `patience` or `positions` is below 1.
    """

    def __init__(self, patience: int | None = 2, *, positions: int = 20_000) -> None:
        if positions < 1:
            raise OptionError(f"The strategy's parameter positions is an integer from 1; not {positions!r}.")
        self._memory = Memory(patience)
        self._positions = positions

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the best rebuilt first; empty after `patience` rejections in a row."""
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
        """Remembers what became of a trial."""
        self._memory.tell(trial)


@final
class _Outputs:
    """How one layer's outputs vary together.

    Attributes:
        missed: filter -> the share of its output that the others leave unexplained, in units of the layer's mean
            variance; from 0.
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
        """Explains nothing by this filter from now on."""
        self._left.remove(index)
        self.missed = self._missed()

    def _missed(self) -> dict[int, float]:
        products = self._products[np.ix_(self._left, self._left)] / self._unit
        # What the others miss of a filter is 1 / its diagonal entry of the inverse. The ridge makes the inverse exist
        # where filters rebuild each other exactly, at float32's resolution.
        ridge = 1e-7
        inverse = np.linalg.inv(products + ridge * np.eye(len(products)))
        missed = np.round(np.maximum(1 / np.diag(inverse) - ridge, 0), 6)
        return dict(zip(self._left, missed.tolist(), strict=True))
