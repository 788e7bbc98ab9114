"""Checkpoint: the complete state of a network and its optimizer, saved and restored bit for bit, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops
from keras.src.random.seed_generator import global_seed_generator

from shrinknet.errors import ModelError, RunError
from shrinknet.internals import require_model
from shrinknet.network.optimizers import frozen_masks, is_freezing
from shrinknet.network.switches import Switches


class Checkpoint:
    """A copy of everything that training changes: weights, statistics, switches, optimizer slots and step, seeds.

    Take one with `Checkpoint.of(net)`; `restore()` can be called any number of times. Values are copies, never
    references, and stay on their device (no round trip through NumPy).

    Example:
        >>> state = Checkpoint.of(net)
        >>> _ = net.fit(x, y, verbose=0)
        >>> state.restore()  # as if nothing had happened
    """

    def __init__(self, net: Any, variables: list[Any], values: list[Any], switches: Switches | None = None) -> None:
        self.net = net
        self.variables = variables
        self.values = values
        self.switches = switches

    @classmethod
    def of(cls, net: Any, switches: Switches | None = None) -> Checkpoint:
        """The current state of a network, plain or switched, compiled or not.

        Args:
            switches: the network's switches, if available; otherwise its graph is traced when they are needed.

        Raises:
            ModelError: the model has no variables yet.
        """
        variables = state_of(net)
        return cls(net, variables, [ops.copy(variable.value) for variable in variables], switches)

    def restore(self) -> None:
        """Restores the state, bit for bit."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(ops.copy(value))  # a copy: JAX donates buffers, and the value may be needed again
        optimizer = getattr(self.net, "optimizer", None)
        if optimizer is not None and is_freezing(optimizer):  # its masks may have been created after this checkpoint
            (self.switches or Switches(self.net)).refresh()


def to_arrays(net: Any) -> dict[str, np.ndarray]:
    """The state of a network for a file: `<index> <path of the variable>` -> its values, in a type that NumPy has.

    The optimizer's masks are left out, since they follow from the switches.
    """
    arrays = {}
    for place, variable in enumerate(_on_disk(net)):
        array = np.asarray(ops.convert_to_numpy(variable.value))
        arrays[f"{place:05d} {variable.path}"] = _as_bits(array) if array.dtype.kind == "V" else array
    return arrays


def from_arrays(net: Any, arrays: Mapping[str, np.ndarray], switches: Switches | None = None) -> None:
    """Restores what `to_arrays` returned, into the same network or one that was built in the same way.

    Raises:
        RunError: the arrays belong to another network; nothing is changed.
    """
    variables, values = _on_disk(net), []
    for variable, (name, array) in zip(variables, arrays.items(), strict=False):
        now = np.asarray(ops.convert_to_numpy(variable.value))
        array = array.view(now.dtype) if now.dtype.kind == "V" and array.dtype == _as_bits(now).dtype else array
        if (array.shape, array.dtype) != (now.shape, now.dtype):
            raise RunError(
                f"The checkpoint belongs to another network: {name.partition(' ')[2]} is "
                f"{array.dtype}{[*array.shape]}, expected {now.dtype}{[*now.shape]} for {variable.path}."
            )
        values.append(array)
    if len(arrays) != len(variables):
        raise RunError(
            f"The checkpoint belongs to another network: {len(arrays)} variables, expected {len(variables)}."
        )
    for variable, array in zip(variables, values, strict=True):
        variable.assign(array)
    optimizer = getattr(net, "optimizer", None)
    if switches is not None or (optimizer is not None and is_freezing(optimizer)):
        (switches or Switches(net)).refresh()


def weights_to_arrays(net: Any) -> dict[str, np.ndarray]:
    """The variables of a network without its optimizer, named as in `to_arrays`."""
    return dict(list(to_arrays(net).items())[: len({id(variable) for variable in net.variables})])


def weights_from_arrays(net: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Restores what `weights_to_arrays` returned, into the same network or one that was built in the same way.

    Raises:
        RunError: the arrays belong to another network.
    """
    variables = list({id(variable): variable for variable in net.variables}.values())
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays.values()]:
        raise RunError("The weights belong to another network: their number or shapes differ.")
    for variable, array in zip(variables, arrays.values(), strict=True):
        now = np.asarray(ops.convert_to_numpy(variable.value))
        variable.assign(array.view(now.dtype) if now.dtype.kind == "V" else array)


def _as_bits(array: np.ndarray) -> np.ndarray:
    """An array of a type that NumPy cannot write, such as bfloat16, viewed as unsigned integers of the same size."""
    return array.view(f"u{array.dtype.itemsize}")


def _on_disk(net: Any) -> list[Any]:
    masks = {id(mask) for mask in frozen_masks(getattr(net, "optimizer", None))}
    return [variable for variable in state_of(net) if id(variable) not in masks]


def state_of(net: Any) -> list[Any]:
    """Every variable that training changes, each once; creates those that Keras would create later."""
    require_model(net)
    if not net.built:
        raise ModelError(f"The model {net.name} is not built, so it has no state. Start it with keras.Input(shape).")
    optimizer = getattr(net, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(net.trainable_variables)
    variables = [*net.variables, *(optimizer.variables if optimizer is not None else ())]
    variables += [variable for metric in getattr(net, "metrics", ()) for variable in metric.variables]
    variables.append(global_seed_generator().state)
    return list({id(variable): variable for variable in variables}.values())
