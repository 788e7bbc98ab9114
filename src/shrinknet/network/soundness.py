"""Soundness: refuses to disable a filter if something would still take it into account in training.

Training the switched network must be the same as training the slim one. With few exceptions, Keras's regularizers and
constraints treat a slice of zeros as if it were absent; any others are tried on the network's weights. Losses that a
layer adds in its call count whatever reaches it, and a few optimizers measure whole kernels.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.comparing import difference
from shrinknet.errors import FilterError
from shrinknet.filters import Filter
from shrinknet.graph import ChannelGraph
from shrinknet.graph.channels import Weight
from shrinknet.internals import mentions
from shrinknet.layers import Switched
from shrinknet.layers.live import LiveActivity, LiveConstraint

_SAFE = (
    keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2, keras.constraints.MaxNorm,
    keras.constraints.MinMaxNorm, keras.constraints.NonNeg, keras.constraints.UnitNorm,
)  # fmt: skip


# Optimizers whose steps depend on norms, means or shapes of whole variables.
_MEASURING = (keras.optimizers.Lamb, keras.optimizers.Adafactor, keras.optimizers.Muon)


def refuse_unsound(graph: ChannelGraph, disabled: np.ndarray, changed: np.ndarray, optimizer: Any = None) -> None:
    """Refuses to disable channels that training would still take into account.

    Args:
        disabled: which channels would then be disabled, bool; changed: which of them are being disabled now.
        optimizer: of the network; None: it has none yet.

    Raises:
        FilterError: names the regularizer, constraint, layer or optimizer.
    """
    if (name := measuring(optimizer)) is not None:
        raise FilterError(
            f"The optimizer {name} measures whole kernels, in which disabled filters count: compile the network with "
            f"another one, such as Adam. {_OTHERWISE}"
        )
    for problem in _problems(graph, disabled, changed):
        raise FilterError(f"{problem} {_OTHERWISE}")


_OTHERWISE = "Training the switched network would not be the same as training the slim one."


def measuring(optimizer: Any) -> str | None:
    """The name of an optimizer whose steps depend on norms or means of whole variables; None for any other."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return next((kind.__name__ for kind in _MEASURING if isinstance(inner, kind)), None)


def unsound(graph: ChannelGraph) -> dict[Filter, str]:
    """Name of each group that `refuse_unsound` would refuse, with everything else enabled -> why."""
    none, every = np.zeros(graph.size, bool), np.ones(graph.size, bool)
    if not any(_doubtful(graph)) and next(_problems(graph, none, every), None) is None:
        return {}
    found = {}
    for channel, group in graph.cuttable.items():
        changed = none.copy()
        changed[channel] = True
        problem = next(_problems(graph, changed, changed), None)
        if problem is not None:
            found[group.name] = problem
    return found


def _problems(graph: ChannelGraph, disabled: np.ndarray, changed: np.ndarray) -> Iterator[str]:
    yield from _weights(graph, disabled, changed)
    yield from _activities(graph, changed)
    yield from _losses(graph, changed)


def _weights(graph: ChannelGraph, disabled: np.ndarray, changed: np.ndarray) -> Iterator[str]:
    for weight, kind, rule, masked in _doubtful(graph):
        if changed[weight.channels].any() and not (masked and _same(graph, weight.variable, rule, disabled)):
            name = getattr(rule, "__name__", type(rule).__name__)
            yield f"The {kind} {name} of {weight.variable.path} counts disabled channels, so they cannot be disabled."


def _doubtful(graph: ChannelGraph) -> Iterator[tuple[Weight, str, Any, bool]]:
    """Rules that may count disabled channels: the weight, "regularizer" or "constraint", the rule, and whether it sees
    zeros in their place.
    """
    for weight in graph.weights:
        variable, constraint = weight.variable, weight.variable.constraint
        live = isinstance(constraint, LiveConstraint)
        constraint = constraint.constraint if live else constraint
        for kind, rule, masked in (
            ("regularizer", variable.regularizer, isinstance(weight.layer, Switched)),
            ("constraint", constraint, live),
        ):
            safe = type(rule) in _SAFE and (kind == "regularizer" or live or not _across(rule, weight))
            if rule is not None and not safe:
                yield weight, kind, rule, masked


def _across(constraint: Any, weight: Weight) -> bool:
    """Whether a norm is taken over the channels of a weight."""
    rank = len(weight.variable.shape)
    axes = {axis % rank for axis in np.atleast_1d(getattr(constraint, "axis", ())).tolist()}
    return weight.axis % rank in axes


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


def _losses(graph: ChannelGraph, changed: np.ndarray) -> Iterator[str]:
    """Layers of the user's that add losses in their calls."""
    for call in graph.calls:
        kind: Any = type(call.operation)
        touched = (labels for labels, _ in (*call.taken, *call.given))
        if adds_losses(kind) and any(changed[graph.solved[labels]].any() for labels in touched):
            yield f"The layer {call.path} adds a loss, which counts the channel, so it cannot be disabled."


@functools.cache
def adds_losses(kind: Any) -> bool:
    """Whether a method of a class, or of its bases outside of Keras, calls `add_loss`."""
    own = [one for one in kind.__mro__ if not one.__module__.startswith(("keras.", "shrinknet.")) and one is not object]
    functions = (function for one in own for function in vars(one).values() if inspect.isfunction(function))
    return any(mentions(function, "add_loss") for function in functions)


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
