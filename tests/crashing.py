"""A run that can be killed: a tiny minimization whose steps are sums, failing disks, and a comparison of bits."""

from __future__ import annotations

import errno
import hashlib
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import keras
import numpy as np
import pytest

import shrinknet.loop.pupil
import shrinknet.loop.workbench
from shrinknet import minimize
from shrinknet.engine.common import CommonEngine
from shrinknet.files.disk import Disk
from shrinknet.network.checkpoint import to_arrays
from shrinknet.runs.store import RunStore

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(12, 3)).astype("float32")
Y = RANDOM.normal(size=(12, 1)).astype("float32")
# Three checkpoints in the warm-up, five trials of which some are rejected, and a control.
OPTIONS: dict[str, Any] = {
    "preset": "thesis",
    "warmup_steps": 3, "steps": 2, "strategy": "random", "threshold": 0.9, "max_trials": 5, "pace": "adaptive",
    "control": True, "seed": 4, "batch_size": 4, "verbose": 0,
}  # fmt: skip


class Sums(CommonEngine):
    """Trains without a graph: each step changes every float by an amount computed from seed, batch and state."""

    def _train_part(self, part: Any) -> int:
        for rows in self.rows(part):
            noise = float(keras.random.uniform((), seed=self.draws))
            for place, variable in enumerate((*self.net.trainable_variables, *self.net.optimizer.variables)):
                if "float" in str(variable.dtype):
                    value = np.asarray(variable.value)
                    variable.assign(value * np.float32(0.97) + np.float32(np.sin(rows.sum() + place + noise) / 50))
        self.net.optimizer.iterations.assign_add(part.steps)
        return int(part.steps)

    def evaluate(self, feed: Any = None) -> dict[str, float]:
        score = sum(float(np.abs(np.asarray(weight)).sum()) for weight in self.net.trainable_weights)
        return {"loss": 1.0 + abs(np.sin(100 * score)) / 3}

    @property
    def draws(self) -> Any:
        """The network's own random numbers: state that must be restored like the rest."""
        return self.net.get_layer("dropout").seed_generator


def model() -> Any:
    """Two dense layers of four and three units with dropout between them."""
    keras.utils.set_random_seed(5)
    net = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="tanh", name="first"),
            keras.layers.Dropout(0.1, seed=1, name="dropout"),
            keras.layers.Dense(3, activation="tanh", name="second"),
            keras.layers.Dense(1, name="out"),
        ],
        name="tiny",
    )
    net.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return net


@contextmanager
def sums() -> Iterator[None]:
    """Within the block, `minimize` trains with `Sums` and measures no latency."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shrinknet.loop.workbench, "make_engine", Sums)
        patch.setattr(shrinknet.loop.pupil, "make_engine", Sums)
        patch.setattr("shrinknet.loop.result.measured_latencies", lambda models, *_, **__: [None] * len(models))
        yield


def story(folder: pathlib.Path | None, disk: Disk | None = None, **options: Any) -> Any:
    """One tiny run, or the rest of an interrupted one."""
    with sums(), pytest.MonkeyPatch.context() as patch:
        if disk is not None:
            patch.setattr("shrinknet.runs.store.Disk", lambda: disk)
        return minimize(model(), (X, Y), (X, Y), run_dir=folder, **{**OPTIONS, **options})


def training(folder: pathlib.Path, **options: Any) -> Any:
    """The same with real training: a convolution with BatchNormalization and Dropout, in the compiled loop."""
    keras.utils.set_random_seed(6)
    layers = [
        keras.Input((6, 6, 1)),
        keras.layers.Conv2D(4, 3, activation="relu", name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Conv2D(3, 3, activation="relu", name="second"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dropout(0.2, name="dropout"),
        keras.layers.Dense(1, name="out"),
    ]
    net = keras.Sequential(layers, name="small")
    net.compile(keras.optimizers.Adam(0.01), "mse")
    data = np.resize(X, (12, 6, 6, 1)), Y
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shrinknet.loop.result.measured_latencies", lambda models, *_, **__: [None] * len(models))
        return minimize(net, data, data, run_dir=folder, **{**OPTIONS, "threshold": 0.5, **options})


def bits(result: Any) -> str:
    """A digest of the final state of a run, except for times: weights, optimizer, seeds, switches, trials."""
    digest = hashlib.sha256()
    for array in [*to_arrays(result.switched).values()][:-1]:  # the last belongs to the whole process, not to the run
        digest.update(array.tobytes())
    for net in (result.model, result.uncut, result.control):
        for variable in net.weights if net is not None else ():
            digest.update(np.asarray(variable).tobytes())
    digest.update(repr([untimed(trial) for trial in result.records]).encode())
    digest.update(repr((result.warmup, result.baseline, result.summary)).encode())
    return digest.hexdigest()


def untimed(trial: Any) -> dict[str, Any]:
    """A trial without its time column."""
    return {name: value for name, value in trial.to_dict().items() if name != "seconds"}


def journal(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The trials in a run's folder, without their time column."""
    return [untimed(trial) for trial in RunStore(folder).trials()]


class Killed(BaseException):
    """Simulates the end of the process: nothing that runs after it may reach the disk."""


class Failing(Disk):
    """Fails at one numbered operation: before it, or after half of a write.

    Args:
        fail_at: number of the operation, from 1; 0: never fails, only counts.
        error: what is raised; lasting: also fail at every later operation.
    """

    def __init__(self, fail_at: int = 0, error: BaseException | None = None, lasting: bool = False) -> None:
        self.count, self.fail_at, self.lasting = 0, fail_at, lasting
        self.error = error or full_disk()
        self.actions: list[str] = []

    def _due(self, action: str) -> bool:
        self.count += 1
        self.actions.append(action)
        return bool(self.fail_at) and (self.count == self.fail_at or (self.lasting and self.count > self.fail_at))

    def write(self, file: BinaryIO, data: Any) -> None:
        if self._due("write"):
            super().write(file, data[: len(data) // 2])
            raise self.error
        super().write(file, data)

    def __getattribute__(self, name: str) -> Any:
        action = super().__getattribute__(name)
        if name not in ("sync", "replace", "sync_folder", "remove", "commit"):
            return action

        def step(*arguments: Any) -> None:
            if self._due(name):
                raise self.error
            action(*arguments)

        return step


def full_disk() -> OSError:
    """The error of a full disk."""
    return OSError(errno.ENOSPC, "No space left on device")
