"""What engines have in common: callbacks, the position in the data, and the check for finite weights."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from shrinknet.engine.callbacks import TrainingCallbacks, keras_callbacks
from shrinknet.engine.data import Arrays, Batch, Feed, Stream, first_batch, steps_of_an_epoch
from shrinknet.network.guarded import keep_frozen


@dataclass(frozen=True)
class Part:
    """Some batches of one epoch.

    Attributes:
        trial, epoch: they determine the order of the data.
        start: number of batches of the trial before these; steps: number of these.
        ahead: number of batches that the call of `train` still has to do, these included.
        told: hears of it; progress: called with the number of batches that are done.
    """

    trial: int
    epoch: int
    start: int
    steps: int
    told: TrainingCallbacks
    progress: Callable[[int], None]


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
        self._open: tuple[int, TrainingCallbacks] | None = None  # a training that has not ended: its trial, who hears

    def train(self, steps: int, trial: int, start: int = 0, total: int | None = None) -> int:
        """See `Engine`."""
        whole = total or start + steps
        if self._open is None or self._open[0] != trial or not start:
            self._open = (trial, self._begun(whole))
        told, done, ends = self._open[1], 0, start + steps >= whole
        for epoch, first, count, completes in self._parts(start, steps):
            told.begin_part(completes or (ends and first + count == start + steps))
            progress = functools.partial(self._progress, start + done, whole)
            done += self._train_part(Part(trial, epoch, first, count, told, progress))
            if self.stopped:
                break
        self.finalize()
        if ends or self.stopped:
            self.end_training()
        self.on_step(start + done, whole)
        return done

    def _begun(self, steps: int) -> TrainingCallbacks:
        """The callbacks of a training that begins and may take this number of steps."""
        each = steps_of_an_epoch(self.feed)
        told = TrainingCallbacks(
            self.net,
            self.callbacks,
            self._validate,
            verbose=0,
            epochs=max(1, -(-steps // each)),
            steps=min(each, steps),
        )
        self.net.stop_training = False
        told.begin_training()
        return told

    def _validate(self, told: TrainingCallbacks) -> dict[str, Any]:
        """Evaluates on the validation data, for callbacks that hear when it begins and ends."""
        told.on_test_begin()
        results = self.evaluate()
        told.on_test_end(results)
        return results

    def _progress(self, before: int, whole: int, done: int) -> None:
        self.on_step(before + done, whole)

    @property
    def stopped(self) -> bool:
        """See `Engine`."""
        return bool(self.net.stop_training)

    def end_training(self) -> bool:
        """See `Engine`."""
        if self._open is None:
            return False
        (_, told), self._open = self._open, None
        told.end_training()
        return bool(self.callbacks)

    def _parts(self, start: int, steps: int) -> Iterator[tuple[int, int, int, bool]]:
        """(epoch, first batch, number of batches, whether they complete the epoch), for `steps` batches from `start`.

        Without callbacks nobody needs to know where an epoch ends, unless its last batch is smaller.
        """
        each = steps_of_an_epoch(self.feed)
        even = isinstance(self.feed, Stream) or self.feed.samples % self.feed.batch_size == 0
        if steps and not self.callbacks and even:
            yield start // each, start, steps, False
            return
        for epoch in range(start // each, -(-(start + steps) // each) if steps else 0):
            first, last = max(start, epoch * each), min(start + steps, (epoch + 1) * each)
            yield epoch, first, last - first, last == (epoch + 1) * each

    def rows(self, part: Part) -> list[np.ndarray]:
        """The rows of each batch of a part; of arrays."""
        if not isinstance(self.feed, Arrays):
            return []
        return [rows for _, rows in self.feed.batches(self.seed, part.trial, part.steps, part.start)]

    @abstractmethod
    def _train_part(self, part: Part) -> int:
        """Trains on the batches of a part and tells its callbacks; returns the number of batches, fewer if stopped."""

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

    def evaluate_own(
        self, feed: Feed, step: Callable[[Batch], Mapping[str, Any]], told: TrainingCallbacks | None = None
    ) -> dict[str, Any]:
        """Evaluates a feed with the model's own `test_step`: returns its metrics, or the mean of its results.

        Args:
            step: runs the model's `test_step` on a batch; told: hears of each batch.
        """
        self.net.reset_metrics()
        logs: dict[str, Any] = {}
        samples = 0
        for number, batch in enumerate(batches_of(feed)):
            if told is not None:
                told.on_test_batch_begin(number)
            size = len(keras.tree.flatten(batch)[0])
            results = flat(step(batch))
            if told is not None:
                told.on_test_batch_end(number, results)
            for name, value in results.items():
                logs[name] = logs.get(name, 0.0) + size * np.asarray(ops.convert_to_numpy(value), "float64")
            samples += size
        metrics = flat(self.net.get_metrics_result())
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
    return {name: keras.tree.map_structure(_plain, value) for name, value in flat(results).items()}


def flat(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results of which those of a metric that gives a dictionary have its names, as in Keras's `evaluate`."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        found |= flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def _plain(value: Any) -> Any:
    array = np.asarray(ops.convert_to_numpy(value))
    return float(array.reshape(())) if array.size == 1 else array
