"""Checkpoint: all state of a network and its optimizer, taken and put back bit for bit, in memory."""

from __future__ import annotations

from typing import Any

from keras import ops
from keras.src.random.seed_generator import global_seed_generator

from shrinknet.errors import ModelError
from shrinknet.optimizers import is_freezing
from shrinknet.switches import Switches


class Checkpoint:
    """A copy of every bit that training changes: weights, statistics, switches, optimizer slots and step, seeds.

    Take one with `Checkpoint.of(net)`; `restore()` can be called any number of times. Values are copies, never
    references, and stay where they are (no trip through NumPy).

    Example:
        >>> state = Checkpoint.of(net)
        >>> _ = net.fit(x, y, verbose=0)
        >>> state.restore()  # as if nothing had happened
    """

    def __init__(self, net: Any, variables: list[Any], values: list[Any]) -> None:
        self.net = net
        self.variables = variables
        self.values = values

    @classmethod
    def of(cls, net: Any) -> Checkpoint:
        """The state of a network, plain or switched, compiled or not, as it is now.

        Raises:
            ModelError: the model has no variables yet.
        """
        variables = state_of(net)
        return cls(net, variables, [ops.copy(variable.value) for variable in variables])

    def restore(self) -> None:
        """Puts every bit back."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(ops.copy(value))  # it may be wanted again, and JAX gives buffers away
        optimizer = getattr(self.net, "optimizer", None)
        if optimizer is not None and is_freezing(optimizer):  # its masks may be younger than this checkpoint
            Switches(self.net).refresh()


def state_of(net: Any) -> list[Any]:
    """Every variable that training changes, each once, after those that Keras creates late were made to exist."""
    if not net.built:
        raise ModelError(f"The model {net.name} is not built: it has no state yet. Start it with keras.Input(shape).")
    optimizer = getattr(net, "optimizer", None)
    if optimizer is not None and not optimizer.built:
        optimizer.build(net.trainable_variables)
    variables = [*net.variables, *(optimizer.variables if optimizer is not None else ())]
    variables += [variable for metric in getattr(net, "metrics", ()) for variable in metric.variables]
    variables.append(global_seed_generator().state)
    return list({id(variable): variable for variable in variables}.values())
