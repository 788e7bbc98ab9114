"""Placing: a file or folder atomically replaces another one, after it has been synced to the disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, on the same disk; removed afterwards with its contents.

    `folder` is created if it does not exist, and then removed again if it stays empty.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
            yield Path(scratch)
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def place(written: Path, target: Path) -> None:
    """Replaces `target` by what was written on the same disk; its content is synced before it is renamed."""
    for path in (written, *written.rglob("*")):
        _sync(path)
    if not written.is_dir() and not target.is_dir():
        os.replace(written, target)
    elif not target.exists():
        os.rename(written, target)
    else:
        _exchange(written, target)
        shutil.rmtree(written) if written.is_dir() else written.unlink()
    _sync(target.parent)


def _exchange(one: Path, other: Path) -> None:
    """Swaps two paths: atomically if Linux supports it, otherwise in three steps."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    aside = one.with_name(one.name + ".aside")
    os.rename(other, aside)
    os.rename(one, other)
    os.rename(aside, one)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such call and does not need it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
