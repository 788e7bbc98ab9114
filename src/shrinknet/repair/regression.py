"""Regression: ridge least squares from sums over rows, so that memory does not depend on the number of rows."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

ROUNDING = 1e-6
"""What sums in float32 are off by, as a share of the mean square."""

COLUMNS = 5_000
"""A regression of more columns is solved between its rows, where these are fewer."""


class Solution(NamedTuple):
    """The solution of one group of a regression, float64.

    Attributes:
        kernel: shape (live columns, outputs).
        constants: shape (outputs,); zeros where none are fitted.
        missed: mean square of each output that is not reproduced, shape (outputs,).
    """

    kernel: np.ndarray
    constants: np.ndarray
    missed: np.ndarray


class Regression:
    """The normal equations of one reader, added up block of rows by block of rows.

    Products are taken in float32 and added up in float64: the rounding within a block is far below the ridge, and
    the products cost half as much.

    Args:
        shape: (groups, columns, outputs).
        shifts: whether a constant is fitted for each output; it is neither penalised nor ever removed.

    Attributes:
        rows: rows added so far.
    """

    def __init__(self, shape: tuple[int, int, int], shifts: bool) -> None:
        groups, columns, outputs = shape
        self.rows = 0
        self._shifts = shifts
        self._xx = np.zeros((groups, columns, columns))
        self._xy = np.zeros((groups, columns, outputs))
        self._yy = np.zeros((groups, outputs))
        self._origins = np.zeros((groups, columns), np.float32), np.zeros((groups, outputs), np.float32)
        self._sums = np.zeros((groups, columns)), np.zeros((groups, outputs))  # of what lies beside the origins
        self._factors: dict[int, Any] = {}

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Adds a block: float32, shapes (groups, rows, columns) and (groups, rows, outputs)."""
        self._factors.clear()
        x, y = self._moved(x, y)
        turned = x.swapaxes(1, 2)
        self._xx += turned @ x
        self._xy += turned @ y

    def forget_factors(self) -> None:
        """Drops what solving has kept; it can be made again from the sums."""
        self._factors.clear()

    def retargeted(self, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Regression:
        """The same columns with other outputs: the blocks that `add` was given, in the same order, with these."""
        other = copy.copy(self)
        other._xy, other._yy = np.zeros_like(self._xy), np.zeros_like(self._yy)
        other._sums = self._sums[0], np.zeros_like(self._sums[1])
        for x, y in blocks:
            x, y = other._about(x, y)
            other._xy += x.swapaxes(1, 2) @ y
            other._add_outputs(y)
        return other

    def _about(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A block about the origins."""
        if not self._shifts:
            return x, y
        return x - self._origins[0][:, np.newaxis], y - self._origins[1][:, np.newaxis]

    def _add_outputs(self, y: np.ndarray) -> None:
        self._sums[1][...] += y.sum(axis=1, dtype=np.float64)
        self._yy += np.einsum("gro,gro->go", y, y, dtype=np.float64)

    def _moved(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A block about an origin near its mean, where a constant is fitted: products then lose no digits."""
        if self._shifts and not self.rows:
            self._origins = x.mean(axis=1), y.mean(axis=1)
        x, y = self._about(x, y)
        self.rows += x.shape[1]
        self._sums[0][...] += x.sum(axis=1, dtype=np.float64)
        self._add_outputs(y)
        return x, y

    @property
    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of each column and output, zeros where no constant is fitted."""
        inputs, outputs = (a + b for a, b in zip(self._origins, self._beside, strict=True))
        return inputs, outputs

    @property
    def _beside(self) -> tuple[np.ndarray, np.ndarray]:
        """How far the means lie beside the origins."""
        share = self._shifts / self.rows
        return self._sums[0] * share, self._sums[1] * share

    def moments(self, group: int) -> np.ndarray:
        """Mean product of every two columns of a group, around their means where a constant is fitted."""
        mean = self._beside[0][group]
        return self._xx[group] / self.rows - np.outer(mean, mean)

    def noise(self, group: int) -> np.ndarray:
        """What the diagonal of `moments` may be off by, shape (columns,): less does not count as varying."""
        return ROUNDING * (np.diagonal(self._xx[group]) / self.rows + np.square(self.means[0][group]))

    def cross(self, group: int) -> np.ndarray:
        """Mean product of every column with every output of a group, around their means."""
        inputs, outputs = (mean[group] for mean in self._beside)
        return self._xy[group] / self.rows - np.outer(inputs, outputs)

    def spread(self, group: int) -> np.ndarray:
        """Mean square of every output of a group, around its mean, shape (outputs,)."""
        return np.maximum(self._yy[group] / self.rows - self._beside[1][group] ** 2, 0)

    def solve(self, group: int, live: np.ndarray, old: np.ndarray, ridge: float) -> Solution:
        """The kernel and constants of a group that reproduce the outputs from the live columns.

        Args:
            group: its number.
            live: bool, shape (columns,).
            old: kernel that the ridge pulls towards, shape (columns, outputs); its other columns are not looked at.
            ridge: share of the mean diagonal that is added to it.
        """
        start, cross = old[live].astype(np.float64), self.cross(group)[live]
        inputs, outputs = (mean[group] for mean in self.means)
        if not live.any():
            return Solution(start, outputs, self.spread(group))
        moments, factor = self._factored(group, live, ridge)
        kernel = start + linalg.cho_solve(factor, cross - moments @ start, check_finite=False)
        error = self.spread(group) - np.einsum("co,co->o", kernel, 2 * cross - moments @ kernel)
        return Solution(kernel, outputs - inputs[live] @ kernel, np.maximum(error, 0))

    def _factored(self, group: int, live: np.ndarray, ridge: float) -> tuple[np.ndarray, Any]:
        """The moments of the live columns, and the Cholesky factor of these with the ridge; the last one is kept."""
        key = live.tobytes(), ridge
        if self._factors.get(group, (None,))[0] != key:
            moments = self.moments(group)[np.ix_(live, live)]
            noise = self.noise(group)[live].mean()
            penalty = ridge * np.trace(moments) / len(moments) + noise or 1.0  # all 0: any keeps the old kernel
            ridged = moments + penalty * np.eye(len(moments))
            self._factors[group] = key, moments, linalg.cho_factor(ridged, overwrite_a=True, check_finite=False)
        _, moments, factor = self._factors[group]
        return moments, factor


class WideRegression(Regression):
    """The same for readers with more columns than rows: the rows are kept, and equations between rows are solved.

    Both ways have one solution. This one needs rows x columns of memory instead of columns x columns.
    """

    def __init__(self, shape: tuple[int, int, int], shifts: bool) -> None:
        groups, columns, outputs = shape
        super().__init__((groups, 0, outputs), shifts)
        self._origins = np.zeros((groups, columns), np.float32), self._origins[1]
        self._sums = np.zeros((groups, columns)), self._sums[1]
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Keeps a block: float32, shapes (groups, rows, columns) and (groups, rows, outputs)."""
        self._blocks.append(self._moved(x, y))

    def solve(self, group: int, live: np.ndarray, old: np.ndarray, ridge: float) -> Solution:
        """See `Regression.solve`."""
        start = old[live]
        inputs, outputs = (mean[group] for mean in self.means)
        if not live.any():
            return Solution(start.astype(np.float64), outputs, self.spread(group))
        beside = [mean[group].astype(np.float32) for mean in self._beside]
        x = np.concatenate([block[group][:, live] for block, _ in self._blocks]) - beside[0][live]
        missed = np.concatenate([block[group] for _, block in self._blocks]) - beside[1] - x @ start
        products = (x @ x.T).astype(np.float64)  # (rows, rows)
        noise = ROUNDING * (np.trace(products) + len(x) * np.square(inputs[live]).sum())
        penalty = (ridge * np.trace(products) + noise) / x.shape[1] or 1.0
        products[np.diag_indices_from(products)] += penalty
        weights = linalg.cho_solve(linalg.cho_factor(products, overwrite_a=True, check_finite=False), missed)
        change = x.T.astype(np.float64) @ weights
        error = np.square(missed - x @ change).mean(axis=0)
        return Solution(start + change, outputs - inputs[live] @ (start + change), error)


def regression(shape: tuple[int, int, int], shifts: bool, rows: int) -> Regression:
    """The cheaper of the two for a reader of this shape with so many rows."""
    wide = shape[1] > COLUMNS and shape[1] > rows
    return WideRegression(shape, shifts) if wide else Regression(shape, shifts)
