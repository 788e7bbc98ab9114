"""Rates: the optimizers of the trials and of the final training, with a learning rate that falls to 0."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from shrinknet.loop.settings import Final, Training
from shrinknet.network.optimizers import fresh_copy, other_optimizer

PEAK = 3.0
"""The final training starts at this multiple of Keras's default rate: retraining wants a rate as large as training from
scratch does (arXiv:2105.03193, arXiv:2003.02389); docs/which-strategy.md has what it was chosen by."""


def trial_optimizer(training: Training, own: Any) -> tuple[Any, Any]:
    """The optimizer of the trials (None: the model's own, unchanged), and the one that networks are handed out with if
    the first has a schedule that would be of no use to the user (else None).

    Args:
        own: the optimizer that the model was compiled with.
    """
    given = None if training.optimizer is None else other_optimizer(training.optimizer, own)
    if training.schedule == "cosine" and training.reset and training.steps:
        other = falling(own, training.steps, usual=True) if given is None else falling(given, training.steps)
        return (given, None) if other is None else (other, given or own)
    return given, None


def final_optimizer(final: Final, training: Training, own: Any) -> Any:
    """The optimizer of the final training: a copy of the model's own that starts at `PEAK`, or one that was named."""
    spec, steps = training.optimizer if final.optimizer is None else final.optimizer, final.steps or 1
    if spec is None:
        return falling(own, steps, usual=True, least=PEAK * usual_rate(own)) or fresh_copy(own)
    given = other_optimizer(spec, own)
    return falling(given, steps) or given


def usual_rate(optimizer: Any) -> float:
    """Keras's default learning rate for the class of an optimizer; 0 if it has none."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for kind in type(inner).__mro__:
        rate = getattr(inspect.signature(kind).parameters.get("learning_rate"), "default", None)
        if isinstance(rate, float):
            return rate
    return 0.0


def falling(optimizer: Any, steps: int, *, usual: bool = False, least: float = 0.0) -> Any:
    """A copy of an optimizer whose rate falls from its present value to 0 along a cosine (arXiv:1608.03983).

    None if the optimizer has a schedule of its own.

    Args:
        usual: if it has a schedule, which earlier training has used up, start from Keras's default rate for its class
            instead.
        least: the lowest rate to start from.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(inner, "_learning_rate", None)
    if isinstance(rate, keras.Variable):
        start = max(least, float(ops.convert_to_numpy(rate.value)))
    elif usual and usual_rate(optimizer):
        start = max(least, usual_rate(optimizer))
    else:
        return None
    return fresh_copy(optimizer, keras.optimizers.schedules.CosineDecay(start, steps))
