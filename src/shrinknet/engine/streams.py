"""Streams: data that come in batches, and how far they were read."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from shrinknet.engine.arrays import Batch
from shrinknet.errors import DataError


class Stream:
    """Data that come in batches: a tf.data.Dataset, a keras.utils.PyDataset, or a generator.

    Each training continues with the batch after the last one, so that trials do not repeat each other's batches.
    """

    def __init__(self, source: Any, what: str) -> None:
        self.source = source
        self.what = what
        self.repeatable = hasattr(source, "__len__") or not hasattr(source, "__next__")
        self.limit: int | None = None  # batches that a pass ends after, where the source does not end before
        self.consumed = 0  # batches read from the source for training
        self.passes = 0  # how often reading started from the beginning, even if only a part was read
        self._iterator: Iterator[Any] | None = None
        self._first: Batch | None = None
        self._rest: Iterator[Batch] | None = None  # what follows the first batch, until something asks for it

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the source, batch by batch."""
        self.passes += 1
        if isinstance(self.source, keras.utils.PyDataset):
            batches = _pass_over(self.source, self.what)
        else:
            batches = (as_batch(batch, self.what) for batch in self.source)
        with contextlib.closing(batches):  # with a limit, the source's threads end here
            yield from itertools.islice(batches, self.limit)

    def peek(self) -> Batch:
        """The first batch; training still gets it.

        Raises:
            DataError: the source is empty.
        """
        if self._first is None and isinstance(self.source, keras.utils.PyDataset) and self.source.num_batches != 0:
            self._first = as_batch(self.source[0], self.what)
        if self._first is None:
            iterator = iter(self)
            self._first = next(iterator, None)
            if self._first is None:
                raise DataError(f"The {self.what} are empty: expected at least one batch.")
            if self.repeatable:
                self._rest = iterator
            else:
                self._iterator = itertools.chain([self._first], iterator)
        return self._first

    def few(self, samples: int) -> Batch:
        """At most this many samples from the start of the source; training still gets them.

        Of a generator, which cannot be read twice, only the first batch is used. Batches are joined until one has
        another shape.
        """
        batches: list[Batch] = []
        for batch in self._beginning():
            batch = keras.tree.map_structure(np.asarray, batch)
            if batches and _shapes(batch) != _shapes(batches[0]):
                break
            batches.append(batch)
            if sum(len(keras.tree.flatten(one)[0]) for one in batches) >= samples:
                break
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:samples], *batches)

    def _beginning(self) -> Iterator[Batch]:
        if not self.repeatable:
            yield self.peek()
        elif isinstance(self.source, keras.utils.PyDataset):
            for batch in _in_threads(self.source, self.source.num_batches or 1):
                yield as_batch(batch, self.what)
        else:
            yield self.peek()
            rest, self._rest = self._rest, None  # another pass might shuffle anew, and change the order of training
            yield from rest if rest is not None else itertools.islice(self, 1, None)

    def next(self) -> Batch:
        """The next batch for training; starts over at the end.

        Raises:
            DataError: the source is empty, or a generator has ended.
        """
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self)
            try:
                batch = next(self._iterator)
            except StopIteration:
                if not self.repeatable:
                    break
                self._iterator = None
                continue
            self.consumed += 1
            return batch
        raise self.ended()

    def iterator(self) -> tuple[Any, bool]:
        """The iterator over a tf.data.Dataset, for a loop that reads it directly; and whether it is a new one."""
        fresh = self._iterator is None
        if fresh:
            self._iterator = iter(self.source)
            self.passes += 1
        return self._iterator, fresh

    def took(self, batches: int) -> None:
        """Records that this many batches were read from `iterator`."""
        self.consumed += batches

    def end_pass(self, empty: bool) -> None:
        """Records that the iterator has ended; the next one starts over.

        Raises:
            DataError: it was new and returned nothing (`empty`).
        """
        if empty:
            raise self.ended()
        self._iterator = None

    def skip_to(self, consumed: int) -> None:
        """Reads and discards batches until `consumed` is reached."""
        while self.consumed < consumed:
            if not hasattr(self.source, "element_spec"):
                self.next()
                continue
            iterator, fresh = self.iterator()
            if next(iterator, None) is None:
                self.end_pass(empty=fresh)
            else:
                self.took(1)

    def ended(self) -> DataError:
        """The error for a source that has no more batches, not even when it starts over."""
        if not self.consumed:
            return DataError(f"The {self.what} are empty: expected at least one batch.")
        return DataError(
            f"The generator of {self.what} ended after {self.consumed} batches. Expected one that never ends: wrap "
            "its body in `while True:`, or pass arrays, a tf.data.Dataset or a keras.utils.PyDataset."
        )

    def skip_passes(self, passes: int) -> None:
        """Brings the source into the state that it has after this many passes, since each may use another order."""
        for _ in range(passes - self.passes):
            if isinstance(self.source, keras.utils.PyDataset):
                for _ in self:  # completely: batches may draw from the same random generator as the order
                    pass
            else:
                self.passes += 1
                if any(hasattr(part, "_seed") for part in pipeline(self.source)):
                    next(iter(self.source), None)


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in keras.tree.flatten(batch)]


