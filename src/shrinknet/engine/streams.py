"""Streams: data that come in batches, and how far they were read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from shrinknet.engine.arrays import Batch
from shrinknet.errors import DataError


class Stream:
    """Data that come in batches: a tf.data.Dataset, a keras.utils.PyDataset, or a generator.

    Batches are taken on from where the last training stopped, so that no trial repeats another's.
    """

    def __init__(self, source: Any, what: str) -> None:
        self.source = source
        self.what = what
        self.repeatable = hasattr(source, "__len__") or not hasattr(source, "__next__")
        self.consumed = 0  # batches taken from the source since the beginning
        self.passes = 0  # how often the source was read from its start, if only in part
        self._iterator: Iterator[Any] | None = None
        self._first: Batch | None = None

    def __iter__(self) -> Iterator[Batch]:
        """One pass over the source, batch by batch."""
        self.passes += 1
        if isinstance(self.source, keras.utils.PyDataset):
            yield from _pass_over(self.source, self.what)
        else:
            for batch in self.source:
                yield as_batch(batch, self.what)

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
            if not self.repeatable:
                self._iterator = itertools.chain([self._first], iterator)
        return self._first

    def few(self, samples: int) -> Batch:
        """About so many samples from the source's beginning; training still gets them. Of a generator, which cannot be
        read twice, it is the first batch; batches of another shape end it.
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
            for number in range(self.source.num_batches or 1):
                yield as_batch(self.source[number], self.what)
        else:
            yield from self

    def next(self) -> Batch:
        """The next batch for training; starts over at the end.

        Raises:
            DataError: the source is empty, or a generator ran dry.
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
        """The source's own iterator over a tf.data.Dataset, for a loop that reads it; and whether it is a new one."""
        fresh = self._iterator is None
        if fresh:
            self._iterator = iter(self.source)
            self.passes += 1
        return self._iterator, fresh

    def took(self, batches: int) -> None:
        """So many batches were read from `iterator`."""
        self.consumed += batches

    def end_pass(self, empty: bool) -> None:
        """The iterator is at its end; the next one starts over.

        Raises:
            DataError: it gave nothing although it was new (`empty`).
        """
        if empty:
            raise self.ended()
        self._iterator = None

    def skip_to(self, consumed: int) -> None:
        """Reads on until so many batches were taken, and throws them away."""
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
        """The error of a source that has no further batch, not even from its beginning."""
        if not self.consumed:
            return DataError(f"The {self.what} are empty: expected at least one batch.")
        return DataError(
            f"The generator of {self.what} ran dry after {self.consumed} batches. Expected one that never ends: "
            "wrap its body in `while True:`, or hand over arrays, a tf.data.Dataset or a keras.utils.PyDataset."
        )

    def skip_passes(self, passes: int) -> None:
        """Makes the source what it is after so many passes, where each pass may give another order."""
        for _ in range(passes - self.passes):
            if isinstance(self.source, keras.utils.PyDataset):
                for _ in self:  # whole: what it draws for a batch may come from the same random numbers
                    pass
            else:
                self.passes += 1
                if any(hasattr(part, "_seed") for part in pipeline(self.source)):
                    next(iter(self.source), None)


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in keras.tree.flatten(batch)]


def _pass_over(source: Any, what: str) -> Iterator[Batch]:
    """One epoch of a PyDataset as `fit` reads it: with its workers, and told when the epoch begins and ends."""
    adapter = PyDatasetAdapter(source)
    adapter.on_epoch_begin()
    try:
        for batch in adapter.get_numpy_iterator():
            yield as_batch(batch, what)
    finally:
        adapter.on_epoch_end()


def is_endless(source: Any) -> bool:
    """Whether a source says of itself that it never ends: `dataset.repeat()`, a PyDataset without a length."""
    if isinstance(source, keras.utils.PyDataset):
        return source.num_batches is None
    if not hasattr(source, "cardinality"):
        return False
    return int(source.cardinality()) == -1  # tf.data.INFINITE_CARDINALITY


def as_batch(item: Any, what: str) -> Batch:
    """(x, y) or (x, y, sample_weight).

    Raises:
        DataError: it is something else.
    """
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) in (2, 3):
        batch = tuple(item)
        return batch[:2] if len(batch) == 3 and batch[2] is None else batch
    raise DataError(
        f"Expected {what} as (x, y) or (x, y, sample_weight), arrays or batches of them; received {_describe(item)}."
    )


def _describe(item: Any) -> str:
    if isinstance(item, Sequence):
        return f"a {type(item).__name__} of {len(item)}"
    return f"{type(item).__name__}" + (f" of shape {tuple(item.shape)}" if hasattr(item, "shape") else "")


def pipeline(source: Any) -> Iterator[Any]:
    """A tf.data.Dataset and all that it is made from; nothing for any other source."""
    if hasattr(source, "_inputs") and hasattr(source, "element_spec"):
        yield source
        for part in source._inputs():
            yield from pipeline(part)
