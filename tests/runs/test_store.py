"""The run folder: whatever interrupts a write, a read returns what was written, or an error that says what to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
from crashing import Failing, Killed, full_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from marking import slow

from shrinknet.errors import RunError, StorageError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.runs.store import Disk, RunStore


def a_trial(number: int, **changes: Any) -> Trial:
    facts: dict[str, Any] = {
        "number": number,
        "filters": (Filter("body/conv2", number),),
        "score": 0.4,
        "reference": 0.41,
        "ratio": 0.4 / 0.41,
        "accepted": number % 2 == 1,
        "filters_left": 9,
        "parameters": 100,
        "multiply_adds": 10_000,
        "seconds": 0.5,
    }
    return Trial(**{**facts, **changes})


@pytest.fixture
def store(tmp_path: pathlib.Path) -> RunStore:
    return RunStore(tmp_path / "run", create=True)


def test_what_was_written_is_read(store: RunStore) -> None:
    facts = {"task": "edges", "score": 0.5, "removed": {"conv1": [1, 2]}, "nothing": None, "text": "é <b>"}
    arrays = {
        "before/body/conv1": np.random.default_rng(0).normal(size=(5, 5, 1, 5)).astype("float32"),
        "file": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "names": np.array(["coffee", "rocket"]),
        "empty": np.zeros((0, 4), "float32"),
        "scalar": np.float64(3.5),
    }
    store.write_json("run", facts)
    store.write_arrays("kernels", arrays)
    store.write_bytes("model.keras", b"\x00\x01")
    store.append(a_trial(1))
    store.append(a_trial(2, score=math.nan, ratio=math.nan))
    again = RunStore(store.path)
    assert again.read_json("run.json") == facts
    assert again.read_bytes("model.keras") == b"\x00\x01"
    read = again.read_arrays("kernels")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    first, second = again.trials()
    assert first == a_trial(1)
    assert math.isnan(second.score) and second.filters == (Filter("body/conv2", 2),)


def test_arrays_are_plain_npz_and_the_same_arrays_are_the_same_bytes(store: RunStore) -> None:
    digest = store.write_arrays("one", {"a": np.arange(3)})
    assert store.write_arrays("two", {"a": np.arange(3)}) == digest
    assert store.read_bytes("one.npz") == store.read_bytes("two.npz")
    with np.load(store.path / "one.npz") as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))


def test_python_objects_are_refused(store: RunStore) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write_arrays("kernels", {"a": np.array([{}])})
    assert not store.has("kernels.npz")


def test_facts_that_are_not_finite_become_null(store: RunStore) -> None:
    store.write_json("run", {"score": math.nan, "list": [math.inf]})
    assert store.read_json("run") == {"score": None, "list": [None]}


def test_a_folder_that_moved_is_the_same_run(store: RunStore, tmp_path: pathlib.Path) -> None:
    store.write_json("run", {"task": "edges"})
    store.append(a_trial(1))
    store.path.rename(tmp_path / "moved here")
    moved = RunStore(tmp_path / "moved here")
    moved.append(a_trial(2))
    assert [trial.number for trial in moved.trials()] == [1, 2]
    for file in moved.path.iterdir():
        assert os.fsencode(tmp_path) not in file.read_bytes(), file


def test_nothing_stays_open_and_nothing_is_left_beside(store: RunStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.write_json("run", {})
        store.append(a_trial(1))
        assert len(store.trials()) == 1
    assert sorted(file.name for file in store.path.iterdir()) == ["journal.db", "run.json"]
    handles = [os.path.realpath(f"/proc/self/fd/{handle}") for handle in os.listdir("/proc/self/fd")]
    assert not any(str(store.path) in handle for handle in handles)


def test_an_empty_or_unfinished_folder_becomes_a_run_and_others_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError, match=r"not a run folder.*found nothing"):
        RunStore(tmp_path / "none")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.png").write_bytes(b"")
    with pytest.raises(RunError, match="found a folder"):
        RunStore(tmp_path / "photographs")
    with pytest.raises(RunError, match=r"contains other files \(a\.png"):
        RunStore(tmp_path / "photographs", create=True)
    with pytest.raises(RunError, match="is a file"):
        RunStore(tmp_path / "photographs" / "a.png", create=True)
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / ".run.json.0123abcd.tmp").write_bytes(b"torn")
    (tmp_path / "started" / "journal.db").write_bytes(b"")
    assert RunStore(tmp_path / "started", create=True).trials() == ()
    RunStore(tmp_path / "started", create=True).append(a_trial(1))
    assert len(RunStore(tmp_path / "started", create=True).trials()) == 1


def test_what_a_killed_process_left_beside_is_swept_once_it_is_old(store: RunStore) -> None:
    old, young = store.path / ".run.json.0123abcd.tmp", store.path / ".run.json.0123abce.tmp"
    for file in (old, young):
        file.write_bytes(b"torn")
    os.utime(old, (0, 0))
    RunStore(store.path, create=True)
    assert not old.exists() and young.exists()


@pytest.mark.parametrize("name", ["../run", "a/b", "", ".hidden", "/etc/passwd"])
def test_names_that_leave_the_folder_are_refused(store: RunStore, name: str) -> None:
    with pytest.raises(RunError, match="plain file name"):
        store.write_bytes(name, b"")


def test_a_missing_file_is_a_sentence(store: RunStore) -> None:
    with pytest.raises(RunError, match=r"has no kernels\.npz"):
        store.read_arrays("kernels")


# -- damage


def filled(folder: pathlib.Path) -> RunStore:
    store = RunStore(folder, create=True)
    store.write_json("run", {"task": "edges", "list": [1.5, 2, "x"], "deep": {"a": True}})
    store.write_arrays("kernels", {"a": np.arange(12, dtype="float32").reshape(3, 4), "b": np.array(["x"])})
    for number in range(1, 6):
        store.append(a_trial(number))
    return store


def contents(store: RunStore) -> Any:
    arrays = {name: (str(array.dtype), array.tolist()) for name, array in store.read_arrays("kernels").items()}
    return store.read_json("run"), arrays, store.trials()


@pytest.mark.parametrize("name", ["run.json", "kernels.npz", "journal.db"])
def test_every_flipped_bit_and_every_cut_is_detected_or_harmless(tmp_path: pathlib.Path, name: str) -> None:
    whole = filled(tmp_path / "whole")
    expected = contents(whole)
    data = whole.read_bytes(name)
    random = np.random.default_rng(1)
    damaged, detected = RunStore(tmp_path / "damaged", create=True), 0
    for attempt in range(240):
        position = int(random.integers(len(data)))
        torn = bytearray(data[:position] if attempt % 6 == 0 else data)
        if attempt % 6:
            torn[position] ^= 1 << int(random.integers(8))
        shutil.rmtree(damaged.path)
        shutil.copytree(whole.path, damaged.path)
        (damaged.path / name).write_bytes(torn)
        try:
            assert contents(damaged) == expected, (attempt, position)
        except RunError:
            detected += 1
    assert detected >= (40 if name == "journal.db" else 235)  # most of a young database is unused space


def test_rows_taken_out_of_the_journal_are_missed(tmp_path: pathlib.Path) -> None:
    for number, statement, message in [
        (1, "DELETE FROM trials WHERE row = 5", "should end in row 5, not in row 4"),
        (2, "DELETE FROM trials WHERE row = 2", "row 2 does not match"),
        (3, "UPDATE trials SET record = replace(record, 'conv2[3]', 'conv2[4]')", "row 3 does not match"),
        (4, "DELETE FROM head", "last row is missing"),
        (5, "DROP TABLE trials", "it contains head"),
    ]:
        store = filled(tmp_path / str(number))
        connection = sqlite3.connect(store.path / "journal.db")
        with connection:
            connection.execute(statement)
        connection.close()
        with pytest.raises(RunError, match=message):
            store.trials()


def test_a_row_of_another_journal_is_noticed(tmp_path: pathlib.Path) -> None:
    store, other = filled(tmp_path / "one"), RunStore(tmp_path / "other", create=True)
    for number in range(1, 4):
        other.append(a_trial(number, score=0.1))
    with contextlib.closing(sqlite3.connect(other.path / "journal.db")) as connection:
        row = connection.execute("SELECT record, digest FROM trials WHERE row = 2").fetchone()
    with contextlib.closing(sqlite3.connect(store.path / "journal.db")) as connection, connection:
        connection.execute("UPDATE trials SET record = ?, digest = ? WHERE row = 2", row)
    with pytest.raises(RunError, match="row 2 does not match"):
        store.trials()


def test_an_array_file_is_not_believed(store: RunStore) -> None:
    for name, member, compression in [
        ("bomb", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (268435456,), }", 0),
        ("pickle", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 0),
        ("squeezed", bytes(10_000_000), zipfile.ZIP_DEFLATED),
        ("nonsense", b"nonsense", 0),
    ]:
        path = store.path / f"{name}.npz"
        member = member.ljust(128 - 1) + b"\n" if member.startswith(b"\x93") else member
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("a.npy", member)
            archive.comment = b"sha256:" + bytes(64)
        signed = path.read_bytes()[:-64]
        path.write_bytes(signed + hashlib.sha256(signed).hexdigest().encode())
        with pytest.raises(RunError, match="something other than plain arrays"):
            store.read_arrays(name)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_readers_of_any_bytes_raise_typed_errors_only(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    store = RunStore(folder, create=True)
    (folder / "run.json").write_bytes(data)
    (folder / "kernels.npz").write_bytes(data)
    for read in (lambda: store.read_json("run"), lambda: store.read_arrays("kernels")):
        with pytest.raises(RunError):
            read()
    (folder / "journal.db").write_bytes(data)
    try:
        assert store.trials() == ()
    except RunError:
        pass
    finally:
        shutil.rmtree(folder)


# -- interruption


def story(folder: pathlib.Path, disk: Disk | None = None) -> None:
    """A tiny run that resumes where the journal ends."""
    store = RunStore(folder, create=True, disk=disk)
    for number in range(len(store.trials()) + 1, 4):
        store.write_arrays("state", {"a": np.full(3, number)})
        store.append(a_trial(number))
        store.write_json("run", {"decided": number})


@pytest.mark.parametrize("lasting", [False, slow(True)])
@pytest.mark.parametrize("error", [full_disk(), Killed()], ids=["full", "kill"])
def test_a_run_interrupted_at_any_action_goes_on_to_the_same_end(
    tmp_path: pathlib.Path, error: BaseException, lasting: bool
) -> None:
    counter = Failing()
    story(tmp_path / "whole", counter)
    expected = RunStore(tmp_path / "whole")
    assert counter.count > 20
    for action in range(1, counter.count + 1):
        folder = tmp_path / str(action)
        with pytest.raises((StorageError, Killed)) as caught:
            story(folder, Failing(action, error, lasting))
        if caught.type is StorageError:
            assert "make room" in str(caught.value) and caught.value.exit_code == 74
        if (folder / "run.json").exists():
            seen = RunStore(folder)
            assert seen.read_json("run")["decided"] in (len(seen.trials()), len(seen.trials()) - 1)
        story(folder)
        resumed = RunStore(folder)
        assert resumed.trials() == expected.trials()
        np.testing.assert_array_equal(resumed.read_arrays("state")["a"], expected.read_arrays("state")["a"])


def test_an_old_file_stands_when_its_successor_cannot_be_written(store: RunStore) -> None:
    store.write_bytes("model.keras", b"old")
    for action in range(1, 4):
        full = RunStore(store.path, disk=Failing(action, full_disk()))
        with pytest.raises(StorageError, match=r"model\.keras could not be written: No space left"):
            full.write_bytes("model.keras", b"new" * 100)
        assert store.read_bytes("model.keras") == b"old"
    assert sorted(file.name for file in store.path.iterdir()) == ["journal.db", "model.keras"]


APPEND = """
import sys
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.runs.store import RunStore

