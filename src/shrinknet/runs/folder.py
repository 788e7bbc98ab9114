"""FolderRecorder: saves a run in a folder.

The folder contains two generations of checkpoints (`state-0.npz`, `state-1.npz`), written alternately after every tenth
of the warm-up and after every decided trial. Each is complete: the network and its optimizer, the trials so far, and
the settings that the run started with. Everything else is derived from them, and is repaired when the run is resumed.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras.src.saving import saving_lib

from shrinknet.errors import RunError, StorageError, first_line
from shrinknet.files.disk import storage_error
from shrinknet.files.models import reopened
from shrinknet.network.compiled import uncompiled
from shrinknet.records import finite
from shrinknet.runs.fingerprint import of_environment
from shrinknet.runs.generations import Generations
from shrinknet.runs.journal import encode
from shrinknet.runs.lock import RunLock
from shrinknet.runs.recorder import After, Before, ControlState, FinalState, Saved, Snapshot, State
from shrinknet.runs.resume import ANCHOR, compare, mend_journal, read_saved, summary_of, tell
from shrinknet.runs.store import RunStore

_FILES = ("kernels.npz", "slim.keras", "switched.keras", "uncut.keras")
_BEGAN = ("config", "identity", "environment")
_LOG = logging.getLogger("shrinknet")


class FolderRecorder:
    """Saves a run in its folder, which is locked for this process until it is closed; see `Recorder`.

    Args:
        folder: a new or empty folder, or that of a run, which is then resumed.
        force: if the folder contains a different or damaged run, rename it and start a new one; otherwise that is an
            error.
        strict: whether other versions, threads or devices than at the start of the run are an error or a warning.
        new_data: whether the run may continue with other data than it started with.

    Raises:
        RunError: the folder contains something else, or is being written by another process.
        StorageError: it cannot be written to.
    """

    def __init__(self, folder: Path, force: bool = False, strict: bool = False, new_data: bool = False) -> None:
        self.force = force
        self.strict = strict
        self.new_data = new_data
        self.facts: dict[str, Any] = {}
        self.began: Mapping[str, Any] = {}
        self._saved: Saved | None = None
        self._kernels: dict[str, Any] = {}
        self._open(folder)

    def _open(self, folder: Path) -> None:
        self.store = RunStore(folder, create=True)
        self.lock = RunLock(folder)
        names = ("state", "warm", "control", "final")
        self.states, self.warm, self.controls, self.finals = (Generations(self.store, name) for name in names)

    def __enter__(self) -> FolderRecorder:
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()

    # -- the saved state

    def begin(
        self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]], limits: Collection[str] = ()
    ) -> Saved | None:
        new = finite({"config": dict(config), "identity": identity(), "environment": of_environment()})
        self.store.sweep(seconds=0)
        try:
            began = self._read()
            if began:
                compare(self.store, began, new, strict=self.strict, new_data=self.new_data, limits=limits)
                if self._saved and any(began["config"].get(name) != new["config"].get(name) for name in limits):
                    self._saved = replace(self._saved, summary=None)  # its end has moved, so the old summary is void
                new["environment"] = began["environment"]
            mend_journal(self.store, self._saved.snapshot.trials if self._saved else ())
        except StorageError:
            raise
        except RunError as error:
            if not self.force:
                raise
            self._set_beside(error)
        self.began = new
        if not self.is_over:
            self.facts = {**new, "summary": None, "stopped": "", "finished": False}
            self.store.write_json("run", self.facts)
        return self._saved

    @property
    def is_over(self) -> bool:
        """Whether the run is finished and none of its files is missing."""
        return self._saved is not None and self._saved.summary is not None

    def _read(self) -> Mapping[str, Any]:
        """Reads the folder; returns what its run started with, empty if a new run starts."""
        try:
            self.facts = self.store.read_json("run") if self.store.has("run.json") else {}
        except RunError as error:
            tell([str(error)])
        self._saved = read_saved(self.store, self.states, summary_of(self.store, self.facts))
        if self._saved is not None:
            return self._saved.began
        if self.facts and not all(isinstance(self.facts.get(name), dict) for name in _BEGAN):
            raise RunError(
                f"{self.store.path} contains a run that cannot be resumed: run.json does not say what it started "
                "with. Choose another folder, or pass force=True (--force): the old folder is then renamed."
            )
        return self.facts

    def _set_beside(self, reason: RunError) -> None:
        """Renames the folder and creates a new one in its place."""
        folder = self.store.path
        names = (folder.with_name(f"{folder.name}.old{number}") for number in range(1, 1_000_000))
        beside = next(path for path in names if not path.exists())
        try:
            self.store.disk.replace(folder, beside)
            self.store.disk.sync_folder(folder.absolute().parent)
        except OSError as error:
            raise storage_error(folder, error) from error
        self.lock.release()
        _LOG.warning("%s The old run is now in %s.", reason, beside)
        self._saved, self.facts = None, {}
        self._open(folder)

    def warm_state(self) -> State:
        warm = self.warm.read()
        tell(self.warm.damage)
        if warm is None:
            raise RunError(
                f"The state after the warm-up is lost: both warm-0.npz and warm-1.npz in {self.store.path} are damaged "
                "or missing. Restore a copy of one, or start over in another folder."
            )
        return warm[1]

    def control(self) -> ControlState | None:
        saved = self.controls.read()
        tell(self.controls.damage)
        facts, arrays = saved or ({}, {})
        if not isinstance(facts.get("numbers"), list):
            return None
        return ControlState(tuple(facts["numbers"]), facts["position"], arrays)

    # -- events

    def warming(self, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        self._save(snapshot, arrays())

    def warmed_up(self, before: Before, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        self._kernels = {f"before/{path}": kernel for path, kernel in before.kernels.items()}
        if self.is_over:
            return
        self.facts |= {
            "score": {"name": before.score, "higher_is_better": before.higher_is_better},
            "baseline": snapshot.baseline,
            "warmup": [{"step": step, "score": score} for step, score in snapshot.warmup],
            "cost_before": before.cost.to_dict(),
        }
        self.store.write_json("run", finite(self.facts))
        with uncompiled(before.uncut):
            self.store.write_bytes("uncut.keras", model_bytes(before.uncut))
        if self._saved is None or self._saved.snapshot.baseline is None:
            state = arrays()
            for _ in range(2):  # it is never written again, so one is a backup of the other
                self.warm.write({}, state)
            self._save(snapshot, state)

    def decided(self, snapshot: Snapshot, arrays: Callable[[], State], anchor: State | None = None) -> None:
        apart = {f"{ANCHOR}{name}": array for name, array in (anchor or {}).items()}
        self._save(snapshot, {**arrays(), **apart})
        self.store.append(snapshot.trials[-1])

    def kept(self, number: int, arrays: Callable[[], State]) -> None:
        self.store.write_arrays(point_name(number), dict(arrays()))

    def final(self) -> FinalState | None:
        saved = self.finals.read()
        tell(self.finals.damage)
        facts, arrays = saved or ({}, {})
        if not isinstance(facts.get("numbers"), list):
            return None
        score = math.nan if facts["score"] is None else facts["score"]
        stopped = facts.get("stopped", False)
        return FinalState(tuple(facts["numbers"]), facts["done"], score, facts["position"], arrays, stopped)

    def finalizing(self, state: FinalState) -> None:
        facts = {"numbers": list(state.numbers), "done": state.done, "score": state.score, "stopped": state.stopped}
        self.finals.write({**facts, "position": dict(state.position)}, state.arrays)

    def controlled(self, numbers: tuple[int, ...], position: Mapping[str, int], arrays: Callable[[], State]) -> None:
        self.controls.write({"numbers": list(numbers), "position": dict(position)}, arrays())

    def _save(self, snapshot: Snapshot, arrays: State) -> None:
        scores = [[step, score if math.isfinite(score) else repr(score)] for step, score in snapshot.warmup]
        facts = {
            "run": self.began,
            "warmup": scores,
            "baseline": snapshot.baseline,
            "trials": [encode(trial) for trial in snapshot.trials],
            "position": dict(snapshot.position),
            "engine": dict(snapshot.decided),
            "results": list(snapshot.results),
            "elapsed": snapshot.elapsed,
            "anchor": snapshot.anchor,
            "latency": snapshot.latency,
            "guards": dict(snapshot.guards),
        }
        self.states.write(facts, arrays)

    def finished(self, after: After) -> None:
        if self.is_over:
            return
        kernels = {f"after/{path}": kernel for path, kernel in after.kernels.items()}
        self.store.write_arrays("kernels", {**self._kernels, **kernels})
        self.store.write_bytes("switched.keras", model_bytes(after.switched))
        with uncompiled(after.slim):
            self.store.write_bytes("slim.keras", model_bytes(after.slim))
        self._check_that_it_opens(after.slim)
        self.facts |= {
            "summary": after.summary.to_dict(),
            "cost_after": after.cost.to_dict(),
            "removed": dict(after.removed),
            "stopped": after.summary.stopped,
            "finished": after.finished,
            "files": {name: self.store.digest(name) for name in _FILES},
        }
        self.store.write_json("run", finite(self.facts))

    def _check_that_it_opens(self, slim: Any) -> None:
        """Warns if Keras saves the slim network and cannot open the file, while the network is still in memory."""
        try:
            reopened(self.store.path / "slim.keras", slim)
        except Exception as error:
            _LOG.warning(
                "Keras wrote slim.keras, but cannot open it (%s). The network that minimize returns is right: export "
                "it in another format, such as litert.", first_line(error)
            )  # fmt: skip


def point_name(number: int) -> str:
    """The file of the state after an accepted trial, without its extension."""
    return f"point-{number:04d}"


def model_bytes(model: Any) -> bytes:
    """The content of a `.keras` file with the model, created in memory."""
    buffer = io.BytesIO()
    saving_lib.save_model(model, buffer)
    return buffer.getvalue()
