"""Kills runs, flips bits, fills the disk: the measurements in docs/reliability.md. Each command prints a table.

python tools/crash.py kills 500     random kill -9 of real trainings, each resumed until the run is done
python tools/crash.py points        a single failure, a permanent failure and kills at every disk operation
python tools/crash.py flips 1000    single flipped bits in checkpoints and journal; 200 truncations
python tools/crash.py full          a small tmpfs that fills up (needs root), and a limit on the size of files
python tools/crash.py hostile       malicious files: exit codes and memory
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Neither kills nor simulated failures need a real disk, and memory is faster.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
crashing: Any = importlib.import_module("crashing")  # the run that is killed, from tests/


class Tell:
    """A callback that reports the start and end of each trial through a pipe."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def on_trial_begin(self, number: int) -> None:
        os.write(self.pipe, f"begin {number}\n".encode())

    def on_trial_end(self, trial: Any) -> None:
        os.write(self.pipe, f"end {trial.number}\n".encode())


class Child:
    """A forked process that starts or resumes a run, and writes the digest of its bits to a file.

    TensorFlow is imported before the fork, but used only after it.
    """

    def __init__(self, folder: Path, story: Callable[..., Any]) -> None:
        self.end = folder.with_name(f"{folder.name}.bits")
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            code = 1
            try:
                self.end.write_text(crashing.bits(story(folder, callbacks=[Tell(writing)])))
                code = 0
            except BaseException:
                logging.exception("the child failed")
            finally:
                os._exit(code)
        os.close(writing)
        self.pipe = reading
        self.said = b""

    def listen(self, events: int, seconds: float = 600) -> bool:
        """Waits for this many events; False if the process ended before."""
        stop = time.monotonic() + seconds
        while self.said.count(b"\n") < events:
            if not select.select([self.pipe], [], [], max(0.0, stop - time.monotonic()))[0]:
                self.kill()
                raise TimeoutError(f"the run reported nothing for {seconds:.0f} seconds after {self.said!r}")
            if not self._hear():
                return False
        return True

    def _hear(self) -> bool:
        said = os.read(self.pipe, 4096)
        self.said += said
        return bool(said)

    def kill(self) -> tuple[bool, int]:
        """kill -9; whether that ended it, and its exit status."""
        os.kill(self.pid, signal.SIGKILL)
        status = self.wait()
        return os.WIFSIGNALED(status), status

    def wait(self) -> int:
        """Its exit status, after reading everything that it reported."""
        while self._hear():
            pass
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1]

    def numbers(self, what: str) -> list[int]:
        """Numbers of the trials that began or ended."""
        lines = self.said.decode().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith(what)]


def kills(count: int, seed: int = 0, real: bool = True) -> dict[str, Any]:
    """Kills runs at random moments, `count` times in all, and resumes each run until it is done.

    Args:
        real: train a convolutional network with Dropout and BatchNormalization on TensorFlow; False: only sums.
    """
    from shrinknet.runs.store import RunStore

    story = crashing.training if real else crashing.story
    moments = random.Random(seed)
    found = Counter[str](kills=0, runs=0, different=0, lost=0, undecided=0)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        whole = Child(Path(name, "whole"), story)
        if whole.wait():
            raise RuntimeError("the run without kills failed")
        expected, pause = whole.end.read_text(), (time.monotonic() - begun) / 4
        while found["kills"] < count:
            folder = Path(name, f"run{found['runs']}")
            open_trial = 0
            while True:
                child = Child(folder, story)
                killed, status = False, 0
                if found["kills"] < count and child.listen(moments.choice([0, 0, 1, 1, 2, 3, 4])):
                    time.sleep(moments.uniform(0, pause / 10 if child.said else pause))
                    killed, status = child.kill()
                else:
                    status = child.wait()
                first = child.numbers("begin")[:1]
                found["lost"] = max(found["lost"], *(open_trial - number + 1 for number in first if open_trial), 0)
                open_trial = max([open_trial, *child.numbers("begin")])
                if not killed:
                    break
                found["kills"] += 1
                rows = len(RunStore(folder).trials()) if (folder / "journal.db").exists() else 0
                found["undecided"] += rows < max([0, *child.numbers("end")])
            found["runs"] += 1
            found["different"] += bool(status) or child.end.read_text() != expected
            shutil.rmtree(folder, ignore_errors=True)
    return {
        "kills": found["kills"], "runs finished": found["runs"], "runs that ended in other bits": found["different"],
        "most trials repeated after a kill": found["lost"], "decided trials lost by a kill": found["undecided"],
        "training": "TensorFlow" if real else "sums", "seconds": round(time.monotonic() - begun),
    }  # fmt: skip


