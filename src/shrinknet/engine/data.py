"""Feed: what the user hands over as data, read and checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from shrinknet.engine.arrays import Arrays, Batch, chunks, in_precision, is_mapped
from shrinknet.engine.streams import Stream, as_batch, is_endless, pipeline
from shrinknet.errors import DataError

__all__ = ["Arrays", "Batch", "Feed", "Stream", "as_batch", "batches_of_an_epoch", "calibration", "first_batch",
           "read_data", "why_not_repeatable"]  # fmt: skip

Feed = Arrays | Stream
CALIBRATION_SAMPLES = 64


def calibration(feed: Feed, samples: int = CALIBRATION_SAMPLES) -> Arrays:
    """A few samples of the training data for what is measured without training: rows at equal distances of arrays,
    the beginning of a stream.
    """
    if isinstance(feed, Arrays):
        rows = np.linspace(0, feed.samples - 1, min(samples, feed.samples)).astype(int)
        return replace(feed, arrays=feed.take(rows))
    return Arrays(feed.few(samples), samples)


def batches_of_an_epoch(feed: Feed) -> int | None:
    """How many batches one pass over the data has; None where they do not say."""
    if isinstance(feed, Arrays):
        return -(-feed.samples // feed.batch_size)
    if isinstance(feed.source, keras.utils.PyDataset):
        return feed.source.num_batches
    return len(feed.source) if hasattr(feed.source, "__len__") and not is_endless(feed.source) else None


def why_not_repeatable(feed: Feed) -> str | None:
    """Why another process would not read the same batches in the same order; None: nothing speaks against it."""
    if isinstance(feed, Arrays):
        return None
    if not feed.repeatable:
        return f"the {feed.what} are a generator, whose place cannot be found again"
    for part in pipeline(feed.source):
        seeds = [int(getattr(part, name, 1)) for name in ("_seed", "_seed2")]  # both 0: another order each time
        if not any(seeds):
            return f"the {feed.what} are shuffled without a seed: write shuffle(..., seed=1)"
    return None


def read_data(data: Any, batch_size: int, what: str, *, endless: bool = True) -> Feed:
    """The feed for what Keras's fit and evaluate take.

    Args:
        data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a keras.utils.PyDataset, or a generator.
            Arrays may be memory-mapped files or datasets in HDF5 files: they are read batch by batch.
        batch_size: samples a batch, for arrays.
        what: how messages call it: "training data", "validation data".
        endless: whether data without an end will do.

    Raises:
        DataError: nothing in it, lengths that differ, numbers that are not finite, no end where one is needed, or a
            structure that is no data.
    """
    if isinstance(data, Arrays | Stream):
        return data
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
    for array in keras.tree.flatten((arrays[0], arrays[2:])):  # of targets, the loss says whether NaN is a label
        check_finite(array, what)
    return Arrays(arrays, batch_size)


def _refuse_numbers(batch: Batch, what: str) -> None:
    """Lists of numbers look like structures of as many inputs: what is meant is an array."""
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=False):
        leaves = keras.tree.flatten(part)
        if leaves and keras.tree.is_nested(part) and all(np.ndim(leaf) == 0 for leaf in leaves):
            raise DataError(
                f"Expected {name} of the {what} as an array; received a list of {len(leaves)} numbers, which Keras "
                f"takes for as many inputs. Write numpy.array({name})."
            )


def _refuse_endless(data: Any, what: str, endless: bool) -> None:
    if not endless and is_endless(data):
        raise DataError(
            f"The {what} never end, so that no score can be taken of all of them. Take a part: "
            "dataset.take(batches), or leave .repeat() out."
        )


def check_finite(array: Any, what: str) -> None:
    """Refuses numbers that are not finite.

    Raises:
        DataError: says how many there are.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    count = sum(int(chunk.size - np.isfinite(chunk).sum()) for chunk in chunks(array))
    if count:
        raise DataError(
            f"The {what} hold {count} numbers that are not finite, in an array of shape {tuple(array.shape)}. They can "
            "hide behind a finite loss: remove or replace them, for example with numpy.nan_to_num."
        )


def _array(value: Any) -> Any:
    """The value as an array in the right precision; what lies in a file stays there."""
    if is_mapped(value) or (hasattr(value, "file") and hasattr(value, "shape") and hasattr(value, "dtype")):
        return value
    return in_precision(np.asarray(value))


def first_batch(feed: Feed) -> Batch:
    """A batch to build the network with; of a stream it is not lost."""
    if isinstance(feed, Arrays):
        return feed.take(np.arange(min(feed.batch_size, feed.samples)))
    return feed.peek()
