"""Measured latency: how long one call of a function takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np


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
