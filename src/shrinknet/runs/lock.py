"""RunLock: allows one writer for each run folder; a second one fails at once, with the process id of the first."""

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
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}  # the errors of file systems without locks
_LOG = logging.getLogger("shrinknet")
_OPEN: set[int] = set()


def refuse_if_held(folder: str | os.PathLike[str]) -> None:
    """Refuses a folder that another process is writing, before any work is done; changes nothing.

    Raises:
        RunError: the folder is being written; the message says by which process.
    """
    path = pathlib.Path(folder) / NAME
    if not _LOCKS or not os.path.isfile(path):  # which, unlike Path.is_file, raises nothing
        return
    with contextlib.suppress(OSError), open(path, "rb") as file:
        _lock(file.fileno(), path, fcntl.LOCK_SH)


def holder(folder: str | os.PathLike[str]) -> str | None:
    """The process that is writing a run folder, in words; None if there is none, or if it cannot be determined."""
    try:
        refuse_if_held(folder)
    except RunError:
        return _owner(pathlib.Path(folder) / NAME)
    return None


class RunLock:
    """The lock of a run folder, held from its creation until `release` or the end of the process.

    The operating system holds the lock, on a file in the folder; a dead process cannot hold it. The content of the file
    (process, host, time) is only used in messages.

    Args:
        folder: the run folder; it must exist.

    Raises:
        RunError: another process, or another part of this one, is writing the folder.
        StorageError: the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._handle = -1
        if not _LOCKS:
            _LOG.warning("This system has no file locks: make sure that only one process at a time writes %s.", folder)
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
        with contextlib.suppress(OSError):  # a full disk: the lock works without the description
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Releases the lock; may be called twice."""
        if self._handle >= 0:
            _OPEN.discard(self._handle)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _lock(handle: int, path: pathlib.Path, kind: int) -> None:
    for pause in (0.05, 0.1, 0.2, 0):  # another process may hold it for a moment in `refuse_if_held`
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(pause)
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise storage_error(path, error) from error
            _LOG.warning(
                "%s does not support locks (%s): make sure that only one process at a time writes there.",
                path.parent, error.strerror,
            )  # fmt: skip
            return
    raise RunError(
        f"The run {path.parent} is being written by {_owner(path)}. Only one process may write a run: wait for it, "
        "stop it, or choose another folder."
    )


def _owner(path: pathlib.Path) -> str:
    """The process that wrote the lock file, in words."""
    try:
        owner = json.loads(path.read_bytes()[:1000])
        mine = ", which is this one," if owner["pid"] == os.getpid() and owner["host"] == socket.gethostname() else ""
        return f"process {owner['pid']}{mine} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


def _let_go() -> None:
    """Closes the locks in a forked child, which must not hold them after its parent has ended."""
    for handle in _OPEN:
        with contextlib.suppress(OSError):
            os.close(handle)
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
