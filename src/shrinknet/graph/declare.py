"""One-line declarations for the user's own layers, operations and functions whose rule is simple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from shrinknet.errors import ModelError
from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import ELEMENTWISE
from shrinknet.graph.rules.movement import movement as moved


def elementwise(*kinds: Any) -> None:
    """Declares layers, operations or functions that work element by element.

    Functions may be used as activations or in a Lambda. With several inputs, channels that are combined at the same
    position are cut together.

    Args:
        kinds: layer classes, operation classes, or functions.

    Raises:
        ModelError: one of them is neither a class nor a function.

    Example:
        >>> elementwise(Swish, my_activation)                                    # doctest: +SKIP
    """
    for kind in kinds:
        if isinstance(kind, type):
            rule(kind, pointwise=True)(_each_number)
        else:
            ELEMENTWISE.add(_function(kind))


def per_channel(kind: type, *weights: str, axis: int = -1) -> None:
    """Declares a layer that treats each channel by itself, with one entry per channel in each of these weights.

    Args:
        kind: class of the layer; its output has the same channels as its input.
        weights: names of the attributes that hold the weights, each of shape (channels,).
        axis: the channel axis of the input.

    Raises:
        ModelError: `kind` is not a class, or a name is not text.

    Example:
        >>> per_channel(Scale, "gamma", "beta")                                  # doctest: +SKIP
    """
    _require_class(kind)
    if any(not isinstance(name, str) for name in weights):
        raise ModelError(f"Expected the names of attributes that hold weights; received {weights!r}.")

    def owns(call: Call) -> list[np.ndarray]:
        channels = call.channels(0, axis)
        for name in weights:
            call.owns(_weight(call, name), 0, channels)
        return [call.labels[0]]

    rule(kind, pointwise=True)(owns)


def _weight(call: Call, name: str) -> Any:
    """The weight in an attribute of the layer; None if the layer has been told to do without it."""
    weight = getattr(call.operation, name, False)
    if weight is None or isinstance(weight, keras.Variable):
        return weight
    known = [key for key, value in vars(call.operation).items() if isinstance(value, keras.Variable)]
    raise ModelError(
        f"per_channel({call.kind}, {name!r}) was declared, and the layer {call.path} has no weight in an attribute of "
        f"this name. Name the attributes that hold its weights: {', '.join(known) or 'it has none'}."
    )


def movement(*kinds: type) -> None:
    """Declares layers or operations that only move numbers around, such as a channel shuffle.

    Example:
        >>> movement(ChannelShuffle)                                             # doctest: +SKIP
    """
    for kind in kinds:
        _require_class(kind)
    rule(*kinds, moves=True)(moved)


def _each_number(call: Call) -> list[np.ndarray]:
    return [call.tied()] if len(call.labels) > 1 else [call.labels[0]]


def _require_class(kind: Any) -> None:
    if not isinstance(kind, type):
        raise ModelError(f"Expected the class of a layer or operation; received {kind!r}.")


def _function(kind: Any) -> Callable[..., Any]:
    if not callable(kind):
        raise ModelError(f"Expected layer classes, operation classes or functions; received {kind!r}.")
    return kind
