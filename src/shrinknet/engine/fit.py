"""FitEngine: trains through Keras's own `fit`, on every backend and with every callback."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.engine.callbacks import keras_callbacks
from shrinknet.engine.data import Arrays, Batch, Feed, Stream, first_batch
from shrinknet.errors import DataError
from shrinknet.network.switches import keep_frozen


class _Batches(keras.utils.PyDataset):
    """A fixed list of rows to take from arrays, batch by batch."""

    def __init__(self, feed: Arrays, rows: list[np.ndarray]) -> None:
        super().__init__()
        self.feed = feed
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return self.feed.take(self.rows[index])


class _Callbacks(keras.callbacks.CallbackList):
    """Callbacks that hear of one training, although it takes several calls of `fit`."""

    def on_train_begin(self, logs: Any = None) -> None: ...

    def on_train_end(self, logs: Any = None) -> None: ...

    @contextlib.contextmanager
    def one_training(self) -> Iterator[None]:
        """The training that they hear of."""
        super().on_train_begin()
        yield
        super().on_train_end()


class FitEngine:
    """Trains and measures one network.

    Args:
        net: compiled; its loss, loss weights, metrics, optimizer, `train_step` and sample weights are honoured.
        seed: of the order of the data; callbacks: the user's; on_step: called with (step, steps) now and then.
    """

    name = "fit"

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
        self.xla: bool | None = None
        self.callbacks = keras_callbacks(callbacks)
        self.on_step = on_step or (lambda step, steps: None)

    def prepare(self, steps_ahead: int = 0, xla: bool | None = None) -> None:
        """Makes every variable exist that Keras would create in the first step; how to run the steps is decided here.

        Args:
            steps_ahead: how many training steps are to come, at least.
            xla: what was decided about XLA when the run began; None: it begins now.
        """
        batch = keras.tree.map_structure(ops.convert_to_tensor, first_batch(self.feed))
        self.net._symbolic_build(data_batch=batch)
        keep_frozen(self.net)

    def train(self, steps: int, trial: int, start: int = 0) -> None:
        """Trains for exactly `steps` batches, in an order that depends on the seed and the trial's number only.

        Args:
            trial: its number, 0 for the warm-up; start: how many batches of it were trained on before.

        Raises:
            DataError: a generator ran dry; the steps before were taken.
        """
        callbacks = _Callbacks(self.callbacks, add_history=True, model=self.net)
        with callbacks.one_training(), _not_finalized(self.net.optimizer):
            if isinstance(self.feed, Stream):
                self._fit_stream(self.feed, steps, callbacks)
            else:
                plan: dict[int, list[np.ndarray]] = {}
                for epoch, rows in self.feed.batches(self.seed, trial, steps, start):
                    plan.setdefault(epoch, []).append(rows)
                for epoch, batches in plan.items():
                    data = _Batches(self.feed, batches)
                    self.net.fit(
                        data, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0, callbacks=callbacks
                    )
                    if self.net.stop_training:
                        break
        self.finalize()
        self.on_step(steps, steps)

    def finalize(self) -> None:
        """What `fit` does at its end: an optimizer that averages weights writes the average."""
        self.net.optimizer.finalize_variable_values(self.net.trainable_weights)

    def _fit_stream(self, feed: Stream, steps: int, callbacks: Any) -> None:
        errors: list[DataError] = []  # raised through `fit`, it would come out as an error of TensorFlow's

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
            self.net.fit(batches(), steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
        if errors:
            raise errors[0]

    def evaluate(self, feed: Feed | None = None) -> dict[str, float]:
        """Loss and metrics by name, over all of `feed` (the validation data when None)."""
        feed = self.validation if feed is None else feed
        if isinstance(feed, Arrays):
            x, y, *weight = feed.arrays
            results = self.net.evaluate(
                x,
                y,
                sample_weight=weight[0] if weight else None,
                batch_size=feed.batch_size,
                verbose=0,
                return_dict=True,
            )
        else:
            feed.passes += 1
            results = self.net.evaluate(feed.source, verbose=0, return_dict=True)
        return {name: float(value) for name, value in results.items()}

    def position(self) -> dict[str, int]:
        """How far the streams are read: what another process needs to go on at the same batch."""
        position = {}
        if isinstance(self.feed, Stream):
            position["consumed"] = self.feed.consumed
        if isinstance(self.validation, Stream):
            position["validation_passes"] = self.validation.passes
        return position

    def go_to(self, position: Mapping[str, int]) -> None:
        """Reads the streams as far as they were read, without training on anything."""
        if isinstance(self.feed, Stream):
            while self.feed.consumed < position.get("consumed", 0):
                self._skip(self.feed)
        if isinstance(self.validation, Stream):
            self.validation.skip_passes(position.get("validation_passes", 0))

    def _skip(self, feed: Stream) -> None:
        """Takes one batch of the training data and throws it away."""
        feed.next()

    def is_finite(self) -> bool:
        """Whether every weight is a finite number; a finite loss does not say so."""
        floats = [variable for variable in self.net.weights if "float" in str(variable.dtype)]
        return all(bool(ops.convert_to_numpy(ops.all(ops.isfinite(variable)))) for variable in floats)


@contextlib.contextmanager
def _not_finalized(optimizer: Any) -> Iterator[None]:
    """While the block lasts, the end of `fit` does not write averaged weights: the training is not at its end."""
    optimizer.__dict__["finalize_variable_values"] = lambda variables: None
    try:
        yield
    finally:
        del optimizer.__dict__["finalize_variable_values"]
