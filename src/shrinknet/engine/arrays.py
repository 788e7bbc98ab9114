"""Arrays: data in memory, or in files that are read as needed, and the order in which training uses them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

Batch = tuple[Any, ...]
CHUNK = 64 * 2**20  # bytes that are checked at a time
PAGES = 2 * 2**20  # bytes of a mapped file that reading one row can bring into memory
SHARE = 4  # arrays larger than 1 / SHARE of the machine's memory are not copied as a whole


def order(seed: int, trial: int, epoch: int, samples: int) -> np.ndarray:
    """The order of the samples in one epoch: a pure function of its four arguments, the same on every machine."""
    key = np.array([seed % 2**64, (trial << 32) + epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(samples)


@dataclass(frozen=True)
class Arrays:
    """(x, y) or (x, y, sample_weight), each an array or a structure of arrays.

    They are NumPy arrays, memory-mapped files (`numpy.memmap`), or anything that can be indexed by rows and has a shape
    and a dtype, such as a dataset in an HDF5 file.
    """

    arrays: Batch
    batch_size: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(keras.tree.flatten(self.arrays)[0].shape[0])

    @cached_property
    def fits_in_memory(self) -> bool:
        """Whether the arrays are in memory and small enough to be copied to the device as a whole."""
        leaves = keras.tree.flatten(self.arrays)
        plain = all(type(leaf) is np.ndarray and not is_mapped(leaf) for leaf in leaves)
        return plain and sum(leaf.nbytes for leaf in leaves) <= memory() // SHARE

    def take(self, rows: np.ndarray) -> Batch:
        """The samples of these rows."""
        return keras.tree.map_structure(lambda array: take_rows(array, rows), self.arrays)

    def batches(self, seed: int, trial: int, steps: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(epoch, rows of one batch) for the batches `start` to `start + steps` of a trial.

        The last batch of an epoch may be smaller.
        """
        each = -(-self.samples // self.batch_size)
        for epoch in range(start // each, -(-(start + steps) // each)):
            rows = order(seed, trial, epoch, self.samples)
            for batch in range(max(0, start - epoch * each), min(each, start + steps - epoch * each)):
                yield epoch, rows[batch * self.batch_size : (batch + 1) * self.batch_size]


def take_rows(array: Any, rows: np.ndarray) -> np.ndarray:
    """The rows of an array, in this order; 64-bit floats are converted to Keras's precision."""
    if isinstance(array, np.ndarray) and not is_mapped(array):
        return in_precision(array[rows])
    if isinstance(array, np.ndarray):
        taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
        each = max(1, CHUNK // max(PAGES, array[:1].nbytes))
        for start in range(0, len(rows), each):
            taken[start : start + each] = array[rows[start : start + each]]
            _give_back(array)
        return in_precision(taken)
    places, back = np.unique(rows, return_inverse=True)  # HDF5 requires increasing indices without duplicates
    return in_precision(np.asarray(array[places])[back])


def in_precision(array: np.ndarray) -> np.ndarray:
    """The array, with 64-bit floats converted to Keras's precision (`floatx`)."""
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def is_mapped(array: Any) -> bool:
    """Whether a NumPy array is memory-mapped."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)


def chunks(array: Any) -> Iterator[np.ndarray]:
    """The rows of an array, in chunks; pages of a mapped file are released after each."""
    each = max(1, CHUNK // max(1, int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize))
    for start in range(0, array.shape[0], each):
        yield np.asarray(array[start : start + each])
        if is_mapped(array):
            _give_back(array)


def _give_back(array: Any) -> None:
    """Lets the operating system drop the pages of a mapped file from memory.

    Not of a file that is mapped as "copy-on-write": the changes to such an array are only in these pages.
    """
    shared = False
    while isinstance(array, np.ndarray):
        shared = shared or (isinstance(array, np.memmap) and getattr(array, "mode", "c") != "c")
        array = array.base
    if shared and isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def memory() -> int:
    """Bytes of memory of this machine; 8 GiB if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30
