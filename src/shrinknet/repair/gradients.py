"""Gradients of the loss at the inputs and outputs of the readers, on calibration data with targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import DataError, ModelError
from shrinknet.repair.program import Step
from shrinknet.repair.readers import Reader
from shrinknet.repair.reference import Calibration

BATCH = 16
"""Samples that gradients are taken of at once: all activations of these are in memory."""

Watch = Callable[[Any], Any]
Forward = Callable[[Watch], Any]  # hands every tensor of interest to `watch`, goes on with what that returns -> loss


@dataclass(frozen=True, eq=False)
class Sensed:
    """A reader's call on one chunk of calibration samples.

    Attributes:
        chunk: its number.
        samples: how many samples it has; where time steps are folded into the first axis, each has several rows.
        reader: the reader.
        inputs, input_gradients: what it reads, and the gradient of each sample's loss that comes through this reader,
            float32, shape of the tensor.
        output_gradients: gradient at its output before the activation function; of a reader without `known_outputs` at
            the first thing that it returns.
    """

    chunk: int
    samples: int
    reader: Reader
    inputs: np.ndarray
    input_gradients: np.ndarray
    output_gradients: np.ndarray


def sensed(calibration: Calibration, targets: Any) -> Iterator[Sensed]:
    """The readers' inputs and the gradients of the loss, chunk by chunk, reader by reader.

    Args:
        calibration: the network, compiled with a loss, and its data.
        targets: of all the data that `calibration` was made of, arrays as the network's `fit` takes them.

    Raises:
        ModelError: the network is not compiled, or the backend gives no gradients here.
        DataError: there are not as many targets as data.
    """
    net, inputs = calibration.net, calibration.inputs.in_batches(BATCH)
    if not net.compiled:
        raise ModelError(f"The model {net.name} is not compiled: gradients need its loss. Call net.compile(loss=...).")
    targets = keras.tree.map_structure(np.asarray, targets)
    if any(len(array) != inputs.given for array in keras.tree.flatten(targets)):
        raise DataError(f"Expected {inputs.given} targets, one for each calibration sample; received others.")
    for chunk in range(inputs.chunks):
        index, tensors = inputs.indices(chunk), inputs.chunk(chunk)
        expected = keras.tree.map_structure(lambda array, index=index: ops.convert_to_tensor(array[index]), targets)
        calls: list[Reader] = []

        def forward(watch: Watch, tensors: Any = tensors, expected: Any = expected, calls: Any = calls) -> Any:
            calls.clear()
            outputs = _outputs(calibration, tensors, watch, calls)
            # The loss is a mean over samples: times their number it is a sum, whose gradients are those of each sample.
            return net.compute_loss(y=expected, y_pred=outputs, training=False) * inputs.batch

        values, gradients = _differentiated(forward)
        for place, reader in enumerate(calls):
            real = inputs.real(chunk, len(values[2 * place]))
            read, through, behind = values[2 * place], gradients[2 * place], gradients[2 * place + 1]
            yield Sensed(chunk, inputs.real(chunk, inputs.batch), reader, read[:real], through[:real], behind[:real])


def _outputs(calibration: Calibration, tensors: Any, watch: Watch, calls: list[Reader]) -> Any:
    """The network's outputs; on the way every reader's input and output is handed to `watch`."""
    program = calibration.program
    known = dict(zip(program.inputs, tensors, strict=True))
    for step in program.steps:
        taken = [known[slot] for slot in step.takes]
        reader = calibration.readers.get(step.path)
        if reader is None:
            outputs = step.run(taken)
        else:
            calls.append(reader)
            outputs = _watched(step, taken, watch, reader)
        known.update(zip(step.gives, outputs, strict=True))
    flat = [known[slot] for slot in program.outputs]
    return keras.tree.pack_sequence_as(program.functional._outputs_struct, flat)


def _watched(step: Step, taken: list[Any], watch: Watch, reader: Reader) -> list[Any]:
    layer = step.operation
    if not reader.known_outputs:
        first, *others = step.run([watch(taken[0]), *taken[1:]])
        return [watch(first), *others]
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        (output,) = step.run([watch(taken[0]), *taken[1:]])
    finally:
        layer.activation = activation
    output = watch(output)
    return [output if activation is None else activation(output)]


def _differentiated(forward: Forward) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The watched tensors and the gradients of what `forward` returns at them, in the order of watching."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from shrinknet.repair.gradients_tensorflow import differentiated
    elif backend == "jax":
        from shrinknet.repair.gradients_jax import differentiated
    else:
        raise ModelError(f"Gradients at readers are there for TensorFlow and JAX, not for {backend}.")
    values, gradients = differentiated(forward)
    return [_array(value) for value in values], [_array(gradient) for gradient in gradients]


def _array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
