"""Stand-in: the small network trains in the place of the switched one, and gives back what it has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from shrinknet.cutting.slimmer import Fate

Cuts = Sequence[tuple[Any, Any, Fate]]  # variables of the large network, those of the small one, what becomes of them


class Standin:
    """A small network that was cut out of a larger one.

    Args:
        small: the network.
        cuts: its variables with those they were cut from.
    """

    def __init__(self, small: Any, cuts: Cuts) -> None:
        self.small = small
        self._pairs = [(source, target, _places(source, fate)) for source, target, fate in cuts]

    def give_back(self) -> None:
        """Writes the small network's values to where they were cut out of the large one; the others stay."""
        for source, target, places in self._pairs:
            value = ops.convert_to_numpy(target)
            if places is None:
                source.assign(value)
                continue
            whole = np.array(ops.convert_to_numpy(source))
            whole.reshape(-1)[places[places >= 0]] = value.reshape(-1)[places >= 0]
            source.assign(whole)


def _places(source: Any, fate: Fate) -> np.ndarray | None:
    """Where each number of the small variable stands in the large one, flat; -1: nowhere. None: it is the same."""
    size = int(np.prod(source.shape))
    numbers = np.arange(1, size + 1).reshape(tuple(source.shape))
    places: np.ndarray = fate(numbers).reshape(-1) - 1
    return None if places.size == size and (places == np.arange(size)).all() else places
