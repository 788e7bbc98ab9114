"""Soundness: refuses to disable a filter if a regularizer or constraint would still take it into account.

Training the switched network must be the same as training the slim one. With few exceptions, Keras's regularizers and
constraints treat a slice of zeros as if it were absent; any others are tried on the network's weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.comparing import difference
from shrinknet.errors import FilterError
from shrinknet.graph import ChannelGraph
from shrinknet.layers import Switched
from shrinknet.layers.live import LiveActivity, LiveConstraint

_SAFE = (
    keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2, keras.constraints.MaxNorm,
    keras.constraints.MinMaxNorm, keras.constraints.NonNeg, keras.constraints.UnitNorm,
)  # fmt: skip


def refuse_unsound(graph: ChannelGraph, disabled: np.ndarray, changed: np.ndarray) -> None:
    """Refuses to disable channels that a regularizer or constraint would still take into account.

    Args:
        disabled: which channels would then be disabled, bool; changed: which of them are being disabled now.

    Raises:
        FilterError: names the regularizer or constraint.
    """
    for problem in (*_weights(graph, disabled, changed), *_activities(graph, changed)):
        raise FilterError(f"{problem} Training the switched network would not be the same as training the slim one.")


def _weights(graph: ChannelGraph, disabled: np.ndarray, changed: np.ndarray) -> Iterator[str]:
    for weight in graph.weights:
        variable = weight.variable
        if not changed[weight.channels].any():
            continue
        constraint = variable.constraint
        constraint = constraint.constraint if isinstance(constraint, LiveConstraint) else constraint
        for kind, rule in (("regularizer", variable.regularizer), ("constraint", constraint)):
            if rule is None or type(rule) in _SAFE:
                continue
            if not isinstance(weight.layer, Switched) or not _same(graph, variable, rule, disabled):
                name = getattr(rule, "__name__", type(rule).__name__)
                yield f"The {kind} {name} of {variable.path} counts slices of zeros, so its filters cannot be disabled."


def _same(graph: ChannelGraph, variable: Any, rule: Any, disabled: np.ndarray) -> bool:
    """Whether a rule has the same effect on a variable with zeros as on the variable without them."""
    value = np.asarray(ops.convert_to_numpy(variable), "float32")
    kept = graph.kept(variable, disabled)
    cut, mask = value, np.ones_like(value, bool)
    for axis, positions in kept.items():
        cut = np.take(cut, positions, axis)
        along = np.zeros(value.shape[axis], bool)
        along[positions] = True
        mask &= along.reshape([-1 if place == axis else 1 for place in range(value.ndim)])
    if not cut.size:
        return True
    whole, part = (np.asarray(ops.convert_to_numpy(rule(ops.convert_to_tensor(one)))) for one in (value * mask, cut))
    if whole.shape == value.shape:
        for axis, positions in kept.items():
            whole = np.take(whole, positions, axis)
    return whole.shape == part.shape and difference(part, whole) <= 1e-5


def _activities(graph: ChannelGraph, changed: np.ndarray) -> Iterator[str]:
    for call in graph.calls:
        regularizer = getattr(call.operation, "activity_regularizer", None)
        if regularizer is None:
            continue
        if isinstance(regularizer, LiveActivity):
            if type(regularizer.regularizer) in _SAFE:
                continue
            name = getattr(regularizer.regularizer, "__name__", type(regularizer.regularizer).__name__)
        else:
            name = getattr(regularizer, "__name__", type(regularizer).__name__)
        if any(changed[graph.solved[labels]].any() for labels, _ in call.given):
            yield f"The activity regularizer {name} of {call.path} counts the channel, so it cannot be disabled."
