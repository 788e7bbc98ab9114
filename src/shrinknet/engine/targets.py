"""Inputs and targets, checked against the model before anything is trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from shrinknet.engine.arrays import Batch
from shrinknet.engine.data import check_finite
from shrinknet.errors import DataError
from shrinknet.internals import compile_config

# Keras's losses that compare targets and outputs number by number, by their names without "_": others want targets of
# another shape, as class numbers.
_NUMBER_BY_NUMBER = {
    "meansquarederror", "mse", "meanabsoluteerror", "mae", "meanabsolutepercentageerror", "mape",
    "meansquaredlogarithmicerror", "msle", "huber", "logcosh", "binarycrossentropy", "binaryfocalcrossentropy",
    "categoricalcrossentropy", "categoricalfocalcrossentropy", "hinge", "squaredhinge", "categoricalhinge",
    "kldivergence", "poisson", "cosinesimilarity", "dice", "tversky",
}  # fmt: skip


def check_inputs(net: Any, batch: Batch, what: str) -> None:
    """Refuses inputs that are text, or of another shape than the model takes.

    Raises:
        DataError: says which.
    """
    arrays = keras.tree.flatten(batch[0])
    if hasattr(batch[0], "keys") or len(arrays) != len(net.inputs):
        return  # by name, or as Keras will say
    for array, tensor in zip(arrays, net.inputs, strict=True):
        got, wanted = tuple(np.shape(array))[1:], tuple(tensor.shape)[1:]
        if np.asarray(array).dtype.kind in "OSU" and tensor.dtype != "string":
            raise DataError(f"Expected numbers in the {what}; received {np.asarray(array).dtype}.")
        if len(got) == len(wanted) - 1 and _fits(tuple(np.shape(array)), wanted):
            raise DataError(
                f"The {what} come sample by sample, of shape {wanted}: expected batches of them. Write "
                "dataset.batch(32), or hand over arrays with an axis of samples."
            )
        if len(got) == len(wanted) and not _fits(got, wanted):
            raise DataError(f"Expected samples of shape {wanted} in the {what} (None: any size); received {got}.")


def _fits(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def check_targets(net: Any, batch: Batch, what: str) -> None:
    """Refuses targets that one of Keras's losses would broadcast against the output in silence, or cannot take.

    Raises:
        DataError: shapes differ by more than a trailing axis of 1; class numbers have another shape, or are none;
            numbers are not finite.
    """
    losses = compile_config(net).get("loss")
    if len(net.outputs) != 1 or keras.tree.is_nested(batch[1]) or not isinstance(losses, str | keras.losses.Loss):
        return
    name = losses if isinstance(losses, str) else type(losses).__name__
    if not (isinstance(losses, str) or type(losses).__module__.startswith("keras.")):
        return  # a loss of the user's own: it may take NaN for a label that is missing
    check_finite(np.asarray(batch[1]), what)
    target, output = tuple(np.shape(batch[1]))[1:], tuple(net.outputs[0].shape)[1:]
    if name in ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"):
        _check_classes(np.asarray(batch[1]), target, output, getattr(losses, "ignore_class", None))
    elif name.replace("_", "").lower() in _NUMBER_BY_NUMBER and not (
        _fits(target, output) or _fits((*target, 1), output) or _fits(target, (*output, 1))
    ):
        raise DataError(
            f"The targets have shape {target} a sample, the model's output {output}: the loss {name} would broadcast "
            "one against the other in silence. Give targets of the output's shape."
        )


def _check_classes(targets: np.ndarray, target: tuple[int, ...], output: tuple[Any, ...], ignored: int | None) -> None:
    if not (_fits(target, output[:-1]) or _fits(target, (*output[:-1], 1))):
        raise DataError(
            f"The targets have shape {target} a sample; the loss takes class numbers of shape {output[:-1]}. "
            "For one-hot targets compile with categorical_crossentropy."
        )
    wrong = targets[(targets < 0) | (targets >= (output[-1] or np.inf))]
    wrong = wrong[wrong != ignored] if ignored is not None else wrong
    if wrong.size:
        raise DataError(f"The targets hold the class {wrong.flat[0]}; the model's output knows 0 to {output[-1] - 1}.")
