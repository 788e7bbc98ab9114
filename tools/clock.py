"""The time that trainings take, for the tools that measure."""

from __future__ import annotations

import contextlib
import time
import unittest.mock
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def training_time() -> Iterator[list[float]]:
    """A list of the seconds that each training within the block takes, scores not included."""
    from shrinknet.engine.common import CommonEngine

    seconds: list[float] = []
    own = CommonEngine.train

    def timed(self: Any, *arguments: Any, **keywords: Any) -> int:
        start = time.perf_counter()
        try:
            return own(self, *arguments, **keywords)
        finally:
            seconds.append(time.perf_counter() - start)

    with unittest.mock.patch.object(CommonEngine, "train", timed):
        yield seconds
