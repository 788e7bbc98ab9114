"""Recorder: writes down what a run does, in its folder, and says where it stood; without a folder it does nothing.

The folder holds two generations of checkpoints (`state-0.npz`, `state-1.npz`), written in turn after every tenth of the
warm-up and every decided trial. Each is whole in itself: the network and its optimizer, the trials so far, the settings
that the run began with. Everything else follows from them or repeats them, and is mended when the run goes on.
"""

from __future__ import annotations

import io
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from keras.src.saving import saving_lib

from shrinknet.network.checkpoint import from_arrays, to_arrays
from shrinknet.files.disk import storage_error
from shrinknet.errors import RunError, StorageError
from shrinknet.runs.fingerprint import of_environment
from shrinknet.runs.generations import Generations
from shrinknet.runs.journal import encode
from shrinknet.network.compiled import uncompiled
from shrinknet.records import Summary, Trial, finite
from shrinknet.runs.resume import Saved, compare, mend_journal, read_saved, summary_of, tell
from shrinknet.runs.lock import RunLock
from shrinknet.runs.store import RunStore

_FILES = ("kernels.npz", "slim.keras", "switched.keras", "uncut.keras")
_BEGAN = ("config", "identity", "environment")
_LOG = logging.getLogger("shrinknet")


class Recorder:
    """Keeps nothing. `Recorder.open(folder)` gives one that keeps everything.

    Attributes:
        summary: of a run that came to its end before; None otherwise.
        xla: what was decided about XLA when the run began; results: the names of what an evaluation gave; None: it
            begins now.
    """

    summary: Summary | None = None
    xla: bool | None = None
    results: tuple[str, ...] | None = None

    @staticmethod
    def open(folder: str | os.PathLike[str] | None, **options: bool) -> Recorder:
        """The recorder for a run's folder; None: one that keeps nothing. For the options see `FolderRecorder`."""
        return Recorder() if folder is None else FolderRecorder(Path(folder), **options)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left open."""

    def begin(self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]]) -> None:
        """The settings of the run, and what model and data it is about; `identity()` is called only if needed."""

    def put_back(self, run: Any) -> None:
        """Makes the run what it was in its warm-up, or after it."""

    def warming(self, run: Any) -> None:
        """A part of the warm-up is done."""

    def warmed_up(self, run: Any) -> None:
        """The warm-up is done."""

    def decided(self, run: Any) -> tuple[Trial, ...]:
        """The trials decided before; the network is put back to where it stood after them."""
        return ()

    def trial(self, run: Any, trial: Trial) -> None:
        """One more trial is decided; the network stands as it is after the decision."""

    def control(self, run: Any, numbers: list[int]) -> int:
        """How many of these trials the control was trained on before; the network is put back to where it stood."""
        return 0

    def controlled(self, run: Any, numbers: list[int]) -> None:
        """The control was trained on the batches of these trials."""

    def finished(self, run: Any, result: Any) -> None:
        """The end of the run, or of what could be done today."""


class FolderRecorder(Recorder):
    """Keeps a run in its folder, for this process alone as long as it is open.

    Args:
        folder: new, empty, or a run's, which then goes on.
        force: a folder that holds another run, or a damaged one, is set beside under another name, and a new run
            begins; otherwise it is refused.
        strict: other versions, threads or devices than the run began with are refused; otherwise they are a warning.
        new_data: the run may go on with other data than it began with.

    Raises:
        RunError: the folder is something else's, or is being written by another process.
        StorageError: it cannot be written to.
    """

    def __init__(self, folder: Path, force: bool = False, strict: bool = False, new_data: bool = False) -> None:
        self.force = force
        self.strict = strict
        self.new_data = new_data
        self.facts: dict[str, Any] = {}
        self._saved: Saved | None = None
        self._open(folder)

    def _open(self, folder: Path) -> None:
        self.store = RunStore(folder, create=True)
        self.lock = RunLock(folder)
        self.states, self.warm, self.controls = (Generations(self.store, name) for name in ("state", "warm", "control"))

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    # -- where it stood

    def begin(self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]]) -> None:
        new = finite({"config": dict(config), "identity": identity(), "environment": of_environment()})
        self.store.sweep(seconds=0)
        try:
            self._read()
            old = self._saved.began if self._saved else self.facts
            if old:
                compare(self.store, old, new, self.strict, self.new_data)
                new["environment"] = old["environment"]
            mend_journal(self.store, self._saved.trials if self._saved else ())
        except StorageError:
            raise
        except RunError as error:
            if not self.force:
                raise
            self._set_beside(error)
        if self._saved is not None:
            self.xla, self.results = self._saved.xla, self._saved.results
            self.summary = summary_of(self.store, self.facts)
        self.began = new
        if self.summary is None:
            self.facts = {**new, "summary": None, "stopped": "", "finished": False}
            self.store.write_json("run", self.facts)

    def _read(self) -> None:
        """Reads what the folder holds; nothing where a run is to begin."""
        self._saved = read_saved(self.store, self.states)
        try:
            self.facts = self.store.read_json("run") if self.store.has("run.json") else {}
        except RunError as error:
            tell([str(error)])
        if self.facts and not all(isinstance(self.facts.get(name), dict) for name in _BEGAN):
            raise RunError(
                f"{self.store.path} holds a run that cannot go on: run.json does not say what it began with. Choose "
                "another folder, or say force=True (--force): then it is set beside."
            )

    def _set_beside(self, reason: RunError) -> None:
        """Gives the folder another name and begins a new one in its place."""
        folder = self.store.path
        names = (folder.with_name(f"{folder.name}.old{number}") for number in range(1, 1_000_000))
        beside = next(path for path in names if not path.exists())
        try:
            self.store.disk.replace(folder, beside)
            self.store.disk.sync_folder(folder.absolute().parent)
        except OSError as error:
            raise storage_error(folder, error) from error
        self.lock.release()
        _LOG.warning("%s It is now in %s.", reason, beside)
        self._saved, self.facts = None, {}
        self._open(folder)

    def put_back(self, run: Any) -> None:
        saved = self._saved
        if saved is None:
            return
        run.start -= saved.elapsed
        run.warmup = list(saved.warmup)
        if saved.baseline is None:
            from_arrays(run.net, saved.arrays)
            run.engine.go_to(saved.position)
            return
        run.baseline = saved.baseline
        run.begin_trials()
        warm = self.warm.read()
        tell(self.warm.damage)
        if warm is None:
            raise RunError(
                f"The state after the warm-up is lost: both warm-0.npz and warm-1.npz in {self.store.path} are damaged "
                "or missing. Put back a copy of one, or begin anew in another folder."
            )
        from_arrays(run.net, warm[1])

    def decided(self, run: Any) -> tuple[Trial, ...]:
        saved, self._saved = self._saved, None  # its arrays are needed no more
        if saved is None or saved.baseline is None:
            return ()
        from_arrays(run.net, saved.arrays)
        run.engine.go_to(saved.position)
        return saved.trials

    def control(self, run: Any, numbers: list[int]) -> int:
        saved = self.controls.read()
        tell(self.controls.damage)
        facts, arrays = saved or ({}, {})
        done = facts.get("numbers")
        if not isinstance(done, list) or done != numbers[: len(done)]:
            return 0
        from_arrays(run.net, arrays)
        run.engine.go_to(facts["position"])
        return len(done)

    # -- what happens

    def warming(self, run: Any) -> None:
        self._save(run, ())

    def warmed_up(self, run: Any) -> None:
        self.kernels = kernels(run.switches, "before")
        if self.summary is not None:
            return
        self.facts |= {
            "score": {"name": run.scorer.name, "higher_is_better": run.scorer.higher_is_better},
            "baseline": run.baseline,
            "warmup": [{"step": step, "score": score} for step, score in run.warmup],
            "cost_before": run.cost_before.to_dict(),
        }
        self.store.write_json("run", finite(self.facts))
        with uncompiled(run.uncut):
            self.store.write_bytes("uncut.keras", model_bytes(run.uncut))
        if self._saved is None or self._saved.baseline is None:
            arrays = to_arrays(run.net)
            for _ in range(2):  # it is never written again: each is the other's spare
                self.warm.write({}, arrays)
            self._save(run, ())

    def trial(self, run: Any, trial: Trial) -> None:
        self._save(run, (*run.trials, trial))
        self.store.append(trial)

    def controlled(self, run: Any, numbers: list[int]) -> None:
        self.controls.write({"numbers": numbers, "position": run.engine.position()}, to_arrays(run.net))

    def _save(self, run: Any, trials: tuple[Trial, ...]) -> None:
        facts = {
            "run": self.began,
            "warmup": [[step, score if math.isfinite(score) else repr(score)] for step, score in run.warmup],
            "baseline": None if math.isnan(run.baseline) else run.baseline,
            "trials": [encode(trial) for trial in trials],
            "position": run.engine.position(),
            "xla": run.engine.xla,
            "results": list(run.results),
            "elapsed": time.monotonic() - run.start,
        }
        self.states.write(facts, to_arrays(run.net))

    def finished(self, run: Any, result: Any) -> None:
        if self.summary is not None:
            return
        removed: dict[str, list[int]] = {}
        for group in run.switches.groups:
            if group.name in run.switches.disabled:
                for filter in group.filters:
                    removed.setdefault(filter.layer, []).append(filter.index)
        self.store.write_arrays("kernels", {**self.kernels, **kernels(run.switches, "after")})
        self.store.write_bytes("switched.keras", model_bytes(result.switched))
        with uncompiled(result.model):
            self.store.write_bytes("slim.keras", model_bytes(result.model))
        self.facts |= {
            "summary": result.summary.to_dict(),
            "cost_after": run.cost(result.model).to_dict(),
            "removed": removed,
            "stopped": run.stopped,
            "finished": not run.unfinished,
            "files": {name: self.store.digest(name) for name in _FILES},
        }
        self.store.write_json("run", finite(self.facts))


def kernels(switches: Any, when: str) -> dict[str, np.ndarray]:
    """`when/<layer path>` -> its kernel, float32, (... kernel axes and channels in, filters)."""
    found = {}
    for weight in switches.graph.weights:
        if weight.owned and weight.path in switches.graph.producers and len(weight.variable.shape) > 1:
            array = ops.convert_to_numpy(weight.variable).astype("float32")
            found[f"{when}/{weight.path}"] = np.moveaxis(array, weight.axis, -1)
    return found


def model_bytes(model: Any) -> bytes:
    """The model as the content of a `.keras` file, made in memory."""
    buffer = io.BytesIO()
    saving_lib.save_model(model, buffer)
    return buffer.getvalue()
