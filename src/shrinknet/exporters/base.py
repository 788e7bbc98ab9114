"""The protocol of exporters: each writes one file format, and loads it back as something that can be run."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from shrinknet.drawing import drawn_inputs
from shrinknet.errors import DataError, ExportError, ModelError
from shrinknet.exporters.precision import in_single_precision, is_half
from shrinknet.graph.tracing import input_specs
from shrinknet.internals import as_before, functional_of, input_structure, output_structure

ArrayList = list[np.ndarray]


class Source:
    """What is exported: a model, sample data, and its inputs and outputs by name and in order.

    Inputs and outputs are numbered in Keras's order, `keras.tree.flatten`. Files may use a different order, so
    exporters match them by name.

    Attributes:
        model: the user's model; if its outputs are nested, the same function with flat outputs.
        sample: one array for each input, each with a batch axis.
        real: whether the sample is the user's data or random numbers.
        inputs, outputs: the names in the files.
        expected_alone: the outputs for the first sample, called alone, known with `expected`.
        name: of the model. batch: its fixed batch size; None: any.
    """

    def __init__(self, model: Any, sample: Any = None, input_shape: Sequence[Any] | None = None) -> None:
        functional = functional_of(model)
        structure = output_structure(functional)
        self.model = model if _is_flat(structure) else _flattened(functional, model.name)
        self.tensors = input_specs(functional, input_shape)
        self.inputs = _unique([_plain(tensor.name) for tensor in self.tensors])
        self.outputs = _output_names(structure)
        self.name = str(model.name)
        self.batch = self.tensors[0].shape[0]  # None: any
        self.real = sample is not None
        self.expected_alone: ArrayList = []
        self.sample = self._checked(self._drawn() if sample is None else sample)

    def _drawn(self) -> Any:
        """Inputs that the model accepts, with the sizes of the files."""
        shapes = [tuple(tensor.shape) for tensor in self.tensors]
        return drawn_inputs(self.model, shapes=shapes)

    def _checked(self, sample: Any) -> ArrayList:
        """The sample as a list in the order and with the types of the inputs."""
        structure = input_structure(self.model)
        names = sorted(structure) if isinstance(structure, dict) else self.inputs
        if isinstance(sample, dict):
            if sorted(sample) != sorted(names):
                raise DataError(f"Expected a sample for each input, {', '.join(names)}; received {', '.join(sample)}.")
            values = [sample[name] for name in names]
        else:
            values = list(sample) if isinstance(sample, list | tuple) and len(sample) == len(names) else [sample]
            if len(values) != len(names):
                raise DataError(
                    f"Expected a list or dict with a sample for each of the inputs {', '.join(names)}; received "
                    f"{type(sample).__name__}."
                )
        arrays = [
            _fitting(value, name, tensor) for value, name, tensor in zip(values, names, self.tensors, strict=True)
        ]
        if len({len(array) for array in arrays}) > 1:
            raise DataError(f"The samples of the inputs differ in number: {[len(array) for array in arrays]}.")
        return arrays

    @property
    def one(self) -> ArrayList:
        """The first sample, or as many as the model's fixed batch size."""
        return [array[: self.batch or 1] for array in self.sample]

    @cached_property
    def signature(self) -> list[Any]:
        """What `model.export` takes as input_signature, with the names in the files."""
        specs = [
            keras.InputSpec(shape=tuple(tensor.shape), dtype=tensor.dtype, name=name)
            for tensor, name in zip(self.tensors, self.inputs, strict=True)
        ]
        return [keras.tree.pack_sequence_as(input_structure(self.model), specs)]

    @cached_property
    def expected(self) -> ArrayList:
        """The model's outputs for the sample, one array for each output; its seeds are restored, as files hold them."""
        with as_before(self.model):
            outputs = in_batches(functools.partial(run_model, self.model), self)
            self.expected_alone = run_model(self.model, self.one)
        if not all(np.isfinite(output).all() for output in outputs if output.dtype.kind == "f"):
            what = "the sample" if self.real else "random numbers; pass real data as the sample"
            raise ModelError(f"The outputs of {self.model.name} are not all finite numbers on {what}.")
        return outputs

    def repeats(self) -> bool:
        """Whether the model gives the same outputs again, from the same seeds."""
        answers = []
        for _ in range(2):
            with as_before(self.model):
                answers.append(run_model(self.model, self.one))
        return all(map(np.array_equal, *answers))

    @property
    def is_half(self) -> bool:
        """Whether any part of it is computed in half precision."""
        return is_half(self.model)

    @cached_property
    def single(self) -> Any:
        """The model with everything computed in float32."""
        return in_single_precision(self.model) if self.is_half else self.model


