"""Inspection: what a model or array file declares, checked before anything in it is trusted or allocated.

A small file can declare gigabytes: in a zip archive, in an HDF5 dataset that was never written, in a layer's width.
HDF5 can also point into other files. Legitimate files need none of this: Keras and NumPy write plain, uncompressed
members.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from shrinknet.errors import DataError, ModelError

WEIGHTS = "model.weights.h5"
_SETTINGS = ("config.json", "metadata.json")
_ROOM = 16 * 2**20  # bytes that a file may declare beyond its own size: headers, masks, compressed parts
_LARGEST_SETTINGS = 8 * 2**20  # bytes; parsed text takes about ten times its size


@contextlib.contextmanager
def inspected(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inspects a `.keras` or `.h5` file; within the block, a network that needs more weights than the file has fails.

    Raises:
        ModelError: the file writes outside its folder, points elsewhere, or declares more than it contains.
    """
    path = Path(path)
    try:
        declared = _in_archive(path) if path.suffix == ".keras" else _in_hdf5(path.open("rb"), path.stat().st_size)
    except ModelError as error:
        raise ModelError(f"The file {path} {error} Keras does not save such files; it was not opened.") from None
    except Exception as error:  # on damaged files the readers raise almost anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelError(f"The file {path} cannot be opened as a Keras model; it may be damaged ({error}).") from error
    with _variables_within(4 * declared + _ROOM, path):  # loading may build an optimizer that was not saved
        yield


def check_npz(path: str | os.PathLike[str]) -> None:
    """Refuses a `.npz` file whose arrays are more than twenty times as large as the file.

    Raises:
        DataError: they are, or the file is not a zip archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, 20 * Path(path).stat().st_size)  # legitimate arrays may compress well
    except (ModelError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"The file {os.fspath(path)} {error} Save it with numpy.savez, uncompressed.") from error


def _in_archive(path: Path) -> int:
    """The bytes of weights that a `.keras` file declares."""
    with zipfile.ZipFile(path) as archive:
        _check_members(archive, path.stat().st_size)
        for name in _SETTINGS:
            if name in archive.namelist() and archive.getinfo(name).file_size > _LARGEST_SETTINGS:
                raise ModelError(f"contains a {name} of more than {_LARGEST_SETTINGS:,} bytes.")
        if WEIGHTS not in archive.namelist():
            raise ModelError(f"contains no {WEIGHTS}.")
        content = archive.read(WEIGHTS)
        return _in_hdf5(io.BytesIO(content), len(content))


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0] or stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"contains {member.filename[:200]!r}, which would be written outside its folder.")
    if len(set(names)) != len(names):
        raise ModelError("contains two members with the same name.")
    declared = sum(member.file_size for member in members)
    if declared > size + _ROOM:
        raise ModelError(f"would unpack to {declared:,} bytes, expected at most {size + _ROOM:,}.")


def _in_hdf5(file: BinaryIO, size: int) -> int:
    """The bytes of all datasets of an HDF5 file, after checking that none is outside the file or larger than it."""
    import h5py

    declared, seen = 0, set()
    with file, h5py.File(file, "r") as content:
        groups: list[Any] = [content]
        while groups:
            group = groups.pop()
            _check_attributes(group)
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ModelError(f"contains {name[:200]!r}, which points to another place or file.")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:  # a group that contains itself would never end
                    raise ModelError(f"contains {name[:200]!r} in two places.")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                elif isinstance(item, h5py.Dataset):
                    declared += _of_dataset(item, name)
                    if declared > size + _ROOM:
                        raise ModelError(f"has {size:,} bytes but declares weights of at least {declared:,}.")
    return declared


def _of_dataset(dataset: Any, name: str) -> int:
    if dataset.external or dataset.is_virtual:
        raise ModelError(f"contains {name[:200]!r}, whose data are in another file.")
    _check_attributes(dataset)
    return math.prod(dataset.shape or ()) * dataset.dtype.itemsize


def _check_attributes(item: Any) -> None:
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        if math.prod(attribute.shape or ()) * attribute.dtype.itemsize > _LARGEST_SETTINGS:
            raise ModelError(f"contains the attribute {name[:200]!r} of more than {_LARGEST_SETTINGS:,} bytes.")


@contextlib.contextmanager
def _variables_within(limit: int, path: Path) -> Iterator[None]:
    """Refuses the variable with which a network exceeds `limit` bytes, before it is allocated.

    Keras wraps whatever is raised while it reads a file in its own errors, so our error is raised again at the end.
    """
    import keras

    initialize, made, refused = keras.Variable.__init__, [0], list[ModelError]()

    def counted(self: Any, initializer: Any, shape: Any = None, *arguments: Any, **keywords: Any) -> None:
        made[0] += 4 * math.prod(shape if shape is not None else getattr(initializer, "shape", ()))
        if made[0] > limit:
            refused.append(
                ModelError(
                    f"The file {path} describes a network whose weights take at least {made[0]:,} bytes, but the file "
                    f"allows for at most {limit:,}. It was not opened."
                )
            )
            raise refused[0]
        initialize(self, initializer, shape, *arguments, **keywords)

    keras.Variable.__init__ = counted
    try:
        yield
    except Exception:
        if refused:
            raise refused[0] from None
        raise
    finally:
        keras.Variable.__init__ = initialize
