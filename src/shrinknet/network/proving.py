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
from shrinknet.internals import layers_of
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
        ModelError: no random inputs could be made that the model accepts.
    """
    sample = drawn_inputs(net) if sample is None else sample
    half = any("float16" in str(layer.compute_dtype) for layer in layers_of(net))  # or bfloat16
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    expected, received = (outputs_of(one, (sample,), {}) for one in (net, other))
    try:
        return largest_difference(expected, received, tolerance)
    except Mismatch:
        moved = outputs_of(net, (tree.map_structure(_next, sample),), {})
        try:
            rounding = largest_difference(expected, moved, 1.0)
        except Mismatch:
            rounding = 0.0
        if rounding * ROUNDING <= tolerance:
            raise
        return largest_difference(expected, received, rounding * ROUNDING)


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


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array; half precision becomes float32, since NumPy has no bfloat16."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32") if dtype in ("float16", "bfloat16") else tensor))


@contextlib.contextmanager
def as_before(layer: Any) -> Iterator[None]:
    """Restores the variables that calling a network changes, statistics and seeds, when the block ends."""
    values = [(variable, ops.copy(variable.value)) for variable in layer.variables if not variable.trainable]
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)
