"""The engine: trains so many steps, and measures; compiled loops on TensorFlow, Keras `fit` for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from shrinknet.engine.callbacks import needs_fit
from shrinknet.engine.data import Feed
from shrinknet.engine.fit import FitEngine

__all__ = ["FitEngine", "make_engine"]


def make_engine(
    net: Any,
    train: Feed,
    validation: Feed,
    seed: int,
    callbacks: Sequence[Any] = (),
    on_step: Callable[..., None] | None = None,
) -> FitEngine:
    """The fastest engine that honours what the user compiled and which callbacks they gave."""
    kind: type[FitEngine] = FitEngine
    if keras.backend.backend() == "tensorflow" and not net.run_eagerly and not any(map(needs_fit, callbacks)):
        from shrinknet.engine.tensorflow import TensorFlowEngine, is_distributed

        kind = FitEngine if is_distributed(net) else TensorFlowEngine
    return kind(net, train, validation, seed, callbacks, on_step)
