"""Journal: the decided trials of a run, in an SQLite database (WAL, full sync); each row's digest covers all before.

A trial is decided when its row is committed. The file does not stay open between calls, so it may be moved or copied at
any time between them, and a process that forks shares nothing with its child.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from shrinknet.errors import RunError, StorageError
from shrinknet.files.disk import Disk, storage_error
from shrinknet.records import Trial

NAME = "journal.db"
_UNUSABLE = {  # the errors of SQLite when the disk or the folder is the problem, not the file
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
}
_TABLES = {
    "trials": "(row INTEGER PRIMARY KEY, record TEXT NOT NULL, digest TEXT NOT NULL)",
    # A copy of the last row's number and digest: without it, rows missing at the end would leave an unbroken chain.
    "head": "(id INTEGER PRIMARY KEY CHECK (id = 1), row INTEGER NOT NULL, digest TEXT)",
}
_SCHEMA = [("table", name, f"CREATE TABLE {name} {columns}") for name, columns in _TABLES.items()]


class Journal:
    """The journal in a run folder.

    Args:
        folder: the run folder; disk: performs the commits.
    """

    def __init__(self, folder: pathlib.Path, disk: Disk) -> None:
        self.path = folder / NAME
        self._disk = disk

    def create(self) -> None:
        """Creates the tables if they do not exist.

        Raises:
            RunError: the file is damaged or is not a journal; StorageError: it cannot be written to.
        """
        with self._changing() as connection:
            for name, columns in _TABLES.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
            connection.execute("INSERT OR IGNORE INTO head VALUES (1, 0, '')")

    def append(self, trial: Trial) -> None:
        """Adds a decided trial; it is on the disk when this returns.

        Raises:
            RunError: the journal is damaged.
            StorageError: the disk is full or fails; the earlier trials are intact.
        """
        with self._changing() as connection:
            _insert(connection, self._head(connection), trial)

    def trials(self) -> tuple[Trial, ...]:
        """Every decided trial, in the order in which they were appended; empty if none was decided yet.

        Raises:
            RunError: the journal is damaged or was edited.
        """
        if not self.path.is_file():
            return ()
        # SQLite cannot create its shared memory file in a read-only folder, and nobody else writes there either.
        with self._open("rw" if os.access(self.path.parent, os.W_OK) else "ro&immutable=1") as connection:
            connection.execute("BEGIN")
            head = self._head(connection)
            rows = connection.execute("SELECT row, record, digest FROM trials ORDER BY row").fetchall()
        before, trials = "", []
        for number, (row, record, digest) in enumerate(rows, start=1):
            if row != number or digest != _digest(number, before, record):
                raise damaged(self.path, f"row {number} does not match its checksum")
            before = digest
            trials.append(_trial(record, self.path))
        if head != (len(rows), before):
            raise damaged(self.path, f"it should end in row {head[0]}, not in row {len(rows)}")
        return tuple(trials)

    def check(self) -> None:
        """Checks every page, including pages without trials: a damaged one would break a later append.

        Raises:
            RunError: the journal is damaged.
        """
        with self._open("rw") as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != ("ok",):
            raise damaged(self.path, f"SQLite reports: {found}")

    def replace(self, trials: Sequence[Trial]) -> None:
        """Replaces all trials by these, in one transaction.

        Raises:
            RunError: the journal is damaged; call `set_aside` first.
            StorageError: the disk is full or fails; the earlier trials are intact.
        """
        with self._changing() as connection:
            self._head(connection)
            connection.execute("DELETE FROM trials")
            head = (0, "")
            for trial in trials:
                head = _insert(connection, head, trial)
            connection.execute("UPDATE head SET row = ?, digest = ?", head)

    def set_aside(self) -> pathlib.Path:
        """Renames a damaged journal, as evidence, and creates an empty one."""
        aside = self.path.with_name("journal.damaged.db")
        try:
            for suffix in ("-wal", "-shm"):  # first, since they would be taken for those of the new journal
                self._disk.remove(self.path.with_name(NAME + suffix))
            if self.path.exists():
                self._disk.replace(self.path, aside)
            self._disk.sync_folder(self.path.parent)
        except OSError as error:
            raise storage_error(self.path, error) from error
        self.create()
        return aside

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that is committed at the end of the block."""
        with self._open("rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            self._disk.commit(connection)

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection for one task, closed afterwards; errors of SQLite become those of shrinknet."""
        path = self.path
        try:
            with contextlib.closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=30, isolation_level=None, uri=True)
            ) as connection:
                if not mode.startswith("ro"):
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except (sqlite3.Error, UnicodeError) as error:  # a damaged page can make the error message itself undecodable
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
            if code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _UNUSABLE:
                raise damaged(path, str(error)) from error
            raise StorageError(
                f"The journal {path} could not be used: {error}. What was decided before is intact: make room, or "
                "make sure that the folder is writable, and repeat the command."
            ) from error
        except OSError as error:
            raise storage_error(path, error) from error

    def _head(self, connection: sqlite3.Connection) -> tuple[int, str]:
        """Number and digest of the last row, from the table `head`, after checking that the tables are ours."""
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid").fetchall()
        if schema != _SCHEMA:  # a view in place of a table could compute forever
            raise damaged(self.path, f"it contains {', '.join(str(row[1]) for row in schema) or 'no tables'}")
        head = connection.execute("SELECT row, digest FROM head").fetchall()
        if len(head) != 1 or not isinstance(head[0][0], int) or not isinstance(head[0][1], str):
            raise damaged(self.path, "the number of its last row is missing")
        return head[0][0], head[0][1]


def damaged(path: pathlib.Path, reason: str) -> RunError:
    """The error for a damaged file."""
    return RunError(f"{path} is damaged: {reason}. Restore a copy of the file, or start over in another folder.")


def encode(trial: Trial) -> dict[str, Any]:
    """A trial in plain JSON types, without loss: numbers that are not finite become text."""
    record = trial.to_dict()
    for name in ("score", "reference", "ratio"):
        value = getattr(trial, name)
        record[name] = value if math.isfinite(value) else repr(float(value))
    record["guards"] = {name: repr(float(value)) for name, value in trial.guards.items()}
    return record


def decode(record: Any, path: pathlib.Path) -> Trial:
    """The inverse of `encode`.

    Raises:
        RunError: the record is not a trial.
    """
    try:
        words = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
        return Trial.from_dict({key: words.get(value, value) if isinstance(value, str) else value
                                for key, value in record.items()})  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} contains a trial that this version of shrinknet cannot read: {error}.") from error


def _insert(connection: sqlite3.Connection, head: tuple[int, str], trial: Trial) -> tuple[int, str]:
    record = json.dumps(encode(trial), sort_keys=True)
    row, digest = head[0] + 1, _digest(head[0] + 1, head[1], record)
    connection.execute("INSERT INTO trials VALUES (?, ?, ?)", (row, record, digest))
    connection.execute("UPDATE head SET row = ?, digest = ?", (row, digest))
    return row, digest


def _digest(row: int, before: str, record: str) -> str:
    return hashlib.sha256(f"{row} {before} {record}".encode()).hexdigest()


def _trial(record: str, path: pathlib.Path) -> Trial:
    try:
        return decode(json.loads(record), path)
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} contains a trial that this version of shrinknet cannot read: {error}.") from error
