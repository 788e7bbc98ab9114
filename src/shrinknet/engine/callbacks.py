"""Callbacks: Keras's callbacks, which are called for epochs, and those with hooks for trials."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import OptionError

_TEST_BATCH = ("on_test_batch_begin", "on_test_batch_end")
_BATCH_LEVEL = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end", *_TEST_BATCH)
_TEST_LEVEL = ("on_test_begin", "on_test_end", *_TEST_BATCH)


SETS_RATE = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)


def rate_refused(who: str) -> OptionError:
    """The error for a callback that sets a learning rate which falls by a schedule."""
    return OptionError(
        f"{who} sets the learning rate, which falls along a schedule in the trials and in the final training. Leave it "
        "out; or leave the rate to it with schedule='constant' and final_steps=0."
    )


def needs_fit(callback: Any) -> bool:
    """Whether a Keras callback has hooks for batches, which only `fit` and `evaluate` call."""
    if not isinstance(callback, keras.callbacks.Callback):
        return False
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_freq == "epoch":
        return _has(callback, _BATCH_LEVEL, keras.callbacks.ModelCheckpoint)  # whose batch hook then does nothing
    return _has(callback, _BATCH_LEVEL)


def _has(callback: Any, hooks: Sequence[str], base: Any = keras.callbacks.Callback) -> bool:
    """Whether a callback has any of these hooks, other than those of a base class.

    Hooks may be methods of its class or, as those of LambdaCallback, attributes of the object.
    """
    kind = type(callback)
    return any(getattr(kind, name) is not getattr(base, name) or name in vars(callback) for name in hooks)


def needs_validation(callback: Any) -> bool:
    """Whether a Keras callback may look at `val_*` in the logs of an epoch, or at the validation itself.

    Of the callbacks that Keras ships it is known; one of the user's may if it has a hook for the end of an epoch, or
    one for tests.
    """
    if _has(callback, _TEST_LEVEL) and not isinstance(callback, keras.callbacks.SwapEMAWeights):
        return True
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        if not callback.save_best_only:
            return "{val_" in str(callback.filepath)
    elif isinstance(callback, _BLIND):
        return False
    if isinstance(callback, _MONITORING):
        return str(callback.monitor).startswith("val_")
    return _has(callback, ("on_epoch_end",))


_BLIND = (
    keras.callbacks.BackupAndRestore,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.SwapEMAWeights,
    keras.callbacks.TerminateOnNaN,
)
_MONITORING = (keras.callbacks.EarlyStopping, keras.callbacks.ModelCheckpoint, keras.callbacks.ReduceLROnPlateau)


class TrainingCallbacks(keras.callbacks.CallbackList):
    """The user's callbacks, which hear of one training as in `fit`, although it takes several parts.

    An epoch that the end of a part cuts in two begins once and ends once, with the metrics of all its batches.

    Args:
        net: what is trained; callbacks: the user's.
        validate: gives the results on the validation data, and calls the hooks for tests of the list that it is given;
            called at the end of an epoch where a callback needs them.
        params: what callbacks find in their `params`: epochs, steps, verbose.

    Attributes:
        ends_epoch: whether the batches to come end their epoch.
        batches: number of batches that `fit` has trained on since `begin_part`.
    """

    def __init__(
        self, net: Any, callbacks: Sequence[Any], validate: Callable[[Any], Mapping[str, Any]], **params: int
    ) -> None:
        super().__init__(list(callbacks), add_history=True, model=net, **params)
        self.ends_epoch = True
        self.batches = 0
        self._validate = validate if any(map(needs_validation, callbacks)) else None
        self._epoch: int | None = None  # that has begun and not ended
        self._batches_before = 0  # of this epoch, in earlier parts
        self._metrics: list[np.ndarray] = []  # values of the metrics' variables at the end of the last part
        self._logs: dict[str, Any] = {}  # of the last epoch

    def begin_training(self) -> None:
        """Tells that the training begins."""
        super().on_train_begin()

    def end_training(self) -> None:
        """Tells that the training has ended."""
        super().on_train_end(self._logs)

    def begin_part(self, ends_epoch: bool) -> None:
        """Some batches of one epoch are to come."""
        self.ends_epoch = ends_epoch
        self.batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by `fit` for each part: nothing."""

    def on_train_end(self, logs: Any = None) -> None:
        """Called by `fit` for each part: nothing."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins an epoch, or goes on with the one that a part has left open. Metrics were just reset."""
        if self._epoch == epoch:
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
            return
        self._epoch, self._batches_before = epoch, 0
        with _rate_kept():
            super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Numbers batches within the epoch, not within the part."""
        super().on_train_batch_begin(self._batches_before + batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """As `on_train_batch_begin`."""
        self.batches = batch + 1
        with _rate_kept():
            super().on_train_batch_end(self._batches_before + batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends an epoch, or leaves it open for the next part."""
        if not (self.ends_epoch or self.model.stop_training):
            self._batches_before += self.batches
            self._metrics = [ops.convert_to_numpy(variable).copy() for variable in self.model.metrics_variables]
            return
        self._epoch = None
        self._logs = dict(logs or {})
        if self._validate is not None:
            self._logs |= {f"val_{name}": value for name, value in self._validate(self).items()}
        with _rate_kept():
            super().on_epoch_end(epoch, self._logs)


@contextlib.contextmanager
def _rate_kept() -> Iterator[None]:
    """Turns Keras's refusal to set a learning rate that a schedule sets into an error of ours.

    Raises:
        OptionError: says what to do.
    """
    try:
        yield
    except TypeError as error:
        if "LearningRateSchedule" not in str(error):
            raise
        raise rate_refused("A callback") from error


def keras_callbacks(callbacks: Any) -> list[Any]:
    """The callbacks that are Keras callbacks."""
    return [callback for callback in callbacks if isinstance(callback, keras.callbacks.Callback)]


def tell_trial(callbacks: Any, event: str, trial: Any) -> None:
    """Calls `on_trial_begin` or `on_trial_end` of every callback that has it."""
    for callback in callbacks:
        hook = getattr(callback, event, None)
        if hook is not None:
            hook(trial)
