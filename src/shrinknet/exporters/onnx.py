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
        _bake_constants(path, named, self._signature(source), source.inputs)
        _write_out_erfc(path)

    def _signature(self, source: Source) -> list[Any]:
        import keras

        return [keras.tree.flatten(source.signature)]

    def load(self, source: Source, path: Path, threads: int) -> OnnxRunner:
        return OnnxRunner(path, source, threads)


def _bake_constants(path: Path, model: Any, signature: list[Any], inputs: list[str]) -> None:
    """Stores constants that tf2onnx turned into inputs: tensors that a layer keeps, such as Normalization's mean."""
    import onnx

    written = onnx.load(str(path))
    extra = [value for value in written.graph.input if value.name not in inputs]
    if not extra:
        return
    import keras
    import tensorflow as tf
    from keras.src.export.export_utils import make_tf_tensor_spec

    specs = keras.tree.map_structure(make_tf_tensor_spec, signature)
    traced = tf.function(lambda *given: model(*given, training=False)).get_concrete_function(*specs)
    values = [tensor.numpy() for tensor in traced.captured_inputs if tensor.dtype != tf.resource]
    for value, array in zip(extra, values, strict=True):
        written.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        written.graph.input.remove(value)
    onnx.save(written, str(path))


def _write_out_erfc(path: Path) -> None:
    """Replaces Erfc, which gelu uses and ONNX does not have, by 1 - Erf."""
    import numpy as np
    import onnx

    written = onnx.load(str(path))
    nodes = [node for node in written.graph.node if node.op_type == "Erfc"]
    if not nodes:
        return
    written.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1, np.float32), "one_of_erfc"))
    for node in nodes:
        place = list(written.graph.node).index(node)
        erf = onnx.helper.make_node("Erf", node.input, [f"{node.output[0]}_erf"])
        difference = onnx.helper.make_node("Sub", ["one_of_erfc", erf.output[0]], node.output)
        written.graph.node.remove(node)
        written.graph.node.insert(place, erf)
        written.graph.node.insert(place + 1, difference)
    onnx.save(written, str(path))


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
