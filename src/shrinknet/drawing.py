"""Drawn inputs: numbers and text that a model accepts, to compare networks on where there are no data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import ModelError
from shrinknet.internals import input_structure, layers_of

SIZES = (64, 32, 128, 224, 512, 16, 1024)  # tried one after the other for sizes that the model leaves open
_WORDS = np.array(["a", "b", "c", ""])


def drawn_inputs(
    model: Any, batch: int = 2, seed: int = 0, shapes: Sequence[Sequence[int | None]] | None = None
) -> Any:
    """Inputs that the model accepts and that give outputs of finite numbers, in the structure that it takes.

    Standard normal numbers are tried first, then numbers in [0, 1], as log front ends want them; small whole numbers
    for integer inputs; short words for text. Sizes that are left open are tried from 16 to 1,024.

    Args:
        batch: samples, where the model leaves their number open.
        shapes: of the inputs, the batch axis included, in the order in which they are flattened; None: the model's.

    Raises:
        ModelError: nothing that was tried is accepted; data have to be given.
    """
    problem = "its outputs are not finite numbers"
    for inputs in _candidates(model, batch, seed, shapes):
        try:
            outputs = keras.tree.flatten(model(inputs, training=False))
        except Exception as error:  # sizes or values that this model does not take
            problem = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
            continue
        if all(_is_finite(output) for output in outputs):
            return inputs
    raise ModelError(
        f"No inputs could be drawn that the model {model.name} accepts ({problem}). Give it some of its own, with a "
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
        return ops.convert_to_tensor(random.choice(_WORDS, shape)) if keras.backend.backend() == "tensorflow" else None
    if dtype == "bool":
        return random.random(shape) < 0.5
    if "int" in dtype:
        return random.integers(0, classes, shape).astype(dtype)
    numbers = random.normal(size=shape) if kind == "normal" else random.random(shape)
    return numbers.astype("float32" if dtype == "bfloat16" else dtype)


def _least_classes(model: Any) -> int:
    """How many whole numbers from 0 every embedding of the model knows; 2 where there is none."""
    known = [layer.input_dim for layer in layers_of(model) if isinstance(layer, keras.layers.Embedding)]
    return max(1, min([2, *known]))


def _is_finite(tensor: Any) -> bool:
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        return True
    return bool(np.isfinite(ops.convert_to_numpy(ops.cast(tensor, "float32"))).all())
