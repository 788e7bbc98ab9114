"""RunStore: the files of a run on disk; each is written whole or not at all, and checked when it is read.

A file is written beside its place, synced and renamed over it; the journal of trials is a sqlite3 database in WAL mode
with full sync. Every write, sync, rename, removal and commit goes through `Disk`, so that a test can count and
interrupt them. No file holds a path: a run folder can be moved.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import pathlib
import re
import secrets
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from shrinknet.errors import RunError, StorageError
from shrinknet.records import Trial, finite

_JOURNAL = "journal.db"
_MARK = b"sha256:"  # an array file ends in this and 64 hexadecimal digits, as the comment of the zip archive
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_UNUSABLE = {  # what sqlite says when the disk or the folder is at fault, not the file
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
}
_TABLES = (
    "CREATE TABLE IF NOT EXISTS trials (row INTEGER PRIMARY KEY, record TEXT NOT NULL, digest TEXT NOT NULL)",
    # The last row's number and digest again: rows that vanish from the end would leave a chain without a break.
    "CREATE TABLE IF NOT EXISTS head (id INTEGER PRIMARY KEY CHECK (id = 1), row INTEGER NOT NULL, digest TEXT)",
    "INSERT OR IGNORE INTO head VALUES (1, 0, '')",
)


class Disk:
    """Everything a run does to the disk, one method each: a test derives from it to count and to interrupt."""

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Hands all of `data` to the operating system."""
        file.write(data)
        file.flush()

    def sync(self, file: BinaryIO) -> None:
        """Returns once the file's content is on the disk."""
        os.fsync(file.fileno())

    def replace(self, source: pathlib.Path, target: pathlib.Path) -> None:
        """Puts `source` in the place of `target`, at once and whole."""
        os.replace(source, target)

    def sync_folder(self, folder: pathlib.Path) -> None:
        """Returns once the folder's names are on the disk; Windows has no such call and needs none."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: pathlib.Path) -> None:
        """Removes a file; one that is gone already is no error."""
        path.unlink(missing_ok=True)

    def commit(self, connection: sqlite3.Connection) -> None:
        """Makes the open transaction last; sqlite syncs before it returns."""
        connection.execute("COMMIT")


def write_file(path: pathlib.Path, data: bytes, disk: Disk | None = None) -> None:
    """Writes a file whole or not at all: after a kill at any point there is the old content or the new one.

    Raises:
        StorageError: the disk is full or fails, or the folder cannot be written to; the old content stands.
    """
    disk = disk or Disk()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(beside, "xb", buffering=0) as file:
                disk.write(file, data)
                disk.sync(file)
            disk.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                disk.remove(beside)
            raise
        disk.sync_folder(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error


class RunStore:
    """A run's folder: facts as JSON, arrays as npz, other files as bytes, and the journal of decided trials.

    Nothing is kept open between two calls, so the folder may be moved or copied whenever no call is under way, and
    a process that forks shares nothing with its child.

    Args:
        path: the run folder.
        create: make it, or go on with it where it is there.
        disk: what the writes go through; tests pass their own.

    Raises:
        RunError: there is no run at `path`, or it is a folder of something else.
        StorageError: the folder cannot be written to.

    Example:
        >>> store = RunStore("out/run", create=True)  # doctest: +SKIP
        >>> store.write_json("run", {"task": "edges"})  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = False, disk: Disk | None = None) -> None:
        self.path = pathlib.Path(path)
        self._disk = disk or Disk()
        if create:
            self._create()
        elif not any((self.path / name).is_file() for name in (_JOURNAL, "run.json")):
            found = "nothing" if not self.path.exists() else "a folder" if self.path.is_dir() else "a file"
            raise RunError(
                f"{self.path} is not a run folder: expected run.json and {_JOURNAL} in it, found {found} without "
                "them. Give the folder that --run or run_dir named."
            )

    # -- facts, arrays, bytes

    def write_json(self, name: str, facts: Mapping[str, Any]) -> None:
        """Writes `name`.json; floats that are not finite become null, and a checksum is added as its last line."""
        text = json.dumps(finite(facts))
        facts = json.loads(text)
        self._write(name, ".json", _pretty({**facts, "sha256": _digest_of_facts(facts)}))

    def read_json(self, name: str) -> dict[str, Any]:
        """The facts that `write_json` was given.

        Raises:
            RunError: there is no such file, or it is damaged or was edited.
        """
        path, data = self._read(name, ".json")
        try:
            facts = json.loads(data.decode())
            sound = isinstance(facts, dict) and facts.pop("sha256", None) == _digest_of_facts(facts)
        except (ValueError, RecursionError):
            sound = False
        if not sound:
            raise _damaged(path, "its content does not match its checksum")
        return dict(facts)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> str:
        """Writes `name`.npz, readable by `numpy.load` as well; returns the SHA-256 that is also in the file.

        Args:
            name: name of the file.
            arrays: any shapes; numbers, booleans or text, never Python objects.
        """
        data = _pack(arrays)
        self._write(name, ".npz", data)
        return data[-64:].decode()

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays that `write_arrays` was given, checked before anything in the file is believed.

        Raises:
            RunError: there is no such file, or it is damaged, or holds something else than plain arrays.
        """
        path, data = self._read(name, ".npz")
        if data[-64 - len(_MARK) : -64] != _MARK or hashlib.sha256(data[:-64]).hexdigest().encode() != data[-64:]:
            raise _damaged(path, "its content does not match its checksum")
        try:
            return _unpack(data)
        except (ValueError, LookupError, TypeError, EOFError, SyntaxError, RuntimeError, zipfile.BadZipFile) as error:
            raise _damaged(path, f"it holds something else than plain arrays ({error})") from error

    def write_bytes(self, name: str, data: bytes) -> str:
        """Writes the file `name`, whole or not at all; returns its SHA-256."""
        self._write(name, "", data)
        return hashlib.sha256(data).hexdigest()

    def read_bytes(self, name: str) -> bytes:
        """The file's content, as it is.

        Raises:
            RunError: there is no such file.
        """
        return self._read(name, "")[1]

    def has(self, name: str) -> bool:
        """Whether there is a file of this full name, `kernels.npz`."""
        return (self.path / _checked(name)).is_file()

    # -- the journal

    def append(self, trial: Trial) -> None:
        """Adds a decided trial to the journal; it is on the disk when this returns.

        Raises:
            RunError: the journal is damaged.
            StorageError: the disk is full or fails; the trials before stand.
        """
        record = json.dumps(trial.to_dict(), sort_keys=True)
        with self._journal("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            row, before = self._head(connection)
            digest = _digest_of_row(row + 1, before, record)
            connection.execute("INSERT INTO trials VALUES (?, ?, ?)", (row + 1, record, digest))
            connection.execute("UPDATE head SET row = ?, digest = ?", (row + 1, digest))
            self._disk.commit(connection)

    def trials(self) -> tuple[Trial, ...]:
        """Every decided trial, in the order they were appended; none where nothing was decided yet.

        Raises:
            RunError: the journal is damaged or was edited.
        """
        if not self.has(_JOURNAL):
            return ()
        # A folder that cannot be written to cannot hold sqlite's shared memory either, and nobody else writes there.
        with self._journal("rw" if os.access(self.path, os.W_OK) else "ro&immutable=1") as connection:
            connection.execute("BEGIN")
            rows = connection.execute("SELECT row, record, digest FROM trials ORDER BY row").fetchall()
            head = self._head(connection)
        before, trials = "", []
        for number, (row, record, digest) in enumerate(rows, start=1):
            if row != number or digest != _digest_of_row(number, before, record):
                raise _damaged(self.path / _JOURNAL, f"row {number} does not match its checksum")
            before = digest
            trials.append(_trial(record, self.path / _JOURNAL))
        if head != (len(rows), before):
            raise _damaged(self.path / _JOURNAL, f"it should end in row {head[0]}, not in row {len(rows)}")
        return tuple(trials)

    @contextlib.contextmanager
    def _journal(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection for one task, closed afterwards; sqlite's errors become sentences."""
        path = self.path / _JOURNAL
        try:
            with contextlib.closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=30, isolation_level=None, uri=True)
            ) as connection:
                if not mode.startswith("ro"):
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except (sqlite3.Error, UnicodeError) as error:  # a damaged page can break the text of the error itself
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            if code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _UNUSABLE:
                raise _damaged(path, str(error)) from error
            raise StorageError(
                f"The journal {path} could not be used: {error}. What was decided before is safe: make room, or see "
                "to it that the folder can be written to, and give the same command again."
            ) from error
        except OSError as error:
            raise _storage_error(path, error) from error

    def _head(self, connection: sqlite3.Connection) -> tuple[int, str]:
        """Number and digest of the last row as they were written beside it."""
        head = connection.execute("SELECT row, digest FROM head").fetchall()
        if len(head) != 1 or not isinstance(head[0][0], int) or not isinstance(head[0][1], str):
            raise _damaged(self.path / _JOURNAL, "the number of its last row is gone")
        return head[0][0], head[0][1]

    # -- the folder

    def _create(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file, expected a folder for a run. Choose another name.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = [entry.name for entry in os.scandir(self.path)]
        except OSError as error:
            raise _storage_error(self.path, error) from error
        others = [name for name in names if not _LEFTOVER.fullmatch(name) and not name.startswith(_JOURNAL)]
        if others and _JOURNAL not in names and "run.json" not in names:
            raise RunError(
                f"{self.path} holds other files ({min(others)} ...) and no run: expected a new, an empty or a run "
                "folder. Choose another name."
            )
        self._sweep(names)
        with self._journal("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _TABLES:
                connection.execute(statement)
            self._disk.commit(connection)

    def _sweep(self, names: list[str]) -> None:
        """Removes what killed processes left beside; the young ones may belong to a process that lives."""
        for name in filter(_LEFTOVER.fullmatch, names):
            with contextlib.suppress(OSError):
                if time.time() - (self.path / name).stat().st_mtime > 3600:
                    self._disk.remove(self.path / name)

    def _write(self, name: str, suffix: str, data: bytes) -> None:
        write_file(self.path / _checked(name, suffix), data, self._disk)

    def _read(self, name: str, suffix: str) -> tuple[pathlib.Path, bytes]:
        path = self.path / _checked(name, suffix)
        try:
            return path, path.read_bytes()
        except FileNotFoundError as error:
            raise RunError(f"The run {self.path} has no {path.name}: it was not written yet, or got lost.") from error
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _checked(name: str, suffix: str = "") -> str:
    """The name of a file in the folder itself, with its suffix."""
    if not _NAME.fullmatch(name):
        raise RunError(f"Expected a plain file name such as 'kernels'; received {name!r}.")
    return name if name.endswith(suffix) else name + suffix


def _damaged(path: pathlib.Path, reason: str) -> RunError:
    return RunError(f"{path} is damaged: {reason}. Put back a copy of the file, or start the run anew elsewhere.")


def _storage_error(path: pathlib.Path, error: OSError) -> RunError:
    kind = StorageError if error.errno in _FULL else RunError
    return kind(
        f"{path} could not be written: {error.strerror or error}. What was saved before is whole: make room, or see "
        "to it that the folder is there and can be written to, and give the same command again."
    )


def _pretty(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode()


def _digest_of_facts(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest_of_row(row: int, before: str, record: str) -> str:
    return hashlib.sha256(f"{row} {before} {record}".encode()).hexdigest()


def _trial(record: str, path: pathlib.Path) -> Trial:
    try:
        return Trial.from_dict(json.loads(record))
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} holds a trial that this version of shrinknet cannot read: {error}.") from error


def _pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an uncompressed npz whose zip comment is the SHA-256 of all that stands before it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        archive.comment = _MARK + bytes(64)
    data = buffer.getvalue()[:-64]
    return data + hashlib.sha256(data).hexdigest().encode()


def _unpack(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `_pack`; declared sizes are summed before anything is read: nothing outgrows the file."""
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
