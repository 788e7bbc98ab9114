"""Disk: what a run does to the disk, a method for each kind of action; and files written whole or not at all.

Every write, sync, rename, removal and commit goes through `Disk`, so that a test can count and interrupt them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import sqlite3
from typing import TYPE_CHECKING, BinaryIO

from shrinknet.errors import RunError, StorageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


class Disk:
    """Everything a run does to the disk, one method each: a test derives from it to count and to interrupt."""

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Hands all of `data` to the operating system; near a limit it takes only a part at first."""
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
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


def write_file(path: pathlib.Path, data: Buffer, disk: Disk | None = None) -> None:
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
        raise storage_error(path, error) from error


def storage_error(path: pathlib.Path, error: OSError) -> RunError:
    """The sentence for a file that could not be written."""
    kind = StorageError if error.errno in _FULL else RunError
    return kind(
        f"{path} could not be written: {error.strerror or error}. What was saved before is whole: make room, or see "
        "to it that the folder is there and can be written to, and give the same command again."
    )
