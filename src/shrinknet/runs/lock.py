"""RunLock: one writer for each run folder; a second one is told at once who the first is."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import os
import pathlib
import socket
import time

from shrinknet.errors import RunError
from shrinknet.files.disk import storage_error

with contextlib.suppress(ImportError):  # Windows has none
    import fcntl

NAME = "lock"
_LOCKS = "fcntl" in globals()
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}  # what file systems without locks answer
_LOG = logging.getLogger("shrinknet")
_OPEN: set[int] = set()


def refuse_if_held(folder: str | os.PathLike[str]) -> None:
    """Refuses a folder that another process writes, before any work is done; changes nothing.

    Raises:
        RunError: somebody writes it; the sentence says who.
    """
    path = pathlib.Path(folder) / NAME
    if not _LOCKS or not path.is_file():
        return
    with contextlib.suppress(PermissionError), open(path, "rb") as file:
        _lock(file.fileno(), path, fcntl.LOCK_SH)


def holder(folder: str | os.PathLike[str]) -> str | None:
    """Who writes a run's folder now, in words; None: nobody, or it cannot be known."""
    try:
        refuse_if_held(folder)
    except RunError:
        return _owner(pathlib.Path(folder) / NAME)
    return None


class RunLock:
    """Held from its making until `release` or the end of the process, however that comes: nothing is left locked.

    The operating system keeps the lock, on a file in the folder; who died holds it no longer. What the file says
    (process, host, time) is for the sentence that refuses others.

    Args:
        folder: the run's; it must exist.

    Raises:
        RunError: another process, or another part of this one, writes the folder.
        StorageError: the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._handle = -1
        if not _LOCKS:
            _LOG.warning("This system has no file locks: see to it that one process at a time writes %s.", folder)
            return
        path = pathlib.Path(folder) / NAME
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            _lock(self._handle, path, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._handle)
            raise
        _OPEN.add(self._handle)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M}"}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its sentence
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Lets go; may be called twice."""
        if self._handle >= 0:
            _OPEN.discard(self._handle)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _lock(handle: int, path: pathlib.Path, kind: int) -> None:
    for pause in (0.05, 0.1, 0.2, 0):  # somebody may only be looking whether it is free
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(pause)
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise storage_error(path, error) from error
            _LOG.warning("%s has no locks (%s): let one process at a time write there.", path.parent, error.strerror)
            return
    raise RunError(
        f"The run {path.parent} is being written by {_owner(path)}. Expected to be the only one: wait for it, stop it, "
        "or choose another folder."
    )


def _owner(path: pathlib.Path) -> str:
    """Who wrote the lock file."""
    try:
        owner = json.loads(path.read_bytes()[:1000])
        mine = ", which is this one," if owner["pid"] == os.getpid() and owner["host"] == socket.gethostname() else ""
        return f"process {owner['pid']}{mine} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


def _let_go() -> None:
    """A forked child must not keep its parent's locks after the parent is gone."""
    for handle in _OPEN:
        with contextlib.suppress(OSError):
            os.close(handle)
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
