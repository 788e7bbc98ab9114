"""Checks inputs and targets against the model before training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from shrinknet.engine.arrays import Batch
from shrinknet.engine.data import check_finite
from shrinknet.errors import DataError
from shrinknet.internals import compile_config, input_structure, is_optional

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
    if _has_own_steps(net):
        return  # they may take anything
    arrays = keras.tree.flatten(batch[0])
    if hasattr(batch[0], "keys"):
        _check_names(net, batch[0], what)
        return
    if len(arrays) != len(net.inputs):
        if any(map(is_optional, net.inputs)):
            return
        raise DataError(
            f"Inputs of the model {net.name}: {len(net.inputs)}; inputs in the {what}: {len(arrays)}. Pass (x, y) with "
            "one array for each input in x; batches come from a tf.data.Dataset or a PyDataset, not from a list."
        )
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


def _has_own_steps(net: Any) -> bool:
    """Whether the class of a model trains or tests by methods of its own."""
    kind: Any = getattr(type(net), "plain_class", type(net))
    return any(not getattr(kind, name).__module__.startswith("keras.") for name in ("train_step", "test_step"))


def _check_names(net: Any, inputs: Any, what: str) -> None:
    """Refuses inputs by names that the model does not have."""
    structure = input_structure(net)
    names = list(structure) if isinstance(structure, dict) else [tensor.name for tensor in net.inputs]
    wanted = [name for name, tensor in zip(names, net.inputs, strict=False) if not is_optional(tensor)]
    if missing := [name for name in wanted if name not in inputs]:
        raise DataError(
            f"Expected inputs named {', '.join(names)} in the {what}; received {', '.join(map(str, inputs))}, without "
            f"{', '.join(missing)}."
        )


def _fits(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def check_targets(net: Any, batch: Batch, what: str) -> None:
    """Refuses targets that a Keras loss would silently broadcast against the output, or does not accept.

    Raises:
        DataError: shapes differ by more than a trailing axis of 1; class indices have the wrong shape or are out of
            range; numbers are not finite.
    """
    losses = compile_config(net).get("loss")
    own = not type(net).compute_loss.__module__.startswith("keras.") or _has_own_steps(net)
    if len(net.outputs) > 1 and not own and not keras.tree.is_nested(batch[1]) and batch[1] is not None:
        raise DataError(
            f"The model {net.name} has {len(net.outputs)} outputs, but the {what} have targets for one. Pass a list or "
            "a dictionary by the names of the outputs, with an array for each."
        )
    if len(net.outputs) != 1 or keras.tree.is_nested(batch[1]) or not isinstance(losses, str | keras.losses.Loss):
        return
    name = losses if isinstance(losses, str) else type(losses).__name__
    if not (isinstance(losses, str) or type(losses).__module__.startswith("keras.")):
        return  # a user's loss, which may use NaN for a missing label
    if np.asarray(batch[1]).dtype.kind in "OSU":
        raise DataError(
            f"Expected numbers as targets in the {what}; received {np.asarray(batch[1]).dtype}. Write "
            "y.astype('int32') if they are numbers; number classes with numpy.unique(y, return_inverse=True)[1]."
        )
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
