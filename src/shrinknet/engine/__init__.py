"""The engine: trains for a number of steps and evaluates; compiled loops on TensorFlow, Keras's `fit` elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from shrinknet.engine.callbacks import needs_fit
from shrinknet.engine.data import Feed
from shrinknet.engine.fit import FitEngine
from shrinknet.engine.protocol import Engine

__all__ = ["Engine", "FitEngine", "make_engine"]


def _suits_tensorflow(net: Any, callbacks: Sequence[Any]) -> bool:
    if keras.backend.backend() != "tensorflow" or net.run_eagerly or any(map(needs_fit, callbacks)):
        return False
    from shrinknet.engine.tensorflow import is_distributed  # imports TensorFlow, which other backends do not need

    return not is_distributed(net)


def _make_tensorflow(*arguments: Any) -> Engine:
    from shrinknet.engine.tensorflow import TensorFlowEngine

    return TensorFlowEngine(*arguments)


# (whether the engine supports how the user compiled the network and their callbacks, how to make it). The first that
# is suitable is used. The fastest come first; the last is always suitable.
ENGINES: list[tuple[Callable[[Any, Sequence[Any]], bool], Callable[..., Engine]]] = [
    (_suits_tensorflow, _make_tensorflow),
    (lambda net, callbacks: True, FitEngine),
]


def make_engine(
    net: Any,
    train: Feed,
    validation: Feed,
    seed: int,
    callbacks: Sequence[Any] = (),
    on_step: Callable[..., None] | None = None,
) -> Engine:
    """The fastest engine that supports how the user compiled the network, and their callbacks."""
    make = next(make for suits, make in ENGINES if suits(net, callbacks))
    return make(net, train, validation, seed, callbacks, on_step)
