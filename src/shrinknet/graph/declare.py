"""Declarations in one line for layers, operations and functions of the user's own that have a simple rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shrinknet.errors import ModelError
from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import ELEMENTWISE
from shrinknet.graph.rules.movement import movement as moved


def elementwise(*kinds: Any) -> None:
    """These treat each number by itself: layers, operations, and functions that are used as activations or in a Lambda.

    With several inputs, the channels that meet place by place stay or go together.

    Args:
        kinds: classes of layers or operations, or functions.

    Example:
        >>> elementwise(Swish, my_activation)                                    # doctest: +SKIP
    """
    for kind in kinds:
        if isinstance(kind, type):
            rule(kind, pointwise=True)(_each_number)
        else:
            ELEMENTWISE.add(_function(kind))


def per_channel(kind: type, *weights: str, axis: int = -1) -> None:
    """This layer treats each channel by itself, with a number of its own in each of these weights.

    Args:
        kind: class of the layer; its output has the channels of its input.
        weights: names of the attributes that hold the weights, each of shape (channels,).
        axis: of the channels in the input.

    Raises:
        ModelError: `kind` is not a class.

    Example:
        >>> per_channel(Scale, "gamma", "beta")                                  # doctest: +SKIP
    """
    if not isinstance(kind, type):
        raise ModelError(f"Expected the class of a layer; received {kind!r}.")

    def owns(call: Call) -> list[np.ndarray]:
        channels = call.channels(0, axis)
        for name in weights:
            call.owns(getattr(call.operation, name), 0, channels)
        return [call.labels[0]]

    rule(kind, pointwise=True)(owns)


def movement(*kinds: type) -> None:
    """These layers or operations move numbers to other places without changing them, as a shuffle of channels does.

    Example:
        >>> movement(ChannelShuffle)                                             # doctest: +SKIP
    """
    rule(*kinds, moves=True)(moved)


def _each_number(call: Call) -> list[np.ndarray]:
    return [call.tied()] if len(call.labels) > 1 else [call.labels[0]]


def _function(kind: Any) -> Callable[..., Any]:
    if not callable(kind):
        raise ModelError(f"Expected classes of layers or operations, or functions; received {kind!r}.")
    return kind
