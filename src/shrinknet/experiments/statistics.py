"""Correlation coefficients and means with bootstrap intervals over repetitions.

A repetition is drawn with all of its points: points of one network are not independent of each other. All samples are
computed at once, each as a weight (how often it was drawn) for every point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

COEFFICIENTS = ("prs", "knd", "spr")  # Pearson, Kendall (tau-b), Spearman
DIGITS = 10  # written to files: the order of a sum changes only the sixteenth


class Estimate(NamedTuple):
    """A number with the ends of its 95 % bootstrap interval; NaN where it cannot be computed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        interval = "" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


def draws(groups: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """How often each point counts: in the first row once each, then one row for each bootstrap sample.

    Args:
        groups: the repetition of each point, shape (points,).
        samples: their number; seed: of the draws.

    Returns:
        float64, shape (1 + samples, points); only the first row if there is a single repetition.
    """
    names, member = np.unique(groups, return_inverse=True)
    samples = samples if len(names) > 1 else 0
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), samples)
    return np.vstack([np.ones(len(names)), counts])[:, member].astype(np.float64)


def correlation(kind: str, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A correlation coefficient of two columns, for every row of weights.

    Args:
        kind: "prs", "knd" or "spr".
        x, y: shape (points,); pairs that are not both finite are left out.
        weights: shape (samples, points).

    Returns:
        Shape (samples,), in [-1, 1]; NaN if a column is constant.
    """
    good = np.isfinite(x) & np.isfinite(y)
    x, y, weights = x[good], y[good], weights[:, good]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.full(len(weights), np.nan)
    if kind == "knd":
        return _kendall(x, y, weights)
    if kind == "spr":
        return _pearson(_ranks(x, weights), _ranks(y, weights), weights)
    scaled = [((column - column.mean()) / column.std())[None] for column in (x, y)]
    return _pearson(scaled[0], scaled[1], weights)


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of the finite values, for every row of weights; NaN if there are none."""
    good = np.isfinite(values)
    total = weights[:, good].sum(1)
    return np.where(total > 0, weights[:, good] @ values[good] / np.where(total > 0, total, 1), np.nan)


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The median of the finite values, for every row of (whole) weights; NaN if there are none."""
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    if not len(order):
        return np.full(len(weights), np.nan)
    counts = weights[:, order].cumsum(1)
    total = counts[:, -1:]
    lower, upper = ((counts < place).sum(1) for place in (np.floor((total + 1) / 2), np.ceil((total + 1) / 2)))
    last = len(order) - 1
    found = (values[order][np.minimum(lower, last)] + values[order][np.minimum(upper, last)]) / 2
    return np.where(total[:, 0] > 0, found, np.nan)


def estimate(samples: np.ndarray) -> Estimate:
    """The first sample, which is that of the data, with the percentile interval of the others."""
    drawn = samples[1:][np.isfinite(samples[1:])]
    if not np.isfinite(samples[0]) or len(drawn) < 2:
        return Estimate(float(samples[0]), float("nan"), float("nan"))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(*(round(float(number), DIGITS) for number in (samples[0], low, high)))


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Columns may differ from sample to sample: shape (samples or 1, points)."""
    share = weights / np.maximum(weights.sum(1, keepdims=True), 1)  # a sample may contain none of the points
    x = x - (share * x).sum(1, keepdims=True)
    y = y - (share * y).sum(1, keepdims=True)
    product, squares = (share * x * y).sum(1), (share * x * x).sum(1) * (share * y * y).sum(1)
    blank = squares < 1e-18
    return np.where(blank, np.nan, np.clip(product / np.sqrt(np.where(blank, 1, squares)), -1, 1))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks with each point repeated as often as its weight, shape (samples, points)."""
    below = (values[None] < values[:, None]).astype(np.float64)  # (point, other)
    same = (values[None] == values[:, None]).astype(np.float64)
    ranks: np.ndarray = weights @ below.T + (weights @ same.T + 1) / 2
    return ranks


def _kendall(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """tau-b; a point drawn twice ties with itself."""
    signs_x, signs_y = (np.sign(column[:, None] - column[None]) for column in (x, y))

    def pairs(signs: np.ndarray) -> np.ndarray:
        total: np.ndarray = ((weights @ signs) * weights).sum(1)
        return total

    untied = pairs(np.abs(signs_x)) * pairs(np.abs(signs_y))
    return np.where(untied > 0, pairs(signs_x * signs_y) / np.sqrt(np.where(untied > 0, untied, 1)), np.nan)
