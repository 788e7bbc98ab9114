"""Units of work: the repetitions of an experiment, each stored in one file, computed in one process, several or a
cluster. A repetition is a pure function of the settings and its number, so it does not matter where it is computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from shrinknet.errors import OptionError, RunError
from shrinknet.experiments.settings import Settings
from shrinknet.extras import require_extra
from shrinknet.files.disk import write_file
from shrinknet.files.streams import quiet
from shrinknet.records import finite

Unit = dict[str, Any]
Tell = Callable[[int, int, float | None], None]
_ONE_AT_A_TIME = threading.Lock()  # a Dask worker may have several threads, but Keras has global state


class UnitStore:
    """The finished repetitions for one set of settings, each in a file that is written completely or not at all.

    Args:
        folder: of the experiment; what: the name of the trainings, the same for experiments that share them.
        settings: their digest is part of the folder name, so that other settings never use these files.
    """

    def __init__(self, folder: Path, what: str, settings: Settings) -> None:
        self.folder = folder / "units" / f"{what}-{settings.digest()}"

    def read(self, number: int) -> Unit | None:
        """The repetition, or None if it is missing or damaged: then it is computed again."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._path(number).read_bytes())
            if record["sha256"] == _digest(record["unit"]):
                unit: Unit = record["unit"]
                return unit
        return None

    def write(self, number: int, unit: Unit) -> None:
        """Stores a repetition.

        Raises:
            StorageError: the disk is full or fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder.parent / ".gitignore"
        if not ignore.exists():
            write_file(ignore, b"*\n")
        record = {"unit": unit, "sha256": _digest(unit)}
        write_file(self._path(number), (json.dumps(record) + "\n").encode())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04d}.json"


def _digest(unit: Unit) -> str:
    return hashlib.sha256(json.dumps(unit, sort_keys=True).encode()).hexdigest()


def complete(
    what: str,
    settings: Settings,
    folder: Path,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    tell: Tell | None = None,
) -> list[Unit]:
    """All units, read from the folder if they are there, otherwise computed and stored.

    Args:
        what: module of this package whose `repetition(settings, number)` is computed.
        settings: their `units` is the number of units, one for each repetition or several.
        folder: of the experiment.
        jobs: number of processes with one thread each; with 1, this process does the work.
        cluster: address of a Dask scheduler to use instead.
        tell: called with the number of units done, the total, and the seconds left (None while unknown).

    Raises:
        RunError: a worker process died; finished repetitions are kept.
    """
    if jobs < 1:
        raise OptionError(f"Expected jobs of at least 1; received {jobs}.")
    store = UnitStore(folder, what, settings)
    units = {number: unit for number in range(settings.units) if (unit := store.read(number)) is not None}
    missing = [number for number in range(settings.units) if number not in units]
    tell = tell or (lambda done, total, left: None)
    tell(len(units), settings.units, None)
    start = time.monotonic()
    for count, (number, unit) in enumerate(_computed(what, settings, missing, jobs, cluster), 1):
        store.write(number, unit)
        units[number] = unit
        left = (time.monotonic() - start) / count * (len(missing) - count)
        tell(len(units), settings.units, left)
    return [units[number] for number in range(settings.units)]


def _computed(
    what: str, settings: Settings, numbers: list[int], jobs: int, cluster: str | None
) -> Iterator[tuple[int, Unit]]:
    """The repetitions with these numbers, in the order in which they finish."""
    if not numbers:
        return
    if cluster is None and jobs == 1:
        yield from (compute(what, settings, number) for number in numbers)
        return
    require_extra("experiments", "joblib")
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with _backend(joblib, cluster):
        parallel = joblib.Parallel(
            n_jobs=jobs if cluster is None else -1, return_as="generator_unordered", batch_size=1, pre_dispatch="all"
        )
        try:
            yield from parallel(joblib.delayed(compute)(what, settings, number) for number in numbers)
        except TerminatedWorkerError as error:
            raise RunError(
                "A worker process died before its repetition was done, probably because memory ran out. Finished "
                "repetitions are kept: repeat the command with fewer jobs."
            ) from error


@contextlib.contextmanager
def _backend(joblib: Any, cluster: str | None) -> Iterator[None]:
    if cluster is None:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            yield
        return
    require_extra("dask", "distributed")
    distributed: Any = importlib.import_module("distributed")
    try:
        client = distributed.Client(cluster, timeout="30s")
    except (OSError, ValueError) as error:
        raise RunError(
            f"No Dask scheduler responds at {cluster!r} ({error}): expected an address such as tcp://host:8786, where "
            "`dask scheduler` runs."
        ) from error
    with client, joblib.parallel_config("dask", client=client):
        yield


def compute(what: str, settings: Settings, number: int) -> tuple[int, Unit]:
    """One repetition; this is what worker processes run."""
    with _ONE_AT_A_TIME:
        threads = use_one_thread()
        module = importlib.import_module(f"shrinknet.experiments.{what}")
        start = time.monotonic()
        unit = finite(module.repetition(settings, number))
    return number, {**unit, "repetition": number, "seconds": round(time.monotonic() - start, 1), "threads": threads}


def use_one_thread() -> int:
    """Limits TensorFlow to one thread; returns the actual number, which is larger if TensorFlow was already running.

    The number of threads changes the last bits of a sum. With one thread, a repetition gives the same bits in every
    process, and because steps are short, two processes of one thread do more than one process of two threads.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = _tensorflow()
    if tf is None:
        return 0
    with contextlib.suppress(RuntimeError):  # already initialized
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return int(tf.config.threading.get_intra_op_parallelism_threads()) or os.cpu_count() or 1


def _tensorflow() -> Any:
    """TensorFlow, imported without its startup messages; None if Keras uses another backend."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return None
    if "tensorflow" not in sys.modules:
        with quiet(unless_it_fails=True):
            importlib.import_module("tensorflow")
    return sys.modules["tensorflow"]


def seconds(units: Iterable[Unit]) -> float:
    """Total time of the repetitions over all processes."""
    return float(sum(unit["seconds"] for unit in units))
