"""The `.keras` format: loads with plain Keras, no shrinknet needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.costs import latency
from shrinknet.rebuild import uncompiled


class KerasExporter:
    """Writes with `model.save`, without loss and optimizer; loads in Keras's safe mode."""

    name = "keras"
    suffix = ".keras"
    tolerance = 1e-6

    def write(self, model: Any, path: Path) -> None:
        with uncompiled(model):
            model.save(path)

    def load(self, path: Path) -> KerasRunner:
        return KerasRunner(keras.models.load_model(path, compile=False))


class KerasRunner:
    """A Keras model, called directly."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, sample: Any) -> list[np.ndarray]:
        return [np.asarray(keras.ops.convert_to_numpy(out)) for out in keras.tree.flatten(self.model(sample))]

    def latency(self, sample: Any) -> tuple[float, float]:
        return latency(lambda: self.model(sample))
