"""IDX files, of which the tests make small ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from shrinknet.errors import DataError
from shrinknet.imaging.idx import read_idx

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def content(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    head = bytes([0, 0, CODES[kind], array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("packed", [True, False])
def test_an_array_comes_back(tmp_path: Path, kind: str, packed: bool) -> None:
    array = (np.random.default_rng(0).normal(size=(3, 2, 4)) * 50).astype(kind)
    path = tmp_path / ("a-idx3.gz" if packed else "a-idx3")
    path.write_bytes(gzip.compress(content(array)) if packed else content(array))
    found = read_idx(path)
    assert found.dtype == array.dtype and np.array_equal(found, array)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    good = content(np.arange(6, dtype="u1").reshape(2, 3))
    cases = {
        "no IDX file": [b"", b"\0\0", b"\1\0\x08\1\0\0\0\0", b"\0\0\x0a\1\0\0\0\0"],
        "declares an array of shape": [good[:-1], good + b"x"],
        "no IDX file: its header": [good[:7], good[:11]],
        "declares 4,294,967,295 bytes": [b"\0\0\x08\1\xff\xff\xff\xff"],
    }
    for message, broken in cases.items():
        for each in broken:
            (tmp_path / "a").write_bytes(each)
            with pytest.raises(DataError, match=message):
                read_idx(tmp_path / "a")
    packed = gzip.compress(good)
    for each, message in ((packed[:-9], "ends in the middle"), (b"nothing", "cannot be read")):
        (tmp_path / "a.gz").write_bytes(each)
        with pytest.raises(DataError, match=message):
            read_idx(tmp_path / "a.gz")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "missing")
