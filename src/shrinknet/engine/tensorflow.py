"""TensorFlowEngine: runs the steps of a training in one compiled loop around the model's own `train_step`.

Arrays are copied to the device once, and batches are gathered inside the graph by an index tensor. A tf.data iterator
is read inside the loop. Anything else is fed batch by batch. Compared with `fit`, this avoids Keras's Python overhead
for each batch.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from shrinknet.engine.common import CommonEngine, Part, plain_results
from shrinknet.engine.data import Arrays, Feed, Stream
from shrinknet.network.checkpoint import Checkpoint

CHUNK_SECONDS = 0.5  # the compiled loop returns to Python about this often, for progress and Ctrl-C
XLA_PAYS = 1.3  # XLA is used if it is this much faster: near a tie, the choice must not depend on noise
XLA_TRIED_FROM = 10_000  # steps ahead; for fewer, compiling twice costs more than XLA can save
_LOG = logging.getLogger("shrinknet")


def is_distributed(net: Any) -> bool:
    """Whether the model was created under a distribution strategy with several replicas, which only `fit` supports."""
    return int(net.distribute_strategy.num_replicas_in_sync) > 1


class TensorFlowEngine(CommonEngine):
    """See `Engine`; gives the same results as `FitEngine`, but faster."""

    name = "compiled loop"

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.xla: bool | None = None
        self._device: dict[int, tuple[Feed, Any]] = {}
        self._loops: dict[Any, Any] = {}
        self._rate = 50.0  # steps per second; measured during training

    def _on_device(self, feed: Arrays) -> Any:
        """The arrays of a feed, copied to the device once."""
        if id(feed) not in self._device:
            self._device[id(feed)] = (feed, keras.tree.map_structure(tf.constant, feed.arrays))
        return self._device[id(feed)][1]

    def decide_xla(self, steps_ahead: int) -> bool:
        """Decides whether XLA compiles the steps, and logs why.

        It does if the model was compiled with `jit_compile`; otherwise a short measurement decides, once.
        """
        if self.net.jit_compile:
            self.xla = True
            _LOG.info("XLA on: the model was compiled with it")
        elif steps_ahead < XLA_TRIED_FROM or not isinstance(self.feed, Arrays):
            self.xla = False
            _LOG.info("XLA off: too few steps ahead for a measurement to pay off")
        else:
            plain, compiled = (self._seconds_a_step(xla) for xla in (False, True))
            self.xla = plain / compiled >= XLA_PAYS
            _LOG.info(
                "XLA %s: %.3g ms per step without, %.3g with", "on" if self.xla else "off", plain * 1e3, compiled * 1e3
            )
        return self.xla

    def _seconds_a_step(self, xla: bool) -> float:
        before, self.xla = Checkpoint.of(self.net), xla
        feed: Any = self.feed
        rows = tf.constant(np.arange(min(feed.batch_size, feed.samples))[None])
        best = float("inf")
        try:
            self._run(rows)
            for _ in range(8):
                start = time.perf_counter()
                self._run(tf.repeat(rows, 3, axis=0))
                best = min(best, (time.perf_counter() - start) / 3)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            _LOG.info("XLA cannot compile this model: %s", str(error).splitlines()[0])
        finally:
            before.restore()
        return best

    def _train_part(self, part: Part) -> int:
        self.net.reset_metrics()
        part.told.on_epoch_begin(part.epoch)
        if isinstance(self.feed, Stream):
            self._train_stream(self.feed, part)
        else:
            self._train_arrays(self.feed, part)
        part.told.batches = part.steps
        part.told.on_epoch_end(part.epoch, self._results())
        return part.steps

    def _train_arrays(self, feed: Arrays, part: Part) -> None:
        batches, done = self.rows(part), 0
        full = [rows for rows in batches if len(rows) == min(feed.batch_size, feed.samples)]
        while full:
            chunk = max(1, int(self._rate * CHUNK_SECONDS))
            self._timed(np.stack(full[:chunk]))
            done += len(full[:chunk])
            full = full[chunk:]
            part.progress(done)
        if batches and len(batches[-1]) < min(feed.batch_size, feed.samples):
            self._run(batches[-1][None])

    def _timed(self, rows: np.ndarray) -> None:
        known = ("train_step", id(self.feed), *self._key()) in self._loops
        start = time.perf_counter()
        self._run(rows)
        if known:
            self._rate = len(rows) / max(time.perf_counter() - start, 1e-6)

    def _key(self) -> Any:
        optimizer = self.net.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        return id(optimizer), type(inner), self.net._compile_config, self.xla

    def _run(self, rows: Any) -> None:
        """Trains on these batches; rows: int array, shape (batches, samples per batch)."""
        self._over(self.feed, "train_step", rows)

    def _over(self, feed: Any, step: str, rows: Any) -> None:
        """Runs a step on batches of arrays: inside the graph if they are on the device, otherwise batch by batch."""
        if feed.fits_in_memory:
            self._loop(step, feed)(tf.cast(rows, tf.int32))
            return
        for batch in np.asarray(rows):
            self._loop(step)(keras.tree.map_structure(tf.convert_to_tensor, feed.take(batch)))

    def _loop(self, step: str, feed: Feed | None = None) -> Any:
        """The compiled loop over a feed, or the compiled step, for the model's current compile settings."""
        key = (step, id(feed), *self._key())
        if key not in self._loops:
            # Without AutoGraph, as in Keras's own fit.
            function = tf.function(
                getattr(self.net, step), autograph=False, jit_compile=bool(self.xla), reduce_retracing=True
            )
            if isinstance(feed, Arrays):
                function = _over_rows(function, self._on_device(feed))
            elif feed is not None:
                function = _over_iterator(function)
            self._loops[key] = function
        return self._loops[key]

    def _train_stream(self, feed: Stream, part: Part) -> None:
        done = 0
        while done < part.steps:
            chunk = min(part.steps - done, max(1, int(self._rate * CHUNK_SECONDS)))
            start = time.perf_counter()
            taken = self._iterate(feed, chunk)
            self._rate = max(1.0, taken / max(time.perf_counter() - start, 1e-6))
            done += taken
            part.progress(done)

    def _iterate(self, feed: Stream, steps: int) -> int:
        """Trains on up to `steps` batches of a stream; returns their number."""
        if not isinstance(feed.source, tf.data.Dataset):
            step = self._loop("train_step")
            for _ in range(steps):
                step(keras.tree.map_structure(tf.convert_to_tensor, feed.next()))
            return steps
        iterator, from_start = feed.iterator()
        taken = int(self._loop("train_step", feed)(iterator, steps))
        feed.took(taken)
        if taken < steps:
            feed.end_pass(empty=from_start and not taken)
        return taken

    def evaluate(self, feed: Feed | None = None) -> dict[str, Any]:
        feed = self.validation if feed is None else feed
        if self.has_own_test_step:
            step = self._loop("test_step")
            return self.evaluate_own(feed, lambda batch: step(keras.tree.map_structure(tf.convert_to_tensor, batch)))
        self.net.reset_metrics()
        if isinstance(feed, Arrays):
            size = min(feed.batch_size, feed.samples)
            full = feed.samples // size * size
            self._over(feed, "test_step", np.arange(full).reshape(-1, size))
            if full < feed.samples:
                self._over(feed, "test_step", np.arange(full, feed.samples)[None])
        else:
            for batch in feed:
                self._loop("test_step")(keras.tree.map_structure(tf.convert_to_tensor, batch))
        return self._results()

    def _results(self) -> dict[str, Any]:
        return plain_results(self.net.get_metrics_result())

    def prepare(self, steps_ahead: int = 0, decided: Mapping[str, Any] | None = None) -> None:
        super().prepare()
        if decided is None:
            self.decide_xla(steps_ahead)
        else:
            self.xla = decided.get("xla")

    def decisions(self) -> dict[str, Any]:
        return {"xla": self.xla}


def _over_rows(step: Any, arrays: Any) -> Any:
    @tf.function(reduce_retracing=True)
    def loop(rows: Any) -> None:
        for index in tf.range(tf.shape(rows)[0]):
            step(_taken(arrays, rows[index]))

    def with_static_batch(rows: Any) -> None:
        traces.setdefault(rows.shape[1], loop.get_concrete_function(tf.TensorSpec((None, rows.shape[1]), tf.int32)))
        traces[rows.shape[1]](rows)

    traces: dict[int, Any] = {}
    return with_static_batch


@tf.autograph.experimental.do_not_convert
def _taken(arrays: Any, indices: Any) -> Any:
    return keras.tree.map_structure(functools.partial(tf.gather, indices=indices), arrays)


def _over_iterator(step: Any) -> Any:
    @tf.function(reduce_retracing=True)
    def loop(iterator: Any, steps: Any) -> Any:
        taken = 0
        for _ in tf.range(steps):
            batch = iterator.get_next_as_optional()
            if not batch.has_value():
                break
            step(batch.get_value())
            taken += 1
        return taken

    return lambda iterator, steps: loop(iterator, tf.constant(steps))
