"""Measured latency: how long one call of a function takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shrinknet.records import Timing


def latency(run: Callable[[], Any], seconds: float = 0.3, least: int = 10, most: int = 10_000) -> tuple[float, float]:
    """Median and 95th percentile of the duration of `run()` in milliseconds, after two warm-up calls.

    Args:
        seconds: how long to measure; least, most: limits on the number of calls, whatever time they take.
    """
    run()
    run()
    times: list[float] = []
    total = 0.0
    while len(times) < least or (total < seconds * 1e3 and len(times) < most):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
        total += times[-1]
    return statistics.median(times), float(np.percentile(times, 95))


def latencies(
    runs: Sequence[Callable[[], Any]], seconds: float = 0.3, least: int = 10, most: int = 10_000
) -> list[Timing]:
    """How long each of several functions takes, called in turn, so that a busy machine slows all of them alike.

    Args:
        runs: the functions, called twice before anything is measured.
        seconds: how long to measure each on average; least, most: limits on the number of rounds.
    """
    for run in (*runs, *runs):
        run()
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while len(rounds) < least or (time.perf_counter() - began < seconds * len(runs) and len(rounds) < most):
        times = []
        for run in runs:
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        rounds.append(times)
    quartiles = np.percentile(np.array(rounds), (50, 25, 75), axis=0)  # (median low high, functions)
    return [Timing(*map(float, column)) for column in quartiles.T]