def _pass_over(source: Any, what: str) -> Generator[Batch, None, None]:
    """One epoch of a PyDataset, read as in `fit`: with its workers, and with its hooks at the start and end."""
    adapter = PyDatasetAdapter(source)
    adapter.on_epoch_begin()
    try:
        for number, batch in enumerate(adapter.get_numpy_iterator(), 1):
            yield as_batch(batch, what)
            if adapter.enqueuer and number == source.num_batches:
                adapter.enqueuer.stop(drain_queue_and_join=False)  # draining waits 0.1 s for batches that cannot come
                break
    finally:
        adapter.on_epoch_end()


def _in_threads(source: Any, batches: int) -> Iterator[Any]:
    """The first batches of a PyDataset, made by as many threads as it has workers."""
    if min(source.workers, batches) <= 1:
        yield from map(source.__getitem__, range(batches))
        return
    with ThreadPoolExecutor(source.workers) as threads:
        for start in range(0, batches, source.workers):
            yield from threads.map(source.__getitem__, range(start, min(start + source.workers, batches)))


def is_endless(source: Any) -> bool:
    """Whether a source declares that it never ends: `dataset.repeat()`, or a PyDataset without a length."""
    if isinstance(source, keras.utils.PyDataset):
        return source.num_batches is None
    if not hasattr(source, "cardinality"):
        return False
    return int(source.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY


def length(source: Any) -> int | None:
    """The number of batches in one pass over a source; None if it is unknown or infinite."""
    if isinstance(source, keras.utils.PyDataset):
        return None if source.num_batches is None else int(source.num_batches)
    if hasattr(source, "cardinality"):
        batches = int(source.cardinality())
        return batches if batches >= 0 else None  # -1: infinite, -2: unknown, as of Dataset.from_generator
    return len(source) if hasattr(source, "__len__") else None


def as_batch(item: Any, what: str) -> Batch:
    """(x, y) or (x, y, sample_weight).

    Raises:
        DataError: the item is something else.
    """
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) in (2, 3) and item[1] is not None:
        batch = tuple(item)
        return batch[:2] if len(batch) == 3 and batch[2] is None else batch
    raise DataError(
        f"Expected {what} as (x, y) or (x, y, sample_weight), arrays or batches of them; received {_describe(item)}. A "
        "model that computes its loss without targets takes any, such as np.zeros(len(x))."
    )


def _describe(item: Any) -> str:
    if isinstance(item, Sequence):
        without = len(item) > 1 and item[1] is None
        return f"a {type(item).__name__} of {len(item)}" + (" without targets" if without else "")
    return f"{type(item).__name__}" + (f" of shape {tuple(item.shape)}" if hasattr(item, "shape") else "")


def pipeline(source: Any) -> Iterator[Any]:
    """A tf.data.Dataset and all datasets that it is made from; nothing for any other source."""
    if hasattr(source, "_inputs") and hasattr(source, "element_spec"):
        yield source
        for part in source._inputs():
            yield from pipeline(part)
