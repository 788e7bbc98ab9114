"""ONNX, for ONNX Runtime and other tools. Needs the extra `onnx`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shrinknet.costs.timing import latency
from shrinknet.exporters.base import ArrayList, Source, needs_tensorflow, predicting


class OnnxExporter:
    """Writes with tf2onnx; inputs and outputs have the same names as in the other formats."""

    name = "onnx"
    suffix = ".onnx"
    tolerance = 1e-4

    def write(self, source: Source, path: Path) -> None:
        needs_tensorflow(self)
        import keras
        import onnx
        import tensorflow as tf
        import tf2onnx
        from keras.src.export.export_utils import make_tf_tensor_spec
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        outputs = keras.tree.flatten(source.single.outputs)
        named = keras.Model(source.single.inputs, dict(zip(source.outputs, outputs, strict=True)))
        specs = [keras.tree.map_structure(make_tf_tensor_spec, keras.tree.flatten(source.signature))]
        function = tf.function(predicting(named), input_signature=specs, autograph=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx was written for an older NumPy
            patch_tf2onnx()
            written, _ = tf2onnx.convert.from_function(function, specs)
        _bake_constants(written, function.get_concrete_function(), source.inputs)
        _write_out_missing(written)
        onnx.save(written, str(path))

    def load(self, source: Source, path: Path, threads: int) -> OnnxRunner:
        return OnnxRunner(path, source, threads)


def _bake_constants(written: Any, traced: Any, inputs: list[str]) -> None:
    """Stores constants that tf2onnx turned into inputs: tensors that a layer keeps, such as Normalization's mean."""
    import onnx
    import tensorflow as tf

    extra = [value for value in written.graph.input if value.name not in inputs]
    if not extra:
        return
    values = [tensor.numpy() for tensor in traced.captured_inputs if tensor.dtype != tf.resource]
    for value, array in zip(extra, values, strict=True):
        written.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        written.graph.input.remove(value)


# Operations that TensorFlow has and ONNX does not -> two that it has, each with its inputs: x, 1, or y, which is the
# result of the first.
_MISSING = {
    "Erfc": (("Erf", "x"), ("Sub", "1y")),  # of gelu
    "Expm1": (("Exp", "x"), ("Sub", "y1")),  # of celu
    "Log1p": (("Add", "1x"), ("Log", "y")),  # of logaddexp
}
_ONE = "one_of_shrinknet"


def _write_out_missing(written: Any) -> None:
    """Replaces the operations of `_MISSING`, also in the branches and loops of a graph."""
    import numpy as np
    import onnx

    found = False
    for graph in _graphs(written.graph):
        for node in [node for node in graph.node if node.op_type in _MISSING]:
            found = True
            names = {"x": node.input[0], "1": _ONE, "y": f"{node.output[0]}_{node.op_type}"}
            place = list(graph.node).index(node)
            graph.node.remove(node)
            for (kind, given), result in zip(_MISSING[node.op_type], (names["y"], node.output[0]), strict=True):
                graph.node.insert(place, onnx.helper.make_node(kind, [names[one] for one in given], [result]))
                place += 1
    if found:
        written.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1, np.float32), _ONE))


def _graphs(graph: Any) -> Iterator[Any]:
    """An ONNX graph and those inside of it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


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