store = RunStore(sys.argv[1], create=True)
for number in range(int(sys.argv[3])):
    store.append(Trial(number, (Filter(sys.argv[2], number),), 0.0, 0.0, 0.0, True))
"""


@pytest.mark.parametrize("count", [3, slow(10)])
def test_processes_append_two_hundred_rows_each_and_none_is_lost(count: int, tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", APPEND, str(tmp_path / "run")]
    processes = [subprocess.Popen([*command, f"process{number}", "200"], env=environment) for number in range(count)]
    assert [process.wait(timeout=300) for process in processes] == [0] * count
    trials = RunStore(tmp_path / "run").trials()
    assert len({trial.filters for trial in trials}) == len(trials) == 200 * count
    for name in {trial.filters[0].layer for trial in trials}:
        mine = [trial.number for trial in trials if trial.filters[0].layer == name]
        assert mine == list(range(200))  # in the order in which each process appended them


def test_run_json_can_be_read_by_people_and_an_edit_is_noticed(store: RunStore) -> None:
    store.write_json("run", {"task": "edges", "seed": 1})
    text = (store.path / "run.json").read_text()
    assert json.loads(text)["task"] == "edges" and '\n  "seed": 1' in text
    (store.path / "run.json").write_text(text.replace('"seed": 1', '"seed": 2'))
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        store.read_json("run")


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_afterwards(store: RunStore) -> None:
    actions: list[str] = []

    class Recording(Disk):
        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("_"):
                actions.append(name)
            return super().__getattribute__(name)

    recorded = RunStore(store.path, disk=Recording())
    recorded.write_bytes("model.keras", b"x")
    recorded.append(a_trial(1))
    assert actions == ["write", "sync", "replace", "sync_folder", "commit"]
