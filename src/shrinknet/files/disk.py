"""Disk: every disk operation of a run, one method for each kind; and files written completely or not at all.

Every write, sync, rename, removal and commit goes through `Disk`, so that a test can count and interrupt them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from shrinknet.errors import RunError, StorageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class Disk:
    """Every disk operation of a run, one method each, so that a test can subclass it to count and interrupt them."""

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Writes all of `data` to the operating system, which may accept only a part at a time."""
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        file.flush()

    def sync(self, file: BinaryIO) -> None:
        """Returns once the file's content is on the disk."""
        os.fsync(file.fileno())

    def replace(self, source: pathlib.Path, target: pathlib.Path) -> None:
        """Replaces `target` by `source` atomically."""
        os.replace(source, target)

    def sync_folder(self, folder: pathlib.Path) -> None:
        """Returns once the folder's entries are on the disk; Windows has no such call and does not need it."""
        if os.name == "nt":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: pathlib.Path) -> None:
        """Removes a file; it is no error if the file does not exist."""
        path.unlink(missing_ok=True)

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commits the open transaction; SQLite syncs before it returns."""
        connection.execute("COMMIT")


def write_file(path: pathlib.Path, data: Buffer, disk: Disk | None = None) -> None:
    """Writes a file completely or not at all: after a kill at any point it has either the old content or the new one.

    Raises:
        StorageError: the disk is full or fails, or the folder is not writable; the old content is kept.
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
        raise storage_error(path, error) from error


@contextlib.contextmanager
def new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill beside the one that is wanted; when the block ends without an error it takes its place, whole.

    Args:
        folder: does not exist yet, or is empty.

    Raises:
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield beside
        if folder.exists():
            folder.rmdir()
        beside.chmod(0o755)
        os.replace(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def storage_error(path: pathlib.Path, error: OSError) -> RunError:
    """The error for a file that could not be written."""
    kind = StorageError if error.errno in _FULL else RunError
    return kind(
        f"{path} could not be written: {error.strerror or error}. What was saved before is intact: make room, or make "
        "sure that the folder exists and is writable, and repeat the command."
    )
