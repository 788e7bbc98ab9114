"""Checks inputs and targets against the model before training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from shrinknet.engine.arrays import Batch
from shrinknet.engine.data import check_finite
from shrinknet.errors import DataError
from shrinknet.internals import compile_config

# Keras losses that compare targets and outputs element by element, by their names without "_". Other losses expect
# targets of another shape, such as class indices.
_NUMBER_BY_NUMBER = {
    "meansquarederror", "mse", "meanabsoluteerror", "mae", "meanabsolutepercentageerror", "mape",
    "meansquaredlogarithmicerror", "msle", "huber", "logcosh", "binarycrossentropy", "binaryfocalcrossentropy",
    "categoricalcrossentropy", "categoricalfocalcrossentropy", "hinge", "squaredhinge", "categoricalhinge",
    "kldivergence", "poisson", "cosinesimilarity", "dice", "tversky",
}  # fmt: skip


def check_inputs(net: Any, batch: Batch, what: str) -> None:
    """Refuses inputs that are text, or whose shape the model does not accept.

    Raises:
        DataError: says what is wrong.
    """
    arrays = keras.tree.flatten(batch[0])
    if hasattr(batch[0], "keys") or len(arrays) != len(net.inputs):
        return  # inputs by name, or a number of inputs that Keras itself will refuse
    for array, tensor in zip(arrays, net.inputs, strict=True):
        got, wanted = tuple(np.shape(array))[1:], tuple(tensor.shape)[1:]
        if np.asarray(array).dtype.kind in "OSU" and tensor.dtype != "string":
            raise DataError(f"Expected numbers in the {what}; received {np.asarray(array).dtype}.")
        if len(got) == len(wanted) - 1 and _fits(tuple(np.shape(array)), wanted):
            raise DataError(
                f"The {what} consist of single samples of shape {wanted}: expected batches. Write dataset.batch(32), "
                "or pass arrays whose first axis is the sample."
            )
        if len(got) == len(wanted) and not _fits(got, wanted):
            raise DataError(f"Expected samples of shape {wanted} in the {what} (None: any size); received {got}.")


def _fits(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def check_targets(net: Any, batch: Batch, what: str) -> None:
    """Refuses targets that a Keras loss would silently broadcast against the output, or does not accept.

    Raises:
        DataError: shapes differ by more than a trailing axis of 1; class indices have the wrong shape or are out of
            range; numbers are not finite.
    """
    losses = compile_config(net).get("loss")
    if len(net.outputs) != 1 or keras.tree.is_nested(batch[1]) or not isinstance(losses, str | keras.losses.Loss):
        return
    name = losses if isinstance(losses, str) else type(losses).__name__
    if not (isinstance(losses, str) or type(losses).__module__.startswith("keras.")):
        return  # a user's loss, which may use NaN for a missing label
    check_finite(np.asarray(batch[1]), what)
    target, output = tuple(np.shape(batch[1]))[1:], tuple(net.outputs[0].shape)[1:]
    if name in ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"):
        _check_classes(np.asarray(batch[1]), target, output, getattr(losses, "ignore_class", None))
    elif name.replace("_", "").lower() in _NUMBER_BY_NUMBER and not (
        _fits(target, output) or _fits((*target, 1), output) or _fits(target, (*output, 1))
    ):
        raise DataError(
            f"The targets have shape {target} per sample, but the model's output has {output}: the loss {name} would "
            "silently broadcast one against the other. Pass targets that have the shape of the output."
        )


def _check_classes(targets: np.ndarray, target: tuple[int, ...], output: tuple[Any, ...], ignored: int | None) -> None:
    if not (_fits(target, output[:-1]) or _fits(target, (*output[:-1], 1))):
        raise DataError(
            f"The targets have shape {target} per sample; the loss expects class indices of shape {output[:-1]}. For "
            "one-hot targets, compile with categorical_crossentropy."
        )
    wrong = targets[(targets < 0) | (targets >= (output[-1] or np.inf))]
    wrong = wrong[wrong != ignored] if ignored is not None else wrong
    if wrong.size:
        raise DataError(f"The targets contain class {wrong.flat[0]}; the model's output has 0 to {output[-1] - 1}.")
