"""Reads IDX files, in which MNIST and its like come: a header of sizes, then the numbers."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from shrinknet.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path, max_bytes: int = 2**31) -> np.ndarray:
    """The array in an IDX file, gzipped if its name ends in .gz; in the byte order of this machine.

    Args:
        path: the file, for example `train-images-idx3-ubyte.gz`, whose array has the shape (images, height, width).
        max_bytes: largest array that is read; a small file can declare an enormous one.

    Raises:
        DataError: the file is missing or damaged, larger than `max_bytes`, or no IDX file.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
                raise DataError(
                    f"{str(path)!r} is no IDX file: expected two zero bytes, a type and a rank at its start."
                )
            kind, rank = np.dtype(_TYPES[head[2]]), head[3]
            sizes = file.read(4 * rank)
            if len(sizes) < 4 * rank:
                raise DataError(f"{str(path)!r} is no IDX file: its header ends before the last of {rank} sizes.")
            shape = tuple(np.frombuffer(sizes, ">u4").tolist())
            size = math.prod(shape) * kind.itemsize
            if size > max_bytes:
                raise DataError(
                    f"{str(path)!r} declares {size:,} bytes; expected at most {max_bytes:,}: raise max_bytes if the "
                    "array is meant to be so large."
                )
            content = file.read(size + 1)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}).") from error
    except EOFError as error:
        raise DataError(f"{str(path)!r} ends in the middle: load it anew.") from error
    if len(content) != size:
        raise DataError(
            f"{str(path)!r} declares an array of shape {shape}, {size:,} bytes; it holds {len(content):,} or more. "
            "Load it anew."
        )
    return np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="))
