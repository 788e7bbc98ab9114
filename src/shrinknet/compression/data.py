"""Training data for another process: one array for each input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from shrinknet.errors import DataError


@dataclass(frozen=True)
class Samples:
    """Arrays in the order of the model's inputs and outputs, and sample weights or None."""

    x: list[np.ndarray]
    y: list[np.ndarray]
    weights: np.ndarray | None = None

    def named(self) -> dict[str, np.ndarray]:
        """x0, x1 ..., y0, y1 ..., weights."""
        arrays = {f"{kind}{index}": array for kind in "xy" for index, array in enumerate(getattr(self, kind))}
        return arrays if self.weights is None else {**arrays, "weights": self.weights}


def read_samples(data: Any, what: str, inputs: int, outputs: int) -> Samples:
    """Arrays (x, y) or (x, y, sample_weight), as Keras's `fit` takes them.

    Raises:
        DataError: something else, the wrong number of arrays, no samples, or numbers that are not finite.
    """
    if not isinstance(data, tuple | list) or not 2 <= len(data) <= 3:
        raise DataError(
            f"Expected the {what} as arrays, (x, y) or (x, y, sample_weight): they are passed to another process. "
            f"Received {type(data).__name__}."
        )
    x, y, weights = (*data, None)[:3]
    lists = []
    for name, value, count in (("x", x, inputs), ("y", y, outputs)):
        arrays = [np.asarray(array) for array in _leaves(value)]
        if len(arrays) != count:
            raise DataError(f"Expected {count} arrays as {name} of the {what}; received {len(arrays)}.")
        lists.append(arrays)
    samples = Samples(lists[0], lists[1], None if weights is None else np.asarray(weights))
    lengths = {name: len(array) for name, array in samples.named().items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise DataError(
            f"Expected the same number of samples in all arrays of the {what}, 1 or more; received {lengths}."
        )
    for name, array in samples.named().items():
        if array.dtype.kind not in "fiub":
            raise DataError(f"Expected numbers in {name} of the {what}; received {array.dtype}.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"The array {name} of the {what} contains numbers that are not finite.")
    return samples


def _leaves(value: Any) -> list[Any]:
    return keras.tree.flatten(value) if isinstance(value, list | tuple | dict) else [value]
