"""Sampling: which output places of which samples a regression takes as its rows, as a function of a seed."""

from __future__ import annotations

import zlib

import numpy as np


def sampled(size: int, places: int, rows: int, *, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """About `rows` places, spread evenly over the samples and over each sample's places; all where there are fewer.

    Args:
        size: number of samples, from 1.
        places: output places of one sample, from 1.
        rows: how many rows are wanted, from 1.
        seed: integer from 0; name: of what is sampled, so that layers differ.

    Returns:
        The sample and the place of each row, int, shape (rows,), ascending by sample.
    """
    each, rest = divmod(min(rows, size * places), size)
    counts = np.full(size, each)
    raw = np.random.Philox(key=[seed, zlib.crc32(name.encode())])
    # Raw numbers, not Generator.choice: NumPy keeps only the raw stream the same from version to version.
    counts[np.argsort(raw.random_raw(size), kind="stable")[:rest]] += 1
    images = np.repeat(np.arange(size), counts)
    if each == places:
        return images, np.tile(np.arange(places), size)
    order = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, ... within each sample
    shares = (raw.random_raw(len(images)) >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    at = np.floor((order + shares) * places / counts[images]).astype(np.int64)
    return images, np.minimum(at, places - 1)
