"""Restricts the constraints and activity regularizers of a switched layer to its live slices, as after cutting.

A slice is live if it belongs to an enabled filter and reads enabled channels. Other slices count as zero, and are not
changed.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shrinknet.errors import ModelError


def live_mask(layer: Any, variable: Any) -> Any:
    """Which numbers in a variable of a switched layer are live, broadcastable to it; None if they always are."""
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
    """Applies a constraint of the user's to the live part of a variable.

    Args:
        constraint: the user's constraint; layer: the switched layer; variable: the layer's variable.
    """

    def __init__(self, constraint: Any, layer: Any, variable: Any) -> None:
        self.constraint = constraint
        self.layer = layer
        self.variable = variable

    def __call__(self, value: Any) -> Any:
        """The value with the constraint applied to its live part.

        Raises:
            ModelError: on JAX, where Keras takes the switches away while it trains.
        """
        try:
            mask = live_mask(self.layer, self.variable)
        except TypeError:
            raise ModelError(
                f"The constraint on {self.variable.path} cannot be told on the {keras.backend.backend()} backend which "
                "filters are disabled while Keras trains. Train without constraints, or on TensorFlow."
            ) from None
        if mask is None:
            return self.constraint(value)
        value = ops.convert_to_tensor(value)
        return ops.where(mask, self.constraint(ops.where(mask, value, ops.zeros((), value.dtype))), value)

    def get_config(self) -> dict[str, Any]:
        """The configuration of the user's constraint."""
        return dict(self.constraint.get_config())


class LiveActivity:
    """Applies an activity regularizer of the user's to the enabled channels of an output.

    Args:
        regularizer: the user's regularizer; layer: the switched layer.
    """

    def __init__(self, regularizer: Any, layer: Any) -> None:
        self.regularizer = regularizer
        self.layer = layer

    def __call__(self, output: Any) -> Any:
        """The penalty for the output, with its disabled channels set to 0."""
        axis = 1 if getattr(self.layer, "data_format", None) == "channels_first" else -1
        shape = [1] * len(output.shape)
        shape[axis] = -1
        enabled = ops.reshape(ops.logical_not(self.layer.switchboard.disabled.value), shape)
        return self.regularizer(ops.where(enabled, output, ops.zeros((), output.dtype)))


def watch(layer: Any) -> None:
    """Restricts the constraints and the activity regularizer of a switched layer to what is live."""
    for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
        if variable.constraint is not None and not isinstance(variable.constraint, LiveConstraint):
            variable.constraint = LiveConstraint(variable.constraint, layer, variable)
    if layer.activity_regularizer is not None and hasattr(layer.switchboard, "disabled"):
        vars(layer)["activity_regularizer"] = LiveActivity(layer.activity_regularizer, layer)
