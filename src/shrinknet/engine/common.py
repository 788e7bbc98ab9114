"""What engines have in common: callbacks, the position in the data, and the check for finite weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from shrinknet.engine.callbacks import keras_callbacks
from shrinknet.engine.data import Batch, Feed, Stream, first_batch
from shrinknet.network.guarded import keep_frozen


class CommonEngine(ABC):
    """See `Engine`.

    Args:
        net: a compiled network; train, validation: the data that it is trained and evaluated on.
        seed: determines the order of the data.
        callbacks: the user's callbacks; on_step: called with (step, steps) from time to time.
    """

    name: ClassVar[str]

    def __init__(
        self,
        net: Any,
        train: Feed,
        validation: Feed,
        seed: int,
        callbacks: Sequence[Any] = (),
        on_step: Callable[..., None] | None = None,
    ) -> None:
        self.net = net
        self.feed = train
        self.validation = validation
        self.seed = seed
        self.callbacks = keras_callbacks(callbacks)
        self.on_step = on_step or (lambda step, steps: None)

    @abstractmethod
    def train(self, steps: int, trial: int, start: int = 0) -> None:
        """See `Engine`."""

    @abstractmethod
    def evaluate(self, feed: Feed | None = None) -> dict[str, Any]:
        """See `Engine`."""

    def prepare(self, steps_ahead: int = 0, decided: Mapping[str, Any] | None = None) -> None:
        """See `Engine`; there is nothing to decide here."""
        batch = keras.tree.map_structure(ops.convert_to_tensor, first_batch(self.feed))
        self.net._symbolic_build(data_batch=batch)
        keep_frozen(self.net)

    def decisions(self) -> dict[str, Any]:
        """See `Engine`."""
        return {}

    def finalize(self) -> None:
        """What `fit` does at the end: an optimizer that averages weights assigns the average to them."""
        self.net.optimizer.finalize_variable_values(self.net.trainable_weights)

    def position(self) -> dict[str, int]:
        """See `Engine`."""
        position = {}
        if isinstance(self.feed, Stream):
            position["consumed"] = self.feed.consumed
        if isinstance(self.validation, Stream):
            position["validation_passes"] = self.validation.passes
        return position

    def go_to(self, position: Mapping[str, int]) -> None:
        """See `Engine`."""
        if isinstance(self.feed, Stream):
            self.feed.skip_to(position.get("consumed", 0))
        if isinstance(self.validation, Stream):
            self.validation.skip_passes(position.get("validation_passes", 0))

    @property
    def has_own_test_step(self) -> bool:
        """Whether the model's class overrides `test_step`, whose results may not be metrics."""
        return type(self.net).test_step is not keras.Model.test_step

    def evaluate_own(self, feed: Feed, step: Callable[[Batch], Mapping[str, Any]]) -> dict[str, Any]:
        """Evaluates a feed with the model's own `test_step`: returns its metrics, or the mean of its results.

        Args:
            step: runs the model's `test_step` on a batch.
        """
        self.net.reset_metrics()
        logs: dict[str, Any] = {}
        samples = 0
        for batch in batches_of(feed):
            size = len(keras.tree.flatten(batch)[0])
            for name, value in step(batch).items():
                logs[name] = logs.get(name, 0.0) + size * np.asarray(ops.convert_to_numpy(value), "float64")
            samples += size
        metrics = self.net.get_metrics_result()
        if set(metrics) == set(logs):
            return plain_results(metrics)
        return plain_results({name: value / samples for name, value in logs.items()})

    def is_finite(self) -> bool:
        """See `Engine`."""
        floats = [variable for variable in self.net.weights if "float" in str(variable.dtype)]
        return all(bool(ops.convert_to_numpy(ops.all(ops.isfinite(variable)))) for variable in floats)


def batches_of(feed: Feed) -> Iterator[Batch]:
    """All batches of a feed, once, in order."""
    if isinstance(feed, Stream):
        yield from feed
        return
    for start in range(0, feed.samples, feed.batch_size):
        yield feed.take(np.arange(start, min(start + feed.batch_size, feed.samples)))


def plain_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as floats; those with several numbers, such as F1Score per class, as arrays or structures."""
    return {name: keras.tree.map_structure(_plain, value) for name, value in results.items()}


def _plain(value: Any) -> Any:
    array = np.asarray(ops.convert_to_numpy(value))
    return float(array.reshape(())) if array.size == 1 else array
