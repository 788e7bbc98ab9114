"""LiteRT (formerly TensorFlow Lite): float32, for phones and cameras. Needs the TensorFlow backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.costs import latency
from shrinknet.errors import ExportError


class LiteRTExporter:
    """Writes with Keras's own converter, runs with the LiteRT interpreter on one thread."""

    name = "litert"
    suffix = ".tflite"
    tolerance = 1e-5

    def write(self, model: Any, path: Path) -> None:
        if keras.backend.backend() != "tensorflow":
            raise ExportError(
                "Writing LiteRT needs the TensorFlow backend; this process runs on "
                f"{keras.backend.backend()}. Save the model as .keras and export it with KERAS_BACKEND=tensorflow."
            )
        model.export(str(path), format="litert", verbose=False)

    def load(self, path: Path) -> LiteRTRunner:
        return LiteRTRunner(path.read_bytes())


class LiteRTRunner:
    """The interpreter, resized to each sample's shape."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=content, num_threads=1)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, sample: Any) -> list[np.ndarray]:
        self._feed(sample)
        self.interpreter.invoke()
        details = sorted(self.interpreter.get_output_details(), key=lambda detail: str(detail["name"]))
        return [self.interpreter.get_tensor(detail["index"]) for detail in details]

    def latency(self, sample: Any) -> tuple[float, float]:
        self._feed(sample)
        return latency(self.interpreter.invoke)

    def _feed(self, sample: Any) -> None:
        arrays = [np.asarray(array) for array in keras.tree.flatten(sample)]
        details = sorted(self.interpreter.get_input_details(), key=lambda detail: str(detail["name"]))
        shapes = [array.shape for array in arrays]
        if shapes != self.shapes:
            for detail, shape in zip(details, shapes, strict=True):
                self.interpreter.resize_tensor_input(detail["index"], shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for detail, array in zip(details, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
