"""Task: what an application provides: a model, data, samples for pictures. `run_task` does everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shrinknet.comparing import Agreement


@dataclass(frozen=True)
class Samples:
    """Test samples for the page of a run.

    Attributes:
        x: inputs; images of shape (samples, height, width, channels) are drawn.
        y: targets in the form of the model's output: images are drawn, class numbers and vectors are printed; pictures
            of shape (samples, height, width, red green blue), uint8, are drawn as they are.
        names: of the samples.
        shown: from a model to what is shown in place of its outputs, one for each sample in the form of `y`, where the
            samples are not inputs of the model, such as whole photographs for a classifier of windows; None: the
            model's outputs for `x`.
    """

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...] = ()
    shown: Callable[[Any], np.ndarray] | None = None


@dataclass(frozen=True)
class Task:
    """The model, data and settings of a minimization.

    Attributes:
        name: of the task, shown on the page; a word such as "edges".
        model: compiled.
        train, validation, test: as `minimize` takes them; test data may be None.
        samples: for pictures; None: no pictures of samples.
        batch_size: samples per batch, for arrays.
        sample: inputs for checking exported files, the first also for feature maps; None: those of `samples`.
        agreement: what exported int8 files are compared by, see `export`; None: the largest difference of any output.
        input_shape: of one sample, without the batch axis; exported files are made for it where the model leaves sizes
            open, as a network does that trains on crops. None: they stay open.
        facts: plain JSON types that the task adds to the run and its result, such as skipped photographs.
    """

    name: str
    model: Any
    train: Any
    validation: Any
    test: Any = None
    samples: Samples | None = None
    batch_size: int = 32
    sample: Any = None
    agreement: Agreement | None = None
    input_shape: tuple[int, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
