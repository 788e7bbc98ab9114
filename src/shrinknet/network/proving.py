"""Proving: two networks compute the same function, up to rounding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from shrinknet.comparing import Mismatch, largest_difference
from shrinknet.drawing import drawn_inputs
from shrinknet.errors import DataError, ModelError
from shrinknet.internals import as_array, as_before, input_structure, is_optional, layers_of
from shrinknet.network.locating import first_difference
from shrinknet.network.precision import full_precision

TOLERANCE = 1e-5  # of the output's scale; float32 sums in a different order differ by about 1e-6
HALF_TOLERANCE = 1e-2
ROUNDING = 8  # a difference may be this many times the effect of one unit in the last place of the inputs


def prove(net: Any, other: Any, sample: Any = None) -> float:
    """The largest difference between the outputs of two networks in inference, as a share of the outputs' scale.

    At most 1e-5 is allowed (1e-2 in half precision). Deep networks with random weights can amplify rounding to more
    than that, so a larger difference is allowed if moving the inputs by one unit in the last place changes the outputs
    of `net` by a similar amount.

    Args:
        net, other: Keras models that take the same inputs; their variables are restored before this returns.
        sample: inputs, as the models take them; None: random inputs.

    Raises:
        Mismatch: they differ by more than that.
        DataError: the sample is not what they take.
        ModelError: no random inputs could be made that the model accepts, or `net` draws random numbers in inference
            without a seed that Keras keeps.
    """
    sample = drawn_inputs(net) if sample is None else sample
    half = any("float16" in str(layer.compute_dtype) for layer in layers_of(net))  # or bfloat16
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    with sample_blamed(other, sample):
        expected, received = (outputs_of(one, (sample,), {}) for one in (net, other))
    try:
        return largest_difference(expected, received, tolerance)
    except Mismatch:
        _refuse_unrepeatable(net, other, sample, expected, tolerance)
        moved = outputs_of(net, (tree.map_structure(_next, sample),), {})
        try:
            rounding = largest_difference(expected, moved, 1.0)
        except Mismatch:
            rounding = 0.0
        if rounding * ROUNDING <= tolerance:
            raise
        return largest_difference(expected, received, rounding * ROUNDING)


@contextlib.contextmanager
def sample_blamed(model: Any, sample: Any) -> Iterator[None]:
    """Turns what is raised where a recorded model is called with a sample that does not fit it into a sentence.

    Raises:
        DataError: says what shapes the sample has, and what the model takes.
    """
    try:
        yield
    except Exception as error:
        structure = input_structure(model)
        tensors, leaves = tree.flatten(structure), _leaves(sample, structure)
        if len(leaves) == len(tensors) and all(map(_fits, leaves, tensors)):
            raise
        wanted = ", ".join(f"{tensor.name} of shape {_sizes(tensor)}" for tensor in tensors)
        received = tree.map_structure(lambda one: None if one is None else tuple(np.shape(one)), sample)
        raise DataError(
            f"The sample does not fit the model {model.name}: expected {wanted}; received {received}. Pass inputs as "
            "the model takes them, with the samples along the first axis."
        ) from error


def _leaves(sample: Any, structure: Any) -> list[Any]:
    """The arrays of a sample in the order of the model's inputs; Keras also accepts them by name."""
    if not isinstance(sample, dict):
        return list(tree.flatten(sample))
    names = sorted(structure) if isinstance(structure, dict) else [tensor.name for tensor in tree.flatten(structure)]
    return [leaf for name in names if name in sample for leaf in tree.flatten(sample[name])]


def _fits(array: Any, tensor: Any) -> bool:
    if array is None:
        return is_optional(tensor)
    wanted, shape = tuple(tensor.shape)[1:], tuple(np.shape(array))[1:]
    return len(shape) == len(wanted) and all(one in (None, other) for one, other in zip(wanted, shape, strict=True))


def _sizes(tensor: Any) -> str:
    sizes = ["any" if size is None else str(size) for size in tensor.shape[1:]]
    return f"({', '.join(['samples', *sizes])})"


def _refuse_unrepeatable(net: Any, other: Any, sample: Any, expected: list[np.ndarray], tolerance: float) -> None:
    """Refuses a network whose outputs differ from one call to the next though its seeds are the same."""
    try:
        largest_difference(expected, outputs_of(net, (sample,), {}), tolerance)
    except Mismatch:
        found = first_difference(other, other, sample, tolerance)
        layer = f"The layer {found[0]} of {net.name}" if found else f"The model {net.name}"
        raise ModelError(
            f"{layer} draws random numbers in inference without a seed that Keras keeps, so its outputs cannot be "
            "compared. Draw them with keras.random and a keras.random.SeedGenerator that is an attribute of the layer, "
            "or in training only."
        ) from None


def _next(value: Any) -> Any:
    """Each floating-point number moved by one unit in its last place."""
    array = np.asarray(ops.convert_to_numpy(value)) if ops.is_tensor(value) else np.asarray(value)
    return np.nextafter(array, np.inf, dtype=array.dtype) if array.dtype in ("float32", "float64") else value


def outputs_of(layer: Any, arguments: Any, keywords: Any, *, training: bool = False) -> list[np.ndarray]:
    """The outputs of a layer or model as a flat list of arrays; its variables are restored before this returns."""
    takes = layer._call_has_training_arg or isinstance(layer, keras.Model)
    keywords = {**keywords, "training": training} if takes else keywords
    with as_before(layer), full_precision():
        return [as_array(output) for output in tree.flatten(layer(*arguments, **keywords))]
