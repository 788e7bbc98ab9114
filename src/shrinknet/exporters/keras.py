"""The `.keras` format: loads with plain Keras, without shrinknet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.costs.timing import latency
from shrinknet.exporters.base import ArrayList, Source, run_model, tensorflow_threads
from shrinknet.files.models import reopened
from shrinknet.internals import input_structure, seeds_of
from shrinknet.network.compiled import uncompiled


class KerasExporter:
    """Writes with `model.save`, without loss and optimizer.

    Loads the file in Keras's safe mode. If that fails because the model contains the user's own code, loads it with the
    classes of the model, as its owner would. Random numbers are compared from the same seeds.
    """

    name = "keras"
    suffix = ".keras"
    tolerance = 1e-6

    def write(self, source: Source, path: Path) -> None:
        with uncompiled(source.model):
            source.model.save(path)

    def load(self, source: Source, path: Path, threads: int) -> KerasRunner:
        model = reopened(path, source.model)
        for seed, other in zip(seeds_of(source.model), seeds_of(model), strict=False):
            other.assign(seed)
        return KerasRunner(model)


class KerasRunner:
    """A Keras model; the latency is that of its compiled prediction."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.threads = tensorflow_threads()

    def __call__(self, arrays: ArrayList) -> ArrayList:
        return run_model(self.model, arrays)

    def latency(self, arrays: ArrayList) -> tuple[float, float]:
        values: Any = keras.tree.pack_sequence_as(input_structure(self.model), arrays)
        return latency(lambda: np.asarray(keras.tree.flatten(self.model.predict_on_batch(values))[0]))
