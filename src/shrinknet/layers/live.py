"""What a constraint or an activity regularizer of a switched layer sees: the live slices alone, as once it is cut.

A slice is live if it belongs to an enabled filter and reads enabled channels. Dead slices count as zero, and stay as
they are.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def live_mask(layer: Any, variable: Any) -> Any:
    """Which numbers of one of a switched layer's own variables are live, broadcastable to it; None: all, always."""
    board = layer.switchboard
    mask = next((live.value for name, live in board.live.items() if getattr(layer, name, None) is variable), None)
    axis = layer.own_axis % len(variable.shape) if len(variable.shape) > 1 else 0
    if hasattr(board, "disabled") and variable.shape and variable.shape[axis] == board.disabled.shape[0]:
        shape = [1] * len(variable.shape)
        shape[axis] = -1
        enabled = ops.reshape(ops.logical_not(board.disabled.value), shape)
        mask = enabled if mask is None else ops.logical_and(mask, enabled)
    return mask


class LiveConstraint(keras.constraints.Constraint):
    """A constraint of the user's on what is live of a variable.

    Args:
        constraint: the user's; layer: the switched layer; variable: of the layer.
    """

    def __init__(self, constraint: Any, layer: Any, variable: Any) -> None:
        self.constraint = constraint
        self.layer = layer
        self.variable = variable

    def __call__(self, value: Any) -> Any:
        """The value with the constraint applied to its live part."""
        mask = live_mask(self.layer, self.variable)
        if mask is None:
            return self.constraint(value)
        value = ops.convert_to_tensor(value)
        return ops.where(mask, self.constraint(ops.where(mask, value, ops.zeros((), value.dtype))), value)

    def get_config(self) -> dict[str, Any]:
        """That of the user's constraint."""
        return dict(self.constraint.get_config())


class LiveActivity:
    """An activity regularizer of the user's on the enabled channels of an output.

    Args:
        regularizer: the user's; layer: the switched layer.
    """

    def __init__(self, regularizer: Any, layer: Any) -> None:
        self.regularizer = regularizer
        self.layer = layer

    def __call__(self, output: Any) -> Any:
        """The penalty of the output without its disabled channels."""
        axis = 1 if getattr(self.layer, "data_format", None) == "channels_first" else -1
        shape = [1] * len(output.shape)
        shape[axis] = -1
        enabled = ops.reshape(ops.logical_not(self.layer.switchboard.disabled.value), shape)
        return self.regularizer(ops.where(enabled, output, ops.zeros((), output.dtype)))


def watch(layer: Any) -> None:
    """From now on constraints and the activity regularizer of a switched layer see only what is live."""
    for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
        if variable.constraint is not None and not isinstance(variable.constraint, LiveConstraint):
            variable.constraint = LiveConstraint(variable.constraint, layer, variable)
    if layer.activity_regularizer is not None and hasattr(layer.switchboard, "disabled"):
        vars(layer)["activity_regularizer"] = LiveActivity(layer.activity_regularizer, layer)
