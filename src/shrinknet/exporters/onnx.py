"""ONNX, for ONNX Runtime and other tools. Needs the extra `onnx`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from shrinknet.costs.timing import latency
from shrinknet.exporters.base import ArrayList, Source, needs_tensorflow


class OnnxExporter:
    """Writes with tf2onnx; inputs and outputs have the same names as in the other formats."""

    name = "onnx"
    suffix = ".onnx"
    tolerance = 1e-4

    def write(self, source: Source, path: Path) -> None:
        needs_tensorflow(self)
        import keras

        outputs = keras.tree.flatten(source.single.outputs)
        named = keras.Model(source.single.inputs, dict(zip(source.outputs, outputs, strict=True)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx was written for an older NumPy
            named.export(str(path), format="onnx", verbose=False, input_signature=self._signature(source))

    def _signature(self, source: Source) -> list[Any]:
        import keras

        return [keras.tree.flatten(source.signature)]

    def load(self, source: Source, path: Path, threads: int) -> OnnxRunner:
        return OnnxRunner(path, source, threads)


class OnnxRunner:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, source: Source, threads: int) -> None:
        import onnx
        import onnxruntime

        onnx.checker.check_model(str(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = source.inputs, source.outputs
        self.threads = threads

    def __call__(self, arrays: ArrayList) -> ArrayList:
        return list(self.session.run(self.outputs, self._given(arrays)))

    def latency(self, arrays: ArrayList) -> tuple[float, float]:
        given = self._given(arrays)
        return latency(lambda: self.session.run(self.outputs, given))

    def _given(self, arrays: ArrayList) -> dict[str, Any]:
        return dict(zip(self.inputs, arrays, strict=True))
