"""Feed: what the user hands over as data, checked once, and the order in which training sees it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from shrinknet.errors import DataError
from shrinknet.internals import compile_config

Batch = tuple[Any, ...]


def order(seed: int, trial: int, epoch: int, samples: int) -> np.ndarray:
    """The order of the samples in one epoch: a pure function of its four arguments, the same on every machine."""
    key = np.array([seed % 2**64, (trial << 32) + epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(samples)


@dataclass(frozen=True)
class Arrays:
    """Data in memory: (x, y) or (x, y, sample_weight), each an array or a structure of arrays."""

    arrays: Batch
    batch_size: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(keras.tree.flatten(self.arrays)[0].shape[0])

    def take(self, rows: np.ndarray) -> Batch:
        """The samples of these rows."""
        return keras.tree.map_structure(lambda array: array[rows], self.arrays)

    def batches(self, seed: int, trial: int, steps: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(epoch, rows of one batch) for the batches `start` to `start + steps` of a trial; the last batch of an epoch
        may be smaller.
        """
        each = -(-self.samples // self.batch_size)
        for epoch in range(start // each, -(-(start + steps) // each)):
            rows = order(seed, trial, epoch, self.samples)
            for batch in range(max(0, start - epoch * each), min(each, start + steps - epoch * each)):
                yield epoch, rows[batch * self.batch_size : (batch + 1) * self.batch_size]


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
            for index in range(len(self.source)):
                yield as_batch(self.source[index], self.what)
            self.source.on_epoch_end()
        else:
            for batch in self.source:
                yield as_batch(batch, self.what)

    def peek(self) -> Batch:
        """The first batch; training still gets it.

        Raises:
            DataError: the source is empty.
        """
        if self._first is None:
            iterator = iter(self)
            self._first = next(iterator, None)
            if self._first is None:
                raise DataError(f"The {self.what} are empty: expected at least one batch.")
            if not self.repeatable:
                self._iterator = itertools.chain([self._first], iterator)
        return self._first

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
                if any(hasattr(part, "_seed") for part in _pipeline(self.source)):
                    next(iter(self.source), None)


Feed = Arrays | Stream
CALIBRATION_SAMPLES = 64


def calibration(feed: Feed, samples: int = CALIBRATION_SAMPLES) -> Arrays:
    """A few samples of the training data for what is measured without training: rows at equal distances of arrays,
    the first batch of a stream.
    """
    if isinstance(feed, Arrays):
        rows = np.linspace(0, feed.samples - 1, min(samples, feed.samples)).astype(int)
        return replace(feed, arrays=feed.take(rows))
    return Arrays(keras.tree.map_structure(np.asarray, first_batch(feed)), samples)


def why_not_repeatable(feed: Feed) -> str | None:
    """Why another process would not read the same batches in the same order; None: nothing speaks against it."""
    if isinstance(feed, Arrays):
        return None
    if not feed.repeatable:
        return f"the {feed.what} are a generator, whose place cannot be found again"
    for part in _pipeline(feed.source):
        seeds = [int(getattr(part, name, 1)) for name in ("_seed", "_seed2")]  # both 0: another order each time
        if not any(seeds):
            return f"the {feed.what} are shuffled without a seed: write shuffle(..., seed=1)"
    return None


def _pipeline(source: Any) -> Iterator[Any]:
    """A tf.data.Dataset and all that it is made from; nothing for any other source."""
    if hasattr(source, "_inputs") and hasattr(source, "element_spec"):
        yield source
        for part in source._inputs():
            yield from _pipeline(part)


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


def read_data(data: Any, batch_size: int, what: str) -> Feed:
    """The feed for what Keras's fit and evaluate take.

    Args:
        data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a keras.utils.PyDataset, or a generator.
        batch_size: samples a batch, for arrays.
        what: how messages call it: "training data", "validation data".

    Raises:
        DataError: nothing in it, lengths that differ, numbers that are not finite, or a structure that is no data.
    """
    if isinstance(data, Arrays | Stream):
        return data
    if isinstance(data, keras.utils.PyDataset) or not isinstance(data, Sequence):
        if data is None or isinstance(data, np.ndarray) or not hasattr(data, "__iter__"):
            as_batch(data, what)
        if hasattr(data, "__len__") and not hasattr(data, "element_spec") and len(data) == 0:
            raise DataError(f"The {what} are empty: expected at least one batch.")
        return Stream(data, what)
    arrays = keras.tree.map_structure(_array, as_batch(data, what))
    leaves = keras.tree.flatten(arrays)
    lengths = {len(array) if array.ndim else 0 for array in leaves}
    if lengths == {0}:
        raise DataError(f"The {what} are empty: expected at least one sample; received arrays of length 0.")
    if len(lengths) != 1:
        shapes = ", ".join(str(array.shape) for array in leaves)
        raise DataError(f"Expected {what} with the same number of samples in each array; received shapes {shapes}.")
    for array in leaves:
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise DataError(
                f"The {what} hold {count} numbers that are not finite, in an array of shape {array.shape}. They can "
                "hide behind a finite loss: remove or replace them, for example with numpy.nan_to_num."
            )
    return Arrays(arrays, batch_size)


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def first_batch(feed: Feed) -> Batch:
    """A batch to build the network with; of a stream it is not lost."""
    if isinstance(feed, Arrays):
        return feed.take(np.arange(min(feed.batch_size, feed.samples)))
    return feed.peek()


def check_inputs(net: Any, batch: Batch, what: str) -> None:
    """Refuses inputs that are text, or of another shape than the model takes.

    Raises:
        DataError: says which.
    """
    arrays = keras.tree.flatten(batch[0])
    if hasattr(batch[0], "keys") or len(arrays) != len(net.inputs):
        return  # by name, or as Keras will say
    for array, tensor in zip(arrays, net.inputs, strict=True):
        got, wanted = tuple(np.shape(array))[1:], tuple(tensor.shape)[1:]
        if np.asarray(array).dtype.kind in "OSU" and tensor.dtype != "string":
            raise DataError(f"Expected numbers in the {what}; received {np.asarray(array).dtype}.")
        if len(got) == len(wanted) and not _fits(got, wanted):
            raise DataError(f"Expected samples of shape {wanted} in the {what} (None: any size); received {got}.")


def _fits(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def check_targets(net: Any, batch: Batch) -> None:
    """Refuses targets that one of Keras's losses would broadcast against the output in silence, or cannot take.

    Raises:
        DataError: shapes differ by more than a trailing axis of 1; class numbers have another shape, or are none.
    """
    losses = compile_config(net).get("loss")
    if len(net.outputs) != 1 or keras.tree.is_nested(batch[1]) or not isinstance(losses, str | keras.losses.Loss):
        return
    name = losses if isinstance(losses, str) else type(losses).__name__
    if not (isinstance(losses, str) or type(losses).__module__.startswith("keras.")):
        return
    target, output = tuple(np.shape(batch[1]))[1:], tuple(net.outputs[0].shape)[1:]
    if "sparse" in name.lower():
        _check_classes(np.asarray(batch[1]), target, output, getattr(losses, "ignore_class", None))
    elif not (_fits(target, output) or _fits((*target, 1), output) or _fits(target, (*output, 1))):
        raise DataError(
            f"The targets have shape {target} a sample, the model's output {output}: the loss {name} would broadcast "
            "one against the other in silence. Give targets of the output's shape."
        )


def _check_classes(targets: np.ndarray, target: tuple[int, ...], output: tuple[Any, ...], ignored: int | None) -> None:
    if not (_fits(target, output[:-1]) or _fits(target, (*output[:-1], 1))):
        raise DataError(
            f"The targets have shape {target} a sample; the loss takes class numbers of shape {output[:-1]}. "
            "For one-hot targets compile with categorical_crossentropy."
        )
    wrong = targets[(targets < 0) | (targets >= (output[-1] or np.inf))]
    wrong = wrong[wrong != ignored] if ignored is not None else wrong
    if wrong.size:
        raise DataError(f"The targets hold the class {wrong.flat[0]}; the model's output knows 0 to {output[-1] - 1}.")
