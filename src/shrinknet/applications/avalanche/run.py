"""`minimize_avalanche`: the avalanche task, run in a folder; whole photographs are scored, and field files written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche.dense import dense_network
from shrinknet.applications.avalanche.folder import Slopes, read
from shrinknet.applications.avalanche.generation import generate
from shrinknet.applications.avalanche.prediction import predict_image, predictor
from shrinknet.applications.avalanche.sampling import split_images
from shrinknet.applications.avalanche.task import Windowing, avalanche_task, threshold_of
from shrinknet.applications.avalanche.training import image_scores
from shrinknet.applications.running import Finished, run_task
from shrinknet.errors import ModelError
from shrinknet.exporters import export
from shrinknet.files.disk import write_file
from shrinknet.files.tables import csv_bytes, read_csv
from shrinknet.loop.settings import RunFolder

FIELD = "field"  # folder of the files for the field
TABLE = "photographs.csv"
TILE = 256  # pixels a side of what the field files take at once, with surroundings
SYNTHETIC = {"count": 30, "size": 192}  # slopes that are drawn where no folder is given
SCORES = ("accuracy", "iou", "f1", "boundary_f1")


def minimize_avalanche(
    run_dir: str | Path | RunFolder,
    *,
    data: str | Path | None = None,
    windowing: Windowing | None = None,
    classifier: Mapping[str, Any] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Finished:
    """Trains a window classifier on slopes and minimizes it; test photographs influence no decision.

    Besides what `run_task` writes, the run folder gets `photographs.csv`, the scores of whole test photographs before,
    after and for the control; and `field/`, dense networks for `shrinknet predict avalanche` that mark best at a
    probability of 1/2: the classifier's bias is shifted by the threshold that is best on the validation photographs.

    Args:
        run_dir: folder for everything. Repeating the call resumes an interrupted run; a finished one returns at once.
        data: a folder of slopes, see `read`; None: synthetic slopes, drawn into a folder beside that of the run.
        windowing: shape and number of the windows; None: the defaults.
        classifier: options of `window_classifier`, such as kind, widths or weights.
        seed: of kernels, division, windows, order and strategy; None: that of the run in the folder, or a random one.
        options: those of `run_task` and `minimize`.

    Raises:
        DataError, OptionError, ModelError: see their messages.
        RunError: the folder contains another run, or another process is writing to it.
        StorageError: the disk is full or fails; what was decided before is kept.
    """
    how = windowing or Windowing()
    folder = Path(run_dir.path if isinstance(run_dir, RunFolder) else run_dir)
    used: dict[str, Any] = {}

    def make(chosen: int) -> Any:
        used["slopes"] = read(data) if data is not None else synthetic_slopes(folder)
        used["seed"] = chosen
        return avalanche_task(used["slopes"], how, seed=chosen, **(classifier or {}))

    finished = run_task(make, run_dir, seed=seed, **options)
    parts = split_images(used["slopes"], seed=used["seed"])
    table = _scored(finished, used["slopes"], parts, how, folder / TABLE)
    field = _field_files(finished, used["slopes"], parts, how, folder / FIELD)
    return replace(finished, facts={**finished.facts, "photographs": summary_of(table), "field": field})


def synthetic_slopes(run: Path) -> Slopes:
    """Slopes that are drawn beside a run where no folder of photographs is given; the same for every run."""
    folder = run.absolute().parent / "synthetic-slopes"
    if not folder.exists():
        generate(folder, SYNTHETIC["count"], SYNTHETIC["size"], 0)
    return read(folder)


def summary_of(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Network -> threshold and mean scores over the test photographs, of the table in `photographs.csv`."""
    means = table.groupby("network", sort=False)[["threshold", *SCORES]].mean()
    return {str(name): {str(score): float(value) for score, value in row.items()} for name, row in means.iterrows()}


