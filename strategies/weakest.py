"""Cuts filters that say least on the calibration data: the example of README.md, with types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies import Memory, Network, take


class Weakest:
    """Cuts the filter with the smallest mean absolute output on the calibration data."""

    def __init__(self, patience: int | None = 2) -> None:
        self.memory = Memory(patience)

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        remaining = self.memory.remaining(network)
        outputs = {layer: np.abs(network.activations(layer)) for layer in {filter.layer for filter in remaining}}
        # an output has the shape (samples, ..., filters)
        strength = {filter: float(outputs[filter.layer][..., filter.index].mean()) for filter in remaining}
        return take(network, sorted(remaining, key=strength.__getitem__), count)

    def tell(self, trial: Trial) -> None:
        self.memory.tell(trial)
