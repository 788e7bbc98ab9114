"""Minimize the edge network: data, loop, exports, pictures and page in one run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from keras import ops

from shrinknet.applications.edges.data import Cropping
from shrinknet.applications.edges.pictures import as_png, learning_pictures
from shrinknet.applications.edges.task import EdgeTask, edge_task
from shrinknet.engine.data import read_data
from shrinknet.exporters import Exported, Exports, export
from shrinknet.files.disk import write_file
from shrinknet.minimizer import Result, minimize
from shrinknet.network.switches import Switches
from shrinknet.records import finite
from shrinknet.report import write_page
from shrinknet.runs.lock import RunLock, refuse_if_held
from shrinknet.runs.resume import stored_seed
from shrinknet.runs.store import RunStore

BATCH_SIZE = 3  # the thesis's


@dataclass(frozen=True)
class EdgeResult:
    """A minimized edge detector.

    Attributes:
        result: what `minimize` returned.
        run: the run's folder; page: the HTML page in it.
        exports: the files written for production.
        skipped: photographs left out, and why.
    """

    result: Result
    run: Path
    page: Path
    exports: Exports
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: before, after, control_score, trials, model, page, run, stopped, exports, skipped."""
        summary = self.result.summary
        return finite(
            {
                "before": asdict(summary.before),
                "after": asdict(summary.after),
                "control_score": summary.control_score,
                "trials": [trial.to_dict() for trial in self.result.records],
                "model": self.exports[0].path,
                "page": str(self.page),
                "run": str(self.run),
                "stopped": summary.stopped,
                "exports": [asdict(record) for record in self.exports],
                "skipped": dict(self.skipped),
            }
        )


def minimize_edges(
    run_dir: str | Path,
    *,
    images: str | Path | None = None,
    edges: str = "canny",
    crop: int = 128,
    widths: tuple[int, ...] = (5, 5, 1),
    kernel: int = 5,
    learning_rate: float = 2e-3,
    seed: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    **options: Any,
) -> EdgeResult:
    """Trains the thesis's network on photographs and minimizes it; test photographs take part in no decision.

    Args:
        run_dir: folder for checkpoints, journal, models, exports, pictures and the page. A run that was interrupted
            goes on when the same call is made again; one that is finished answers at once.
        images: a folder of photographs; None: those that scikit-image carries.
        edges: "canny" or "sobel", the edge map that is learnt.
        crop: height and width of the crops in pixels; widths: filters of each convolution; kernel: size of the masks.
        learning_rate: of Adam; the thesis does not name its own.
        seed: of network, crops, order and strategy; None: that of the run in the folder, or a random one.
        on_error: "fail" raises at a photograph that cannot be used, "skip" lists it in the result.
        options: those of `minimize`.

    Raises:
        DataError, OptionError: see their sentences.
        RunError: the folder holds another run, or is being written by another process.
        StorageError: the disk is full or fails; what was decided before is kept.
    """
    refuse_if_held(run_dir)
    seed = stored_seed(run_dir) if seed is None else seed
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    task = edge_task(
        Cropping(crop, train=48, grid=3),
        widths=widths,
        kernel=kernel,
        learning_rate=learning_rate,
        target=edges,
        root=images,
        seed=seed,
        on_error=on_error,
    )
    data = task.data
    result = minimize(
        task.model,
        (data.train.x, data.train.y),
        (data.validation.x, data.validation.y),
        test_data=(data.test.x, data.test.y),
        batch_size=BATCH_SIZE,
        control=True,
        run_dir=run_dir,
        seed=seed,
        **options,
    )
    run = Path(run_dir)
    with RunLock(run):
        store = RunStore(run)
        exports = _exported(store)
        if not exports:
            exports = export(result.model, run / "export", sample=data.test.x[:4])
            _write_pictures(store, task, result, exports, seed)
        page = write_page(run)
    return EdgeResult(result, run, page, exports, data.skipped)


def _exported(store: RunStore) -> Exports:
    """What a finished run wrote; empty where something is missing or damaged."""
    facts = store.read_json("run")
    records = [Exported(**{**record, "path": str(store.path / "export" / record["path"])})
               for record in facts.get("exports", ())]  # fmt: skip
    digests = facts.get("export_digests", {})
    whole = all(Path(record.path).is_file() and _digest(record) == digests.get(record.format) for record in records)
    return Exports(records if whole else ())


def _digest(record: Exported) -> str:
    return hashlib.sha256(Path(record.path).read_bytes()).hexdigest()


def _write_pictures(store: RunStore, task: EdgeTask, result: Result, exports: Exports, seed: int) -> None:
    """Adds to the run what only this application knows: outputs for test photographs, masks and feature maps."""
    part = task.samples()
    outputs = {
        name: ops.convert_to_numpy(model(part.x)) for name, model in (("before", result.uncut), ("after", result.model))
    }
    store.write_arrays("samples", {"input": part.x, "truth": part.y, **outputs, "names": np.array(part.names)})
    train = read_data((task.data.train.x, task.data.train.y), BATCH_SIZE, "training data")
    removed: dict[str, list[int]] = {}
    for filter in Switches(result.switched).disabled:
        removed.setdefault(filter.layer, []).append(filter.index)
    pictures = learning_pictures(task.model, result.uncut, result.model, removed, train, part.x[0], seed)
    store.write_arrays("pictures", pictures)
    (store.path / "pictures").mkdir(exist_ok=True)
    kernels = {name.replace("/", "/mask/", 1): kernel for name, kernel in store.read_arrays("kernels").items()}
    for name, content in as_png({**pictures, **kernels}).items():
        write_file(store.path / "pictures" / f"{name}.png", content)
    records = [{**asdict(record), "path": Path(record.path).name} for record in exports]
    store.write_json("run", {**store.read_json("run"), "task": "edges", "exports": records,
                              "export_digests": {record.format: _digest(record) for record in exports},
                              "skipped": dict(task.data.skipped)})  # fmt: skip