def _fitting(value: Any, name: str, tensor: Any) -> np.ndarray:
    """A sample for one input as an array of its type."""
    array = np.asarray(keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else value)
    want = tuple(tensor.shape[1:])
    fits = array.ndim == len(want) + 1 and all(a in (None, b) for a, b in zip(want, array.shape[1:], strict=True))
    if not fits or not len(array):
        sizes = ", ".join("any" if size is None else str(size) for size in want)
        raise DataError(f"Expected the sample of {name} as (samples, {sizes}); received shape {array.shape}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"The sample of {name} contains numbers that are not finite. Leave those samples out.")
    return _typed(array, name, str(tensor.dtype))


def _typed(array: np.ndarray, name: str, dtype: str) -> np.ndarray:
    """The array in a type of Keras's; text as Python objects."""
    kind = array.dtype.kind
    try:
        if dtype == "string" and kind in "SUO":
            return array.astype(object)
        if dtype != "string" and kind not in "SU":
            return array.astype("float32" if dtype == "bfloat16" else dtype)
    except (TypeError, ValueError):  # objects that are no numbers
        pass
    raise DataError(
        f"Expected the sample of {name} as {'text' if dtype == 'string' else 'numbers'}; received {array.dtype}. Pass "
        "what the model takes at this input."
    )


def predicting(model: Any) -> Callable[[Any], Any]:
    """The model as a function of its inputs that predicts: Keras's layers for augmentation train unless told not to."""
    return lambda inputs: model(inputs, training=False)


def in_batches(run: Callable[[ArrayList], ArrayList], source: Source) -> ArrayList:
    """Runs a function on the whole sample, batch by batch."""
    size = source.batch or 32
    count = len(source.sample[0]) // (source.batch or 1) * (source.batch or 1)
    starts = range(0, count, size)
    parts = [run([array[start : min(start + size, count)] for array in source.sample]) for start in starts]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def run_model(model: Any, arrays: ArrayList) -> ArrayList:
    """A Keras model's outputs for a list of inputs, as a list."""
    values = keras.tree.pack_sequence_as(input_structure(model), arrays)
    outputs = keras.tree.flatten(model(values, training=False))
    return [np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(out, _wide(out)))) for out in outputs]


def _wide(tensor: Any) -> str:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def _is_flat(structure: Any) -> bool:
    leaves = list(structure.values()) if isinstance(structure, dict) else structure
    return not keras.tree.is_nested(leaves) or not any(map(keras.tree.is_nested, leaves))


def _flattened(functional: Any, name: str) -> Any:
    return keras.Model(input_structure(functional), keras.tree.flatten(output_structure(functional)), name=name)


def _output_names(structure: Any) -> list[str]:
    if isinstance(structure, dict) and _is_flat(structure):
        return sorted(structure)  # the order of keras.tree.flatten
    return [f"output_{index}" for index in range(len(keras.tree.flatten(structure)))]


def _plain(name: str) -> str:
    """A name that every format keeps unchanged."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if name[:1].isalpha() else f"input_{name}"


def _unique(names: list[str]) -> list[str]:
    chosen: list[str] = []
    for name in names:
        number = 1
        while (candidate := name if number == 1 else f"{name}_{number}") in chosen:
            number += 1
        chosen.append(candidate)
    return chosen


class Runner(Protocol):
    """A file loaded back.

    Attributes:
        threads: number of threads that it uses.
    """

    threads: int

    def __call__(self, arrays: ArrayList) -> ArrayList:
        """The outputs for a list with one array for each input, both in Keras's order."""

    def latency(self, arrays: ArrayList) -> tuple[float, float]:
        """Median and 95th percentile of the duration of one call, in milliseconds."""


class Exporter(Protocol):
    """Writes one format.

    Attributes:
        name: of the format; suffix: of the file, after the model's name.
        tolerance: largest allowed difference, as a share of the outputs' scale.
    """

    name: str
    suffix: str
    tolerance: float

    def write(self, source: Source, path: Path) -> None:
        """Writes the model to a file, or folder, that does not exist yet."""

    def load(self, source: Source, path: Path, threads: int) -> Runner:
        """Loads what was written, ready to run; `threads` is used by runtimes that support it."""


def needs_tensorflow(exporter: Exporter) -> None:
    """Refuses a format that only the TensorFlow backend can write.

    Raises:
        ExportError: another backend is in use.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"Writing {exporter.name} needs the TensorFlow backend; this process runs on {keras.backend.backend()}. "
            "Save the model as .keras and export that with KERAS_BACKEND=tensorflow."
        )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tensorflow_threads() -> int:
    """How many threads TensorFlow uses for one operation."""
    if keras.backend.backend() != "tensorflow":
        return cores()
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or cores()
