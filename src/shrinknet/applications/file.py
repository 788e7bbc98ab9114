"""A saved model as a task: any compiled Keras model, on arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.applications.task import Samples, Task
from shrinknet.errors import ModelError
from shrinknet.files.models import open_model

SAMPLES = 5  # for pictures


def file_task(path: Path, train: Any, validation: Any, test: Any = None, *, trust: bool = False) -> Task:
    """The task of a model in a file.

    Args:
        path: a `.keras` or `.h5` file of a compiled model.
        train, validation, test: (x, y) or (x, y, sample_weight), arrays or lists of them; test data may be None.
        trust: run Python code in the file; see `open_model`.

    Raises:
        ModelError: the file cannot be opened, or its model is not compiled.
    """
    model = open_model(path, trust=trust, compiled=True)
    if not model.compiled or model.optimizer is None:
        raise ModelError(
            f"The model in {path} is not compiled, so there is no loss to train it with. Compile it with an optimizer, "
            "a loss and metrics, and save it again."
        )
    shown = validation if test is None else test
    return Task(model.name, model, train, validation, test, _samples(*shown[:2]), sample=_first(shown[0], 4))


def _first(x: Any, count: int) -> Any:
    return keras.tree.map_structure(lambda array: np.asarray(array)[:count], x)


def _samples(x: Any, y: Any) -> Samples | None:
    """The first samples, if the model has one input and one output."""
    if keras.tree.is_nested(x) or keras.tree.is_nested(y):
        return None
    return Samples(np.asarray(x)[:SAMPLES], np.asarray(y)[:SAMPLES])
