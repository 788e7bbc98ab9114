"""Callbacks: Keras's callbacks, which are called for epochs, and those with hooks for trials."""

from __future__ import annotations

from typing import Any

import keras

_BATCH_LEVEL = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def needs_fit(callback: Any) -> bool:
    """Whether a Keras callback has hooks for batches, which only `fit` calls.

    Hooks may be methods of its class or, as those of LambdaCallback, attributes of the object.
    """
    if not isinstance(callback, keras.callbacks.Callback):
        return False
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_freq == "epoch":
        return False  # its batch hook then does nothing
    kind = type(callback)
    own = any(getattr(kind, name) is not getattr(keras.callbacks.Callback, name) for name in _BATCH_LEVEL)
    return own or any(name in vars(callback) for name in _BATCH_LEVEL)


def keras_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks that are Keras callbacks."""
    return [callback for callback in callbacks if isinstance(callback, keras.callbacks.Callback)]


def tell_trial(callbacks: Any, event: str, trial: Any) -> None:
    """Calls `on_trial_begin` or `on_trial_end` of every callback that has it."""
    for callback in callbacks:
        hook = getattr(callback, event, None)
        if hook is not None:
            hook(trial)
