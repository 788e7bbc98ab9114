"""Comparing: the largest difference between the outputs of two networks, as a share of their scale; and agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np


class Mismatch(Exception):
    """Two outputs differ; the message is part of a sentence, such as "its output differs by 0.1 of its scale"."""


@dataclass(frozen=True)
class Agreement:
    """How alike a quantized file and its model must be, where the largest difference of any output says little.

    In a mask, int8 moves a few pixels at the rim of an object from 0 to 1: the largest difference is 1, and the mask is
    as good as before.

    Attributes:
        name: of the measure, for messages.
        measure: (outputs of the model, those of the file) -> a share; 1: they are the same for its purpose.
        least: files below it are refused, in [0, 1].
    """

    name: str
    measure: Callable[[np.ndarray, np.ndarray], float]
    least: float

    def check(self, expected: Iterable[np.ndarray], received: Iterable[np.ndarray]) -> None:
        """Compares each pair of outputs.

        Raises:
            Mismatch: a pair agrees less than it must.
        """
        for want, got in zip(expected, received, strict=True):
            found = self.measure(want, got)
            if not found >= self.least:
                raise Mismatch(f"{self.name} is {found:.3f}, where {self.least:g} is expected")


def largest_difference(
    expected: Iterable[np.ndarray], received: Iterable[np.ndarray], tolerance: float, names: Sequence[str] = ()
) -> float:
    """The largest difference between two lists of outputs, each as a share of the largest expected absolute value.

    Args:
        expected, received: arrays of any shape, in pairs.
        tolerance: the largest allowed share.
        names: of the outputs, for the message.

    Raises:
        Mismatch: shapes differ, a received number is not finite where the expected one is, or a difference exceeds the
            tolerance.
    """
    worst = 0.0
    for place, (want, got) in enumerate(zip(expected, received, strict=True)):
        what = f"its output {names[place]}" if names else "its output"
        if want.shape != got.shape:
            raise Mismatch(f"{what} has shape {got.shape}, not {want.shape}")
        share = difference(want, got)
        if not np.isfinite(share):
            raise Mismatch(f"{what} is not all finite numbers")
        if share > tolerance:
            raise Mismatch(f"{what} differs by {share:.1e} of its scale, where {tolerance:.0e} is allowed")
        worst = max(worst, share)
    return worst


def difference(expected: np.ndarray, received: np.ndarray) -> float:
    """The largest difference between two arrays of one shape, as a share of the largest expected absolute value.

    Values that are not finite count as equal if they are the same in both; otherwise the difference is infinite.
    """
    want, got = (np.asarray(array) for array in (expected, received))
    if want.dtype.kind not in "fiub" or got.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(want, got) else float("inf")
    want, got = want.astype("float64"), got.astype("float64")
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return float("inf")
    want, got = want[finite], got[finite]
    scale = max(float(np.abs(want).max(initial=0.0)), 1e-30)
    error = float(np.abs(want - got).max(initial=0.0)) / scale
    return error if np.isfinite(error) else float("inf")
