"""Runs a task: minimizes its model, exports the result, draws pictures and writes the page, in one run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.applications.learning import as_png, learning_pictures
from shrinknet.applications.task import Task
from shrinknet.engine.data import read_data
from shrinknet.exporters import DEFAULT_FORMATS, Exported, Exports, export
from shrinknet.files.disk import write_file
from shrinknet.imaging.states import Kernel, Picture
from shrinknet.loop.settings import RunFolder
from shrinknet.minimizer import Result, check_options, minimize
from shrinknet.network.switches import Switches
from shrinknet.records import finite
from shrinknet.report import write_page
from shrinknet.runs.lock import RunLock, refuse_if_held
from shrinknet.runs.resume import stored_seed
from shrinknet.runs.store import RunStore


@dataclass(frozen=True)
class Finished:
    """A finished task.

    Attributes:
        task: its name; result: the result of `minimize`.
        run: the run folder; page: the HTML page in it.
        exports: the files written for production.
        facts: the facts that the task added.
    """

    task: str
    result: Result
    run: Path
    page: Path
    exports: Exports
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: before, after, control_score, trials, model, page, run, stopped, exports, task facts."""
        summary = self.result.summary
        return finite(
            {
                "before": asdict(summary.before),
                "after": asdict(summary.after),
                "control_score": summary.control_score,
                "trials": [trial.to_dict() for trial in self.result.records],
                "model": self.exports[0].path if self.exports else str(self.run / "slim.keras"),
                "page": str(self.page),
                "run": str(self.run),
                "stopped": summary.stopped,
                "exports": [asdict(record) for record in self.exports],
                **self.facts,
            }
        )


def run_task(
    make: Callable[[int], Task],
    run_dir: str | Path | RunFolder,
    *,
    seed: int | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    **options: Any,
) -> Finished:
    """Runs a task in a folder; repeating the call resumes an interrupted run.

    Args:
        make: returns the task for a seed, with model and data; called after all options have been checked.
        run_dir: folder for checkpoints, journal, models, exports, pictures and the page.
        seed: of everything; None: that of the run in the folder, or a random one.
        formats: of the exported files, see `export`.
        options: those of `minimize`.

    Raises:
        OptionError, DataError, ModelError: see their messages.
        RunError: the folder contains another run, or another process is writing to it.
        StorageError: the disk is full or fails; what was decided before is kept.
    """
    folder = Path(run_dir.path if isinstance(run_dir, RunFolder) else run_dir)
    check_options(**options, seed=seed, run_dir=run_dir)
    refuse_if_held(folder)
    seed = stored_seed(folder) if seed is None else seed
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    task = make(seed)
    options = {"control": True, "batch_size": task.batch_size, "test_data": task.test, **options}
    result = minimize(task.model, task.train, task.validation, run_dir=run_dir, seed=seed, **options)
    with RunLock(folder):
        store = RunStore(folder)
        exports = _exported(store)
        if not exports:
            sample = task.sample if task.sample is not None or task.samples is None else task.samples.x[:4]
            shipped = result.model if task.input_shape is None else at_shape(result.model, task.input_shape)
            exports = export(shipped, folder / "export", formats, sample=sample, agreement=task.agreement)
            _add_to_run(store, task, result, exports)
            _draw(store, task, result, options["batch_size"], seed)
        page = write_page(folder)
    return Finished(task.name, result, folder, page, exports, task.facts)


def at_shape(model: Any, input_shape: tuple[int, ...]) -> Any:
    """A copy of a model that leaves sizes open: it takes inputs of this shape only, and is not compiled.

    Args:
        model: with one input; input_shape: of one sample, without the batch axis.
    """
    fixed = keras.models.clone_model(model, input_tensors=keras.Input(input_shape, name=model.inputs[0].name))
    fixed.set_weights(model.get_weights())
    return fixed


def _exported(store: RunStore) -> Exports:
    """The files that a finished run exported; empty if any is missing or damaged."""
    facts = store.read_json("run")
    records = [Exported(**{**record, "path": str(store.path / "export" / record["path"])})
               for record in facts.get("exports", ())]  # fmt: skip
    digests = facts.get("export_digests", {})
    whole = all(Path(record.path).exists() and _digest(record) == digests.get(record.format) for record in records)
    return Exports(records if whole else ())


def _digest(record: Exported) -> str:
    """SHA-256 of a file, or of all files in a folder with their names."""
    path, digest = Path(record.path), hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        digest.update(b"" if file == path else str(file.relative_to(path)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _add_to_run(store: RunStore, task: Task, result: Result, exports: Exports) -> None:
    """Adds the facts of the task to run.json."""
    records = [{**asdict(record), "path": Path(record.path).name} for record in exports]
    facts = {"task": task.name, "exports": records, "export_digests": {one.format: _digest(one) for one in exports}}
    store.write_json("run", {**store.read_json("run"), **facts, **task.facts})


def _draw(store: RunStore, task: Task, result: Result, batch_size: int, seed: int) -> None:
    """Writes outputs for test samples before and after, masks and feature maps, as arrays and as PNG files."""
    if task.samples is None:
        return
    samples = task.samples
    shown = samples.shown or (lambda model: _outputs(model, samples.x))
    outputs = {name: shown(model) for name, model in (("before", result.uncut), ("after", result.model))}
    arrays = {"input": samples.x, "truth": samples.y, **outputs, "names": np.array(samples.names, str)}
    store.write_arrays("samples", arrays)
    kernels = {
        Picture(kernel.state, "mask", kernel.layer): array
        for key, array in store.read_arrays("kernels").items()
        for kernel in [Kernel.of(key)]
    }
    pictures: dict[Picture, np.ndarray] = {}
    inputs = samples.x if samples.shown is None else task.sample
    if np.ndim(inputs) == 4:
        removed: dict[str, list[int]] = {}
        for filter in Switches(result.switched).disabled:
            removed.setdefault(filter.layer, []).append(filter.index)
        train = read_data(task.train, batch_size, "training data")
        pictures = learning_pictures(task.model, result.uncut, result.model, removed, train, inputs[0], seed)
        store.write_arrays("pictures", {picture.key: array for picture, array in pictures.items()})
    (store.path / "pictures").mkdir(exist_ok=True)
    for name, content in as_png({**pictures, **kernels}).items():
        write_file(store.path / "pictures" / f"{name}.png", content)


def _outputs(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(keras.tree.flatten(model(x, training=False))[0]))
