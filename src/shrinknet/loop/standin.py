"""Stand-in: a small network that trains in place of the switched one, and writes its weights back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from shrinknet.cutting.slimmer import Fate

Cuts = Sequence[
    tuple[Any, Any, Fate]
]  # (variable of the large network, its counterpart in the small one, how it is cut)


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
    """The flat position in the large variable of each number in the small one; -1: none. None: they are the same."""
    size = int(np.prod(source.shape))
    numbers = np.arange(1, size + 1).reshape(tuple(source.shape))
    places: np.ndarray = fate(numbers).reshape(-1) - 1
    return None if places.size == size and (places == np.arange(size)).all() else places
