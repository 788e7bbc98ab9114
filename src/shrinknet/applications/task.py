"""Task: what an application brings - a model, data, samples for pictures. Everything else is `run_task`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Samples:
    """Test samples that the page of a run shows.

    Attributes:
        x: inputs; images of shape (samples, height, width, channels) are drawn.
        y: the truth in the form of the model's output: images are drawn, class numbers and vectors are written.
        names: of the samples.
    """

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A minimization that has not begun.

    Attributes:
        name: of the task, on the page; a word such as "edges".
        model: compiled.
        train, validation, test: as `minimize` takes them; test data may be None.
        samples: for pictures; None: there are no pictures of samples.
        batch_size: samples a batch, for arrays.
        sample: inputs that exported files are tried on; None: those of `samples`.
        facts: plain JSON types that the task adds to the run and its record, as photographs that were left out.
    """

    name: str
    model: Any
    train: Any
    validation: Any
    test: Any = None
    samples: Samples | None = None
    batch_size: int = 32
    sample: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)
