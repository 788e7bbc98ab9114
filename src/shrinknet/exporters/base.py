"""What an exporter is: it writes one kind of file, and loads it back as something that can be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np


class Runner(Protocol):
    """A file loaded back."""

    def __call__(self, sample: Any) -> list[np.ndarray]:
        """The outputs for a batch, in the order of the model's outputs."""

    def latency(self, sample: Any) -> tuple[float, float]:
        """Median and 95th percentile of the milliseconds of one call."""


class Exporter(Protocol):
    """Writes one format."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    tolerance: ClassVar[float]  # largest difference allowed, as a share of the outputs' scale

    def write(self, model: Any, path: Path) -> None:
        """Writes the model to a file that does not exist yet."""

    def load(self, path: Path) -> Runner:
        """What was written, ready to run."""
