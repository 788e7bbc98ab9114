"""Threads: how many of them linear algebra uses."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController

SMALL = 1_024
"""Equations of up to so many columns are solved by one thread.

The threads of OpenBLAS wait for each other in loops. For small matrices, on cores that others use too, that cost nine
times the processor time of the work itself.
"""


@contextlib.contextmanager
def threads_for(columns: int) -> Iterator[None]:
    """While the block lasts, as many threads as suit equations of at most so many columns."""
    if columns > SMALL:
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> Any:
    """Looks through the loaded libraries once: that takes milliseconds."""
    return ThreadpoolController()