def whole_image_scores(
    model: Any, slopes: Slopes, parts: Mapping[str, tuple[str, ...]], how: Windowing
) -> pd.DataFrame:
    """Scores of every test photograph, at the threshold that is best on the validation photographs.

    Bodies that pad are approximated: window by window, they take minutes for a photograph.
    """
    ready = predictor(model, "fast")
    limit = threshold_of(ready, slopes, parts["validation"], how)
    scores = image_scores(ready, slopes, parts["test"], channels=how.shape[2], threshold=limit, levels=how.levels)
    return scores.assign(threshold=limit)


def megapixels_a_second(model: Any, side: int = 512, rounds: int = 3) -> float:
    """How fast whole images are predicted: the best of several rounds on one of `side` x `side` pixels."""
    ready = predictor(model)
    image = np.random.default_rng(0).integers(0, 256, (side, side, ready.channels), dtype=np.uint8)
    times = []
    for _ in range(rounds + 1):  # the first one compiles
        start = time.perf_counter()
        predict_image(ready, image)
        times.append(time.perf_counter() - start)
    return side * side / 1e6 / min(times[1:])


def in_the_field(classifier: Any, threshold: float) -> Any:
    """A dense network that says 1/2 where the classifier says `threshold`.

    Args:
        classifier: of `window_classifier`, or what is left of it; its last layer is dense and without activation.
        threshold: in (0, 1).

    Raises:
        ModelError: the last layer is another one, or the classifier cannot be applied to whole images exactly.
    """
    import keras

    dense = dense_network(classifier)
    last = dense.layers[-1]
    while not hasattr(last, "kernel"):  # croppings that follow
        last = last.input._keras_history.operation
    if getattr(last, "bias", None) is None or last.activation is not keras.activations.linear:
        raise ModelError(
            f"The network {classifier.name} does not end in a layer with a bias and without an activation, which the "
            "threshold could be moved into; use dense_network, and the threshold when you predict."
        )
    last.bias.assign_add(np.full(last.bias.shape, -np.log(threshold / (1 - threshold)), np.float32))
    return keras.Model(dense.input, dense.output, name="avalanche")


def _scored(finished: Finished, slopes: Slopes, parts: Any, how: Windowing, path: Path) -> pd.DataFrame:
    """The scores of the networks before and after and of the control, from the file if it is there."""
    if path.exists():
        return read_csv(path)
    result = finished.result
    networks = {"before": result.uncut, "after": result.model, "control": result.control}
    tables = [
        whole_image_scores(model, slopes, parts, how).assign(network=name)
        for name, model in networks.items()
        if model is not None
    ]
    table = pd.concat(tables, ignore_index=True)
    table = table[["network", "image", "threshold", "tp", "fp", "fn", "tn", *SCORES]]
    write_file(path, csv_bytes(table))
    return table


def _field_files(finished: Finished, slopes: Slopes, parts: Any, how: Windowing, folder: Path) -> dict[str, Any]:
    """The dense network for the field in the formats of the run; none for bodies that pad, or for pyramids."""
    wanted = [one.format for one in finished.exports if one.format in ("keras", "litert", "onnx")]
    if how.levels:
        return {"refused": "the network was trained on a level of the Gaussian pyramid; predict with `predicted`"}
    limit = threshold_of(finished.result.model, slopes, parts["validation"], how)
    try:
        network = in_the_field(finished.result.model, limit)
    except ModelError as error:
        return {"threshold": limit, "refused": str(error)}
    paths = {name: folder / f"avalanche{suffix}" for name, suffix in _SUFFIXES.items() if name in wanted}
    if not all(path.exists() for path in paths.values()):
        sample = np.random.default_rng(0).random((1, TILE, TILE, how.shape[2]), np.float32)
        export(network, folder, wanted, sample, input_shape=(TILE, TILE, how.shape[2]))
    return {"threshold": limit, **{name: str(path) for name, path in paths.items()}}


_SUFFIXES: Mapping[str, str] = {"keras": ".keras", "litert": ".tflite", "onnx": ".onnx"}
