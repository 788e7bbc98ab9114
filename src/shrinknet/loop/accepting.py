"""Accepting: refuses models, optimizers and callbacks that `minimize` cannot work with, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from shrinknet.engine.callbacks import SETS_RATE, rate_refused
from shrinknet.errors import ModelError, OptimizerError
from shrinknet.internals import compile_config, layers_of
from shrinknet.loop.options import Options
from shrinknet.network.soundness import adds_losses, measuring


def check_model(model: Any) -> None:
    """Refuses what is no compiled Keras model with a loss and finite weights."""
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a compiled Keras model; received {type(model).__name__}.")
    if not getattr(model, "built", False):
        raise ModelError(f"The model {model.name} is not built. Start it with keras.Input(shape), or call it once.")
    if not model.compiled or model.optimizer is None:
        raise ModelError(f"The model {model.name} is not compiled. Call model.compile(optimizer, loss, metrics) first.")
    kind: Any = type(model)
    inside = list(layers_of(model))
    own = any(not getattr(kind, name).__module__.startswith("keras.") for name in ("train_step", "compute_loss"))
    other = model.losses or any(one.activity_regularizer is not None or adds_losses(one.__class__) for one in inside)
    if compile_config(model).get("loss") is None and not own and not other:
        raise ModelError(
            f"The model {model.name} was compiled without a loss. Call model.compile(optimizer, loss, metrics)."
        )
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"The weights {variable.path} of model {model.name} are not all finite numbers. Repair them first."
            )


def refuse_measuring(optimizer: Any) -> None:
    """Refuses optimizers that would train the switched network otherwise than the slim one."""
    if (name := measuring(optimizer)) is not None:
        raise OptimizerError(
            f"The optimizer {name} measures whole kernels, in which disabled filters would count. Pass another one for "
            "the trials, as in trial_optimizer='adam', or compile the model with it."
        )


def refuse_rates(callbacks: Sequence[Any], options: Options) -> None:
    """Refuses callbacks that set a learning rate which a schedule sets."""
    falls = options.final.steps != 0 or (options.training.schedule == "cosine" and options.training.steps != 0)
    for callback in callbacks if falls else ():
        if isinstance(callback, SETS_RATE):
            raise rate_refused(f"The callback {type(callback).__name__}")
