"""Recorder: writes down what a run does, in its folder; without a folder it does nothing."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from shrinknet.rebuild import uncompiled
from shrinknet.records import Trial, finite
from shrinknet.runstore import RunStore


class Recorder:
    """Keeps nothing. `Recorder.open(folder)` gives one that keeps everything."""

    @staticmethod
    def open(folder: str | os.PathLike[str] | None) -> Recorder:
        """The recorder for a run's folder; None: one that keeps nothing."""
        return Recorder() if folder is None else FolderRecorder(Path(folder))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left open."""

    def begin(self, config: dict[str, Any]) -> None:
        """The settings of the run."""

    def warmed_up(self, run: Any) -> None:
        """The state after the warm-up."""

    def trial(self, trial: Trial) -> None:
        """One decided trial."""

    def finished(self, run: Any, result: Any) -> None:
        """The end of the run."""


class FolderRecorder(Recorder):
    """Writes facts, journal, kernels and models through a `RunStore`."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore(folder, create=True)
        self.facts: dict[str, Any] = {}

    def begin(self, config: dict[str, Any]) -> None:
        self.facts = {"config": finite(_plain(config)), "environment": environment(), "summary": None}
        self.store.write_json("run", self.facts)

    def warmed_up(self, run: Any) -> None:
        self.facts |= {
            "score": {"name": run.scorer.name, "higher_is_better": run.scorer.higher_is_better},
            "baseline": run.baseline,
            "warmup": [{"step": step, "score": score} for step, score in run.warmup],
            "cost_before": run.cost_before.to_dict(),
        }
        self.kernels = kernels(run.switches, "before")
        self.store.write_json("run", finite(self.facts))
        with uncompiled(run.uncut):
            self.store.write_bytes("uncut.keras", model_bytes(run.uncut))

    def trial(self, trial: Trial) -> None:
        self.store.append(trial)

    def finished(self, run: Any, result: Any) -> None:
        removed: dict[str, list[int]] = {}
        for group in run.switches.groups:
            if group.name in run.switches.disabled:
                for filter in group.filters:
                    removed.setdefault(filter.layer, []).append(filter.index)
        self.facts |= {
            "summary": result.summary.to_dict(),
            "cost_after": run.cost().to_dict(),
            "removed": removed,
            "stopped": run.stopped,
        }
        self.store.write_arrays("kernels", {**self.kernels, **kernels(run.switches, "after")})
        self.store.write_bytes("switched.keras", model_bytes(result.switched))
        with uncompiled(result.model):
            self.store.write_bytes("slim.keras", model_bytes(result.model))
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
    """The model as the content of a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def environment() -> dict[str, str]:
    """Versions and machine, for the record."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("shrinknet", "keras", "tensorflow", "jax", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return {**versions, "python": platform.python_version(), "machine": machine}


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    return {key: value if isinstance(value, plain) else type(value).__name__ for key, value in config.items()}
