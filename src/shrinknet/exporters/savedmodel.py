"""SavedModel: a folder for TensorFlow Serving and everything that uses `tf.saved_model.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.costs.timing import latency
from shrinknet.exporters.base import ArrayList, Source, needs_tensorflow, predicting, tensorflow_threads


class SavedModelExporter:
    """Writes with Keras's archive, and loads back the signature `serving_default`."""

    name = "savedmodel"
    suffix = ".savedmodel"
    tolerance = 1e-5

    def write(self, source: Source, path: Path) -> None:
        needs_tensorflow(self)
        archive = keras.export.ExportArchive()
        archive.track(source.model)
        archive.add_endpoint("serve", predicting(source.model), source.signature)
        archive.write_out(str(path), verbose=False)

    def load(self, source: Source, path: Path, threads: int) -> SavedModelRunner:
        return SavedModelRunner(path, source)


class SavedModelRunner:
    """The signature `serving_default`, called by name."""

    def __init__(self, path: Path, source: Source) -> None:
        import tensorflow as tf

        self.loaded = tf.saved_model.load(str(path))  # the signature needs it to stay alive
        self.serve: Any = self.loaded.signatures["serving_default"]
        self.inputs, self.outputs = source.inputs, source.outputs
        self.convert = tf.constant
        self.threads = tensorflow_threads()

    def __call__(self, arrays: ArrayList) -> ArrayList:
        given = {name: self.convert(array) for name, array in zip(self.inputs, arrays, strict=True)}
        answered = self.serve(**given)
        return [np.asarray(answered[name]) for name in self.outputs]

    def latency(self, arrays: ArrayList) -> tuple[float, float]:
        given = {name: self.convert(array) for name, array in zip(self.inputs, arrays, strict=True)}
        return latency(lambda: [np.asarray(value) for value in self.serve(**given).values()])
