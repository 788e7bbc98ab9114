"""Feed: the user's data, read and checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from shrinknet.engine.arrays import Arrays, Batch, chunks, in_precision, is_mapped
from shrinknet.engine.streams import Stream, as_batch, is_endless, length, pipeline
from shrinknet.errors import DataError

__all__ = ["Arrays", "Batch", "Feed", "Stream", "as_batch", "calibration", "first_batch", "read_data",
           "steps_of_an_epoch", "why_not_repeatable"]  # fmt: skip

Feed = Arrays | Stream
CALIBRATION_SAMPLES = 64
STREAM_EPOCH = 300  # steps that count as an epoch where the data do not say how long one is


def calibration(feed: Feed, samples: int = CALIBRATION_SAMPLES) -> Arrays:
    """A few samples of the training data, for measurements without training.

    Of arrays they are evenly spaced rows, of a stream its first samples.
    """
    if isinstance(feed, Arrays):
        rows = np.linspace(0, feed.samples - 1, min(samples, feed.samples)).astype(int)
        return replace(feed, arrays=feed.take(rows))
    return Arrays(feed.few(samples), samples)


def steps_of_an_epoch(feed: Feed) -> int:
    """The number of batches in one pass over the data; `STREAM_EPOCH` where the data do not say, or never end."""
    if isinstance(feed, Arrays):
        return -(-feed.samples // feed.batch_size)
    return length(feed.source) or STREAM_EPOCH


def why_not_repeatable(feed: Feed) -> str | None:
    """Why another process may not read the same batches in the same order; None if it will."""
    if isinstance(feed, Arrays):
        return None
    if not feed.repeatable:
        return f"the {feed.what} are a generator, which cannot be rewound"
    for part in pipeline(feed.source):
        seeds = [int(getattr(part, name, 1)) for name in ("_seed", "_seed2")]  # both 0: a different order each time
        if not any(seeds):
            return f"the {feed.what} are shuffled without a seed: write shuffle(..., seed=1)"
    return None


def read_data(data: Any, batch_size: int, what: str, *, endless: bool = True, steps: int | None = None) -> Feed:
    """The feed for any data that Keras's `fit` and `evaluate` accept.

    Args:
        data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a keras.utils.PyDataset, or a generator.
            Arrays may be memory-mapped files or datasets in HDF5 files, which are read batch by batch.
        batch_size: samples per batch, for arrays.
        what: the name of the data in messages: "training data", "validation data".
        endless: whether endless data are allowed.
        steps: use only this many batches, each time from the beginning; None: all.

    Raises:
        DataError: the data are empty, shorter than `steps`, endless where that is not allowed, have lengths that differ
            or numbers that are not finite, or are not of a supported type.
    """
    if isinstance(data, Arrays | Stream):
        return data
    feed = _read(data, batch_size, what, endless or steps is not None)
    if steps is None:
        return feed
    known = steps_of_an_epoch(feed) if isinstance(feed, Arrays) else length(feed.source)
    if known is not None and known < steps:
        raise DataError(f"The {what} have {known} batches: expected at most that many steps of them; received {steps}.")
    if isinstance(feed, Arrays):
        return replace(feed, arrays=keras.tree.map_structure(lambda array: array[: steps * batch_size], feed.arrays))
    feed.limit = steps
    return feed


def _read(data: Any, batch_size: int, what: str, endless: bool) -> Feed:
    if isinstance(data, keras.utils.PyDataset) or not isinstance(data, Sequence):
        if data is None or isinstance(data, np.ndarray) or not hasattr(data, "__iter__"):
            as_batch(data, what)
        _refuse_endless(data, what, endless)
        if hasattr(data, "__len__") and not hasattr(data, "element_spec") and not is_endless(data) and len(data) == 0:
            raise DataError(f"The {what} are empty: expected at least one batch.")
        return Stream(data, what)
    batch = as_batch(data, what)
    _refuse_numbers(batch, what)
    arrays = keras.tree.map_structure(_array, batch)
    leaves = keras.tree.flatten(arrays)
    lengths = {int(array.shape[0]) if len(array.shape) else 0 for array in leaves}
    if lengths == {0}:
        raise DataError(f"The {what} are empty: expected at least one sample; received arrays of length 0.")
    if len(lengths) != 1:
        shapes = ", ".join(str(tuple(array.shape)) for array in leaves)
        raise DataError(f"Expected {what} with the same number of samples in each array; received shapes {shapes}.")
    for array in keras.tree.flatten((arrays[0], arrays[2:])):  # not the targets: a loss may accept NaN as a label
        check_finite(array, what)
    return Arrays(arrays, batch_size)


def _refuse_numbers(batch: Batch, what: str) -> None:
    """Refuses lists of numbers, which Keras takes for structures of that many inputs."""
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=False):
        leaves = keras.tree.flatten(part)
        if leaves and keras.tree.is_nested(part) and all(np.ndim(leaf) == 0 for leaf in leaves):
            raise DataError(
                f"Expected {name} of the {what} as an array; received a list of {len(leaves)} numbers, which Keras "
                f"takes for {len(leaves)} inputs. Write numpy.array({name})."
            )


def _refuse_endless(data: Any, what: str, endless: bool) -> None:
    if not endless and is_endless(data):
        raise DataError(
            f"The {what} never end, so no score over all of them can be computed. Say how many batches to use: "
            f"{what.split()[0]}_steps=."
        )


def check_finite(array: Any, what: str) -> None:
    """Refuses numbers that are not finite.

    Raises:
        DataError: there are such numbers; the message says how many.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    count = sum(int(chunk.size - np.isfinite(chunk).sum()) for chunk in chunks(array))
    if count:
        raise DataError(
            f"The {what} contain {count} numbers that are not finite, in an array of shape {tuple(array.shape)}. The "
            "loss may be finite in spite of them: remove or replace them, for example with numpy.nan_to_num."
        )


def _array(value: Any) -> Any:
    """The value as an array in the right precision; data in a file are not read into memory."""
    if is_mapped(value) or (hasattr(value, "file") and hasattr(value, "shape") and hasattr(value, "dtype")):
        return value
    return in_precision(np.asarray(value))


def first_batch(feed: Feed) -> Batch:
    """A batch to build the network with; a stream still gives it to training."""
    if isinstance(feed, Arrays):
        return feed.take(np.arange(min(feed.batch_size, feed.samples)))
    return feed.peek()
