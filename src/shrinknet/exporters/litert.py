"""LiteRT (formerly TensorFlow Lite), for phones and microcontrollers: float32 and three smaller variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from shrinknet.costs.timing import latency
from shrinknet.errors import DataError
from shrinknet.exporters.base import ArrayList, Source, needs_tensorflow
from shrinknet.files.streams import quiet
from shrinknet.internals import input_structure


class LiteRTExporter:
    """Float32; writes with TensorFlow's converter, runs with the LiteRT interpreter.

    Only LiteRT's built-in operations are used; models that need TensorFlow operations are refused.
    """

    name = "litert"
    suffix = ".tflite"
    tolerance = 1e-4

    def write(self, source: Source, path: Path) -> None:
        needs_tensorflow(self)
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_concrete_functions([_with_constants(source)], tf.Module())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        self.set_up(converter, source)
        path.write_bytes(converter.convert())

    def set_up(self, converter: Any, source: Source) -> None:
        """Tells the converter how small the numbers may become."""

    def load(self, source: Source, path: Path, threads: int) -> LiteRTRunner:
        return LiteRTRunner(path.read_bytes(), source.inputs, source.outputs, threads)


class LiteRTFloat16Exporter(LiteRTExporter):
    """Weights in float16: half the size."""

    name = "litert-float16"
    suffix = ".float16.tflite"
    tolerance = 1e-2

    def set_up(self, converter: Any, source: Source) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]


class LiteRTDynamicExporter(LiteRTExporter):
    """Weights in int8, activations in int8 or float32 as the runtime decides: a quarter of the size."""

    name = "litert-dynamic"
    suffix = ".dynamic.tflite"
    tolerance = 0.1

    def set_up(self, converter: Any, source: Source) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT]


class LiteRTInt8Exporter(LiteRTExporter):
    """Weights and activations in int8, with ranges taken from the sample: the fastest.

    Inputs and outputs stay float32. Operations that LiteRT does not support in int8 are refused.
    """

    name = "litert-int8"
    suffix = ".int8.tflite"
    tolerance = 0.2

    def set_up(self, converter: Any, source: Source) -> None:
        import tensorflow as tf

        needs_real_sample(source)

        def representative() -> Iterator[dict[str, np.ndarray]]:
            size = source.batch or 1
            for start in range(0, min(len(source.sample[0]), 500 * size) - size + 1, size):
                arrays = zip(source.inputs, source.sample, strict=True)
                yield {name: array[start : start + size] for name, array in arrays}

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _with_constants(source: Source) -> Any:
    """The model as a TensorFlow function whose weights are constants.

    Variables would be written to a SavedModel, and read and frozen by the converter, which takes most of the time.
    """
    import keras
    import tensorflow as tf

    model = source.single
    weights = [
        [keras.ops.convert_to_numpy(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    specs = [
        tf.TensorSpec(tuple(tensor.shape), tensor.dtype, name)
        for tensor, name in zip(source.tensors, source.inputs, strict=True)
    ]

    def call(*inputs: Any) -> dict[str, Any]:
        values = keras.tree.pack_sequence_as(input_structure(model), inputs)
        constants = keras.tree.map_structure(tf.constant, weights)
        outputs, _ = model.stateless_call(*constants, values, training=False)
        return dict(zip(source.outputs, keras.tree.flatten(outputs), strict=True))

    return tf.function(call, autograph=False).get_concrete_function(*specs)


def needs_real_sample(source: Source) -> None:
    """Refuses random numbers as the source of int8 ranges.

    Raises:
        DataError: the sample is not the user's data.
    """
    if not source.real:
        raise DataError(
            "The format litert-int8 takes its value ranges from real data. Pass a hundred samples or more as "
            "sample=x (on the command line: --sample FILE)."
        )


_PLACEHOLDER = 64  # for undefined sizes, until inputs arrive


class LiteRTRunner:
    """The interpreter, resized to its inputs.

    LiteRT has its own order of inputs and outputs, so they are looked up by the names in its signature.
    """

    def __init__(self, content: bytes, inputs: list[str], outputs: list[str], threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with quiet():  # it logs its delegates
            self.interpreter = Interpreter(model_content=content, num_threads=threads)
            for detail in self.interpreter.get_input_details():  # undefined sizes appear as 1
                sizes = [_PLACEHOLDER if size < 0 else size for size in detail["shape_signature"][1:]]
                if -1 in detail["shape_signature"][1:]:
                    self.interpreter.resize_tensor_input(detail["index"], [detail["shape"][0], *sizes])
            self.interpreter.allocate_tensors()
        self.threads = threads
        self.inputs, self.outputs = self._details(inputs, outputs)
        self.shapes: list[tuple[int, ...]] = []

    def _details(self, inputs: list[str], outputs: list[str]) -> tuple[list[Any], list[Any]]:
        """What the interpreter knows of the inputs and outputs with these names, in this order."""
        if not self.interpreter.get_signature_list() and len(inputs) == len(outputs) == 1:
            # tfmot's transposed convolution cannot be saved with a signature; of one there is no order
            return self.interpreter.get_input_details(), self.interpreter.get_output_details()
        signature = self.interpreter.get_signature_runner()
        given, answered = signature.get_input_details(), signature.get_output_details()
        return [given[name] for name in inputs], [answered[name] for name in outputs]

    def __call__(self, arrays: ArrayList) -> ArrayList:
        self._feed(arrays)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(detail["index"]) for detail in self.outputs]

    def latency(self, arrays: ArrayList) -> tuple[float, float]:
        return latency(self.prepared(arrays))

    def prepared(self, arrays: ArrayList) -> Callable[[], Any]:
        """A function that runs the model on these inputs and leaves the outputs where they are; it has run once.

        Raises:
            RuntimeError: the model does not run.
        """
        self._feed(arrays)
        self.interpreter.invoke()
        return cast("Callable[[], Any]", self.interpreter.invoke)

    def _feed(self, arrays: ArrayList) -> None:
        shapes = [array.shape for array in arrays]
        if shapes != self.shapes:
            for detail, shape in zip(self.inputs, shapes, strict=True):
                self.interpreter.resize_tensor_input(detail["index"], shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for detail, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
