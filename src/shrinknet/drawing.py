"""Drawn inputs: random numbers and text that a model accepts, to compare networks without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import ModelError, first_line
from shrinknet.internals import as_before, input_structure, layers_of

SIZES = (64, 32, 128, 224, 512, 16, 1024)  # tried in this order for sizes that the model leaves undefined
_WORDS = np.array(["a", "b", "c", ""])


def drawn_inputs(
    model: Any, batch: int = 2, seed: int = 0, shapes: Sequence[Sequence[int | None]] | None = None
) -> Any:
    """Inputs that the model accepts and for which its outputs are finite, in the model's input structure.

    Standard normal numbers are tried first, then numbers in [0, 1], which logarithmic front ends need; small whole
    numbers for integer inputs; short words for text. Undefined sizes are tried from 16 to 1,024.

    Args:
        batch: number of samples, if the model leaves it undefined.
        shapes: of the inputs, including the batch axis, in flattened order; None: those of the model.

    Raises:
        ModelError: the model accepts none of the tried inputs; a sample is needed.
    """
    problem = "its outputs are not finite numbers"
    for inputs in _candidates(model, batch, seed, shapes):
        try:
            with as_before(model):
                outputs = keras.tree.flatten(model(inputs, training=False))
        except Exception as error:  # sizes or values that this model does not accept
            problem = first_line(error)
            continue
        if all(_is_finite(output) for output in outputs):
            return inputs
    raise ModelError(
        f"The model {model.name} accepts none of the random inputs that were tried ({problem}). Pass your own, with a "
        "batch axis, as the sample."
    )


def _candidates(model: Any, batch: int, seed: int, shapes: Sequence[Sequence[int | None]] | None) -> Iterator[Any]:
    structure = input_structure(model)
    tensors = keras.tree.flatten(structure)
    if shapes is not None:
        tensors = [keras.KerasTensor(shape, one.dtype) for one, shape in zip(tensors, shapes, strict=True)]
        structure = keras.tree.pack_sequence_as(structure, tensors)
    open_sizes = any(None in tuple(tensor.shape)[1:] for tensor in tensors)
    classes = _least_classes(model)
    for size in SIZES if open_sizes else SIZES[:1]:
        for kind in ("normal", "uniform"):
            random = np.random.default_rng(seed)
            yield keras.tree.map_structure(lambda one, r=random, s=size, k=kind: _draw(one, r, batch, s, k, classes),
                                           structure)  # fmt: skip


def _draw(tensor: Any, random: np.random.Generator, batch: int, size: int, kind: str, classes: int) -> Any:
    first, *rest = tensor.shape
    shape = (first or batch, *(size if one is None else one for one in rest))
    dtype = str(tensor.dtype)
    if dtype == "string":
        return random.choice(_WORDS, shape)  # Keras refuses tensors next to arrays
    if dtype == "bool":
        return random.random(shape) < 0.5
    if "int" in dtype:
        return random.integers(0, classes, shape).astype(dtype)
    numbers = random.normal(size=shape) if kind == "normal" else random.random(shape)
    return numbers.astype("float32" if dtype == "bfloat16" else dtype)


def _least_classes(model: Any) -> int:
    """How many whole numbers from 0 every embedding of the model accepts, at most 2."""
    known = [layer.input_dim for layer in layers_of(model) if isinstance(layer, keras.layers.Embedding)]
    return max(1, min([2, *known]))


def _is_finite(tensor: Any) -> bool:
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        return True
    return bool(np.isfinite(ops.convert_to_numpy(ops.cast(tensor, "float32"))).all())