def points(every: int = 1, recovery: int = 14, first: int = 1) -> dict[str, Any]:
    """Fails or is killed at every disk operation, and compares the final bits of the run.

    Args:
        every: 1 takes each operation, n every n-th; first: where to start.
        recovery: after a kill, also kill the recovery at its first, second ... operation, this many times in a row.
    """

    found: Counter[str] = Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        counter = crashing.Failing()
        expected = crashing.bits(crashing.story(Path(name, "whole"), counter))
        for action in range(first, counter.count + 1, every):
            for mode in ("once", "lasting", "kill"):
                folder = Path(name, f"{mode}{action}")
                error: BaseException = crashing.full_disk() if mode != "kill" else crashing.Killed()
                found[mode] += 1
                found["different"] += not _fails(folder, crashing.Failing(action, error, mode != "once"), expected)
                if mode == "kill":
                    for step in range(1, recovery + 1):
                        killed = crashing.Failing(step, crashing.Killed(), True)
                        found["kills in recovery"] += _fails(folder, killed, expected)
                found["different"] += crashing.bits(crashing.story(folder)) != expected
                shutil.rmtree(folder)
    return {
        "disk operations": counter.count, "kinds": dict(Counter(counter.actions)), "cases": dict(found),
        "seconds": round(time.monotonic() - begun),
    }  # fmt: skip


def _fails(folder: Path, disk: Any, expected: str) -> bool:
    """Whether the run fails as expected: killed, or with the message of a full disk.

    Once everything is decided, that message is a warning, and the result is returned: with the expected bits.
    """
    from shrinknet.errors import StorageError

    try:
        with unittest.mock.patch("shrinknet.loop.result._LOG.warning") as warning:
            run = crashing.story(folder, disk)
    except StorageError as error:
        return error.exit_code == 74 and "make room" in str(error)
    except crashing.Killed:
        return True
    return "make room" in str(warning.call_args) and crashing.bits(run) == expected


