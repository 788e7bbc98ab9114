"""FitEngine: trains with Keras's own `fit`, on every backend and with every callback."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from shrinknet.engine.callbacks import TrainingCallbacks
from shrinknet.engine.common import CommonEngine, Part, plain_results
from shrinknet.engine.data import Arrays, Batch, Feed, Stream
from shrinknet.errors import DataError


class _Batches(keras.utils.PyDataset):
    """Batches of arrays, given by a fixed list of rows."""

    def __init__(self, feed: Arrays, rows: list[np.ndarray]) -> None:
        super().__init__()
        self.feed = feed
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return self.feed.take(self.rows[index])


class FitEngine(CommonEngine):
    """See `Engine`; every training is one call of `fit` for each epoch."""

    name = "fit"

    def _train_part(self, part: Part) -> int:
        epochs = {"initial_epoch": part.epoch, "epochs": part.epoch + 1, "callbacks": part.told}
        with _not_finalized(self.net.optimizer):
            if isinstance(self.feed, Stream):
                self._fit_stream(self.feed, part.steps, epochs)
            else:
                self.net.fit(_Batches(self.feed, self.rows(part)), shuffle=False, verbose=0, **epochs)
        return part.told.batches

    def _fit_stream(self, feed: Stream, steps: int, epochs: dict[str, Any]) -> None:
        errors: list[DataError] = []  # raised inside `fit`, they would become errors of TensorFlow

        def batches() -> Iterator[Batch]:
            yield first
            for _ in range(steps - 1):
                try:
                    yield feed.next()
                except DataError as error:
                    errors.append(error)
                    return

        first = feed.next()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Your input ran out of data")
            self.net.fit(batches(), steps_per_epoch=steps, shuffle=False, verbose=0, **epochs)
        if errors:
            raise errors[0]

    def evaluate(self, feed: Feed | None = None) -> dict[str, Any]:
        """See `Engine`."""
        feed = self.validation if feed is None else feed
        return self.evaluate_own(feed, self._test_on) if self.has_own_test_step else self._evaluate(feed)

    def _validate(self, told: TrainingCallbacks) -> dict[str, Any]:
        """As in every engine; callbacks also hear of the batches."""
        if not self.has_own_test_step:
            return self._evaluate(self.validation, told)
        told.on_test_begin()
        results = self.evaluate_own(self.validation, self._test_on, told)
        told.on_test_end(results)
        return results

    def _evaluate(self, feed: Feed, told: TrainingCallbacks | None = None) -> dict[str, Any]:
        """Evaluates with Keras's `evaluate`, which calls the hooks for tests."""
        common = {"verbose": 0, "return_dict": True, "callbacks": told}
        if isinstance(feed, Arrays):
            size = feed.batch_size
            rows = [np.arange(start, min(start + size, feed.samples)) for start in range(0, feed.samples, size)]
            return plain_results(self.net.evaluate(_Batches(feed, rows), **common))
        feed.passes += 1
        return plain_results(self.net.evaluate(feed.source, steps=feed.limit, **common))

    def _test_on(self, batch: Batch) -> dict[str, Any]:
        return dict(self.net.test_on_batch(*batch, return_dict=True))


@contextlib.contextmanager
def _not_finalized(optimizer: Any) -> Iterator[None]:
    """Within the block, `fit` does not assign averaged weights when it ends, since the training continues."""
    optimizer.__dict__["finalize_variable_values"] = lambda variables: None
    try:
        yield
    finally:
        del optimizer.__dict__["finalize_variable_values"]
