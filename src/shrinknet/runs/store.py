"""RunStore: the files of a run; each is written completely or not at all, and verified when it is read.

A file is written under a temporary name, synced and renamed. No file contains a path, so a run folder can be moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
import re
import time
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from shrinknet.errors import RunError, StorageError
from shrinknet.files.disk import Disk, storage_error, write_file
from shrinknet.records import Trial, finite
from shrinknet.runs.journal import NAME as JOURNAL
from shrinknet.runs.journal import Journal, damaged

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Disk", "RunStore", "write_file"]

_MARK = b"sha256:"  # an array file ends with this and 64 hexadecimal digits, as the comment of the zip archive
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_LARGEST_JSON = 8 * 2**20  # bytes; parsed JSON can take twenty times its size, and ours has some thousand bytes


class RunStore:
    """A run folder: facts as JSON, arrays as npz, other files as bytes, and the journal of decided trials.

    No file stays open between calls, so the folder may be moved or copied at any time between them, and a process that
    forks shares nothing with its child.

    Args:
        path: the run folder.
        create: create it if it does not exist.
        disk: performs all writes; tests pass their own.

    Raises:
        RunError: there is no run at `path`, or the folder contains something else.
        StorageError: the folder cannot be written to.

    Example:
        >>> store = RunStore("out/run", create=True)  # doctest: +SKIP
        >>> store.write_json("run", {"task": "edges"})  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = False, disk: Disk | None = None) -> None:
        self.path = pathlib.Path(path)
        self.disk = disk or Disk()
        self.journal = Journal(self.path, self.disk)
        if create:
            self._create()
        elif not any(os.path.isfile(self.path / name) for name in (JOURNAL, "run.json")):
            isdir = os.path.isdir(self.path)  # unlike the methods of Path, these raise nothing
            found = "nothing" if not os.path.exists(self.path) else "a folder" if isdir else "a file"
            raise RunError(
                f"{self.path} is not a run folder: expected run.json and {JOURNAL} in it, found {found} without "
                "them. Pass the folder that was given as --run or run_dir."
            )

    # -- facts, arrays, bytes

    def write_json(self, name: str, facts: Mapping[str, Any]) -> None:
        """Writes `name`.json; floats that are not finite become null, and a checksum is added as the last entry."""
        text = json.dumps(finite(facts))
        facts = json.loads(text)
        self._write(name, ".json", _pretty({**facts, "sha256": _digest_of_facts(facts)}))

    def read_json(self, name: str) -> dict[str, Any]:
        """The facts that were passed to `write_json`.

        Raises:
            RunError: there is no such file, or it is damaged or was edited.
        """
        path, data = self._read(name, ".json", _LARGEST_JSON)
        try:
            facts = json.loads(data.decode())
            sound = isinstance(facts, dict) and facts.pop("sha256", None) == _digest_of_facts(facts)
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            raise damaged(path, "its content does not match its checksum")
        return dict(facts)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> str:
        """Writes `name`.npz, which `numpy.load` can read too; returns the SHA-256 that is also in the file.

        Args:
            name: name of the file.
            arrays: numbers, booleans or text of any shape, but no Python objects.
        """
        data = _pack(arrays)
        self._write(name, ".npz", data)
        return bytes(data[-64:]).decode()

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays that were passed to `write_arrays`; the file is verified before its content is used.

        Raises:
            RunError: there is no such file, or it is damaged, or contains something other than plain arrays.
        """
        path, data = self._read(name, ".npz")
        digest = hashlib.sha256(memoryview(data)[:-64]).hexdigest().encode()
        if data[-64 - len(_MARK) : -64] != _MARK or digest != data[-64:]:
            raise damaged(path, "its content does not match its checksum")
        try:
            return _unpack(data)
        except (ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, zipfile.BadZipFile) as error:
            raise damaged(path, f"it contains something other than plain arrays ({error})") from error

    def write_bytes(self, name: str, data: bytes) -> str:
        """Writes the file `name` completely or not at all; returns its SHA-256."""
        self._write(name, "", data)
        return hashlib.sha256(data).hexdigest()

    def read_bytes(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            RunError: there is no such file.
        """
        return self._read(name, "")[1]

    def digest(self, name: str) -> str:
        """The SHA-256 of a file's content."""
        return hashlib.sha256(self.read_bytes(name)).hexdigest()

    def has(self, name: str) -> bool:
        """Whether a file with this full name, such as `kernels.npz`, exists."""
        return (self.path / _checked(name)).is_file()

    # -- the journal

    def append(self, trial: Trial) -> None:
        """Adds a decided trial to the journal; see `Journal.append`."""
        self.journal.append(trial)

    def trials(self) -> tuple[Trial, ...]:
        """Every decided trial; see `Journal.trials`."""
        return self.journal.trials()

    # -- the folder

    def _create(self) -> None:
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise RunError(f"{self.path} is a file, expected a folder for a run. Choose another name.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = [entry.name for entry in os.scandir(self.path)]
        except OSError as error:
            raise storage_error(self.path, error) from error
        others = [name for name in names if not _LEFTOVER.fullmatch(name) and not name.startswith(JOURNAL)]
        if others and JOURNAL not in names and "run.json" not in names:
            raise RunError(
                f"{self.path} contains other files ({min(others)} ...) and no run: expected a new folder, an empty "
                "one, or a run folder. Choose another name."
            )
        self.sweep()
        try:
            self.journal.create()
        except StorageError:
            raise
        except RunError:  # damaged, which is reported when it is read
            pass

    def sweep(self, seconds: float = 3600) -> None:
        """Removes temporary files that killed processes left behind.

        Args:
            seconds: minimum age; younger files may belong to a running process. Use 0 when holding the lock.
        """
        for name in filter(_LEFTOVER.fullmatch, os.listdir(self.path)):
            with contextlib.suppress(OSError):
                if time.time() - (self.path / name).stat().st_mtime >= seconds:
                    self.disk.remove(self.path / name)

    def _write(self, name: str, suffix: str, data: Buffer) -> None:
        write_file(self.path / _checked(name, suffix), data, self.disk)

    def _read(self, name: str, suffix: str, largest: float = math.inf) -> tuple[pathlib.Path, bytes]:
        path = self.path / _checked(name, suffix)
        try:
            if path.stat().st_size > largest:
                raise damaged(path, f"it has {path.stat().st_size:,} bytes, expected at most {largest:,}")
            return path, path.read_bytes()
        except FileNotFoundError as error:
            raise RunError(f"The run {self.path} has no {path.name}: it was not written yet, or was lost.") from error
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _checked(name: str, suffix: str = "") -> str:
    """The name of a file directly in the folder, with its suffix."""
    if not _NAME.fullmatch(name):
        raise RunError(f"Expected a plain file name such as 'kernels'; received {name!r}.")
    return name if name.endswith(suffix) else name + suffix


def _pretty(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()


def _digest_of_facts(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _pack(arrays: Mapping[str, np.ndarray]) -> memoryview:
    """The arrays as an uncompressed npz whose zip comment is the SHA-256 of everything before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            array = np.asanyarray(array)
            large = array.nbytes > 2**31 - 2**16
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=large) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = _MARK + bytes(64)
    data = buffer.getbuffer()
    data[-64:] = hashlib.sha256(data[:-64]).hexdigest().encode()
    return data


def _unpack(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `_pack`; sums the declared sizes first, so that reading never takes more memory than the file."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > len(data):
            raise ValueError("members that are larger than the file")
        for member in members:
            arrays[member.filename.removesuffix(".npy")] = _array(archive.read(member))
    return arrays


def _array(member: bytes) -> np.ndarray:
    file = io.BytesIO(member)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(file)
    content = memoryview(member)[file.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array declared as {dtype} {shape}")
    if dtype.itemsize == 0 or not len(content):
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy()