def flips(count: int = 1000, cuts: int = 200, seed: int = 0, ends: int = 20) -> dict[str, Any]:
    """Flips single bits of checkpoints and journal, truncates them, and checks what a run would resume from.

    Args:
        ends: how many of the damaged runs are also run to the end.
    """

    chance = random.Random(seed)
    found: Counter[str] = Counter()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        half = _half_a_run(Path(name, "half"))
        expected = crashing.bits(crashing.story(Path(shutil.copytree(half, Path(name, "whole")))))
        newest, older = _generations(half, Path(name))
        for number in range(count + cuts):
            folder = Path(shutil.copytree(half, Path(name, "damaged")))
            path = folder / chance.choice(["state-0.npz", "state-1.npz", "journal.db"])
            data = bytearray(path.read_bytes())
            place = chance.randrange(len(data))
            if number < count:
                data[place] ^= 1 << chance.randrange(8)
            path.write_bytes(data if number < count else data[:place])
            state, told = _resumes_from(folder)
            kind = f"{path.name.partition('-')[0].partition('.')[0]} {'flipped' if number < count else 'cut'}"
            if state == newest:
                found[f"{kind}: reported, newest state used" if told else f"{kind}: no difference"] += 1
            elif state == older and told:
                found[f"{kind}: reported, older state used"] += 1
            else:
                found["WRONG"] += 1
            if number % max(1, (count + cuts) // ends) == 0:
                found[
                    "run to the end: the same bits" if crashing.bits(crashing.story(folder)) == expected else "WRONG"
                ] += 1
            shutil.rmtree(folder)
    return {"flips": count, "cuts": cuts, "found": dict(sorted(found.items())), "wrong": found["WRONG"],
            "seconds": round(time.monotonic() - begun)}  # fmt: skip


def _half_a_run(folder: Path) -> Path:
    """A run that was killed when its fourth trial began."""

    class Kill:
        def on_trial_begin(self, number: int) -> None:
            if number == 4:
                raise crashing.Killed

    try:
        crashing.story(folder, callbacks=[Kill()])
    except crashing.Killed:
        return folder
    raise RuntimeError("the run should have been killed")


def _resumes_from(folder: Path) -> tuple[str, bool]:
    """The state that a run would resume from, and whether damage is reported to the user."""
    from shrinknet.runs.generations import Generations
    from shrinknet.runs.resume import mend_journal, read_saved
    from shrinknet.runs.store import RunStore

    store = RunStore(folder, create=True)
    told: list[str] = []
    with unittest.mock.patch("shrinknet.runs.resume.tell", told.extend):
        saved = read_saved(store, Generations(store, "state"))
        assert saved is not None
        mend_journal(store, saved.snapshot.trials)
    arrays = [array.tobytes() for array in saved.arrays.values()]
    where = saved.snapshot
    assert [crashing.untimed(trial) for trial in store.trials()] == [crashing.untimed(trial) for trial in where.trials]
    return repr((arrays, where.trials, where.warmup, where.baseline, saved.began)), bool(told)


def _generations(half: Path, name: Path) -> tuple[str, str]:
    """The state that the undamaged run resumes from, and the one without its newest checkpoint."""
    newest = _resumes_from(Path(shutil.copytree(half, name / "newest")))[0]
    older = Path(shutil.copytree(half, name / "older"))
    max(older.glob("state-?.npz"), key=lambda path: path.stat().st_mtime_ns).unlink()
    return newest, _resumes_from(older)[0]


FILLING = """
import resource, sys
sys.path.insert(0, {tests!r})
import click, crashing
from pathlib import Path
from shrinknet.cli.exits import Program

class Fill:
    def on_trial_begin(self, number):
        if number == 3 and {fill!r} == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
        elif number == 3 and {fill!r} == "disk":
            with open({filler!r}, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass

@click.group(cls=Program)
def program(): pass

@program.command()
@click.argument("folder")
def run(folder):
    print(crashing.bits(crashing.story(Path(folder), callbacks=[Fill()])))

program()
"""


def full(tmpfs: bool = True) -> dict[str, Any]:
    """Fills a small tmpfs, and limits the file size, in the middle of a run; then frees the space and resumes."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        results["limit on the size of files"] = _filled(Path(name, "run"), "limit", Path(name, "none"))
        if tmpfs and os.geteuid() == 0:
            mount = Path(name, "mount")
            mount.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], check=True)
            try:
                results["full tmpfs"] = _filled(mount / "run", "disk", mount / "filler")
            finally:
                subprocess.run(["umount", mount], check=True)
    return results


def _filled(folder: Path, fill: str, filler: Path) -> dict[str, Any]:

    def program(fill: str, folder: Path) -> subprocess.CompletedProcess[str]:
        script = FILLING.format(tests=str(ROOT / "tests"), fill=fill, filler=str(filler))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-c", script, "run", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    failed = program(fill, folder)
    filler.unlink(missing_ok=True)
    trials = len(crashing.journal(folder))
    resumed = program("nothing", folder)
    with tempfile.TemporaryDirectory() as name:
        whole = program("nothing", Path(name, "run"))
    return {
        "exit code": failed.returncode, "sentence": failed.stderr.strip().splitlines()[-1].replace(str(folder), "RUN"),
        "trials kept": trials, "exit code with room": resumed.returncode,
        "same bits": bool(resumed.stdout) and resumed.stdout == whole.stdout,
    }  # fmt: skip


def hostile() -> dict[str, Any]:
    """Opens malicious files: exit code, memory above that of the bare process in MB, and file size."""
    tests: Any = importlib.import_module("test_hostile")
    with tempfile.TemporaryDirectory() as name:
        found = tests.try_all(Path(name))
    return {
        case.replace("_", " "): f"exit code {facts['code']}, {facts['memory'] / 1e6:.0f} MB, file of "
        f"{facts['size'] / 1e6:.2f} MB"
        for case, facts in found.items()
    }


def table(found: dict[str, Any], before: str = "") -> list[str]:
    """The lines of a Markdown table with two columns."""
    lines = []
    for name, value in found.items():
        lines += table(value, f"{before}{name}: ") if isinstance(value, dict) else [f"| {before}{name} | {value} |"]
    return lines


def main() -> None:
    """Runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "points", "flips", "full", "hostile"])
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--sums", action="store_true", help="kills: compute sums instead of training with TensorFlow")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="points: only every N-th operation")
    parser.add_argument("--recovery", type=int, default=14, help="points: kills in a row during each recovery")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    logging.getLogger("shrinknet").setLevel(logging.ERROR)
    measurements: dict[str, Callable[[], dict[str, Any]]] = {
        "kills": lambda: kills(options.count or 30, options.seed, not options.sums),
        "points": lambda: points(options.every, options.recovery),
        "flips": lambda: flips(options.count or 1000, seed=options.seed),
        "full": full,
        "hostile": hostile,
    }
    found = measurements[options.what]()
    print(json.dumps(found) if options.json else "\n".join(["| | |", "|---|---|", *table(found)]))


if __name__ == "__main__":
    main()
