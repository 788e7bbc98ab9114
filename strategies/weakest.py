"""Cuts filters that say least on the calibration data: the example of README.md, as a file."""

import numpy as np

from shrinknet.strategies import Memory, take


class Weakest:
    """Cuts the filter with the smallest mean absolute output on the calibration data."""

    def __init__(self, patience=2):
        self.memory = Memory(patience)

    def ask(self, network, count):
        remaining = self.memory.remaining(network)
        outputs = {layer: np.abs(network.activations(layer)) for layer in {filter.layer for filter in remaining}}
        # an output has the shape (samples, ..., filters)
        strength = {filter: outputs[filter.layer][..., filter.index].mean() for filter in remaining}
        return take(network, sorted(remaining, key=strength.get), count)

    def tell(self, trial):
        self.memory.tell(trial)
