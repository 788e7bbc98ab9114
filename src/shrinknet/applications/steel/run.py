"""`minimize_steel`: a steel task, run in a folder; and int8 by quantization-aware training at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shrinknet.applications.running import Finished, at_shape, run_task
from shrinknet.applications.steel.checking import check_images
from shrinknet.applications.steel.layout import SHAPE
from shrinknet.applications.steel.table import Plates, read
from shrinknet.applications.steel.task import RANGES, SCORES, Design, chosen_plates, part_arrays, steel_task
from shrinknet.exporters import Exports
from shrinknet.files.disk import write_file
from shrinknet.loop.settings import RunFolder

QUANTIZED = "quantization-aware.json"  # in the run folder: the records of `quantize`


def minimize_steel(
    run_dir: str | Path | RunFolder,
    *,
    data: str | Path,
    design: Design | None = None,
    seed: int | None = None,
    quantize_epochs: int = 0,
    shape: tuple[int, int] = SHAPE,
    score: Any = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Finished:
    """Trains a network on plates of steel and minimizes it; test plates influence no decision.

    Args:
        run_dir: folder for checkpoints, journal, models, exports, pictures and the page. Repeating the call resumes an
            interrupted run; a finished one returns at once.
        data: folder of plates in the competition's layout, such as `generate` makes; every image is decoded once before
            anything is trained.
        design: the network and how plates are prepared for it; None: the default U-Net.
        seed: of weights, split, order and strategy; None: that of the run in the folder, or a random one.
        quantize_epochs: passes of quantization-aware training, from 0; 0: no such file.
        shape: height and width of the plates in the folder.
        score: what decides; None: "dice_marked" for the U-Net, "f1" for classifiers.
        progress: called with images checked and images in all.
        options: those of `run_task` and `minimize`.

    Raises:
        RunError: the folder contains another run, or another process is writing to it.
        StorageError: the disk is full or fails; what was decided before is kept.
    """
    design = design or Design()
    if quantize_epochs:
        _require_tfmot()
    found: list[Plates] = []  # what `make` read, for the int8 file

    def make(given: int) -> Any:
        plates = read(data, shape)
        check_images(plates, progress=progress)
        found.append(plates)
        return steel_task(plates, design, seed=given)

    score = SCORES[design.network] if score is None else score
    finished = run_task(make, run_dir, seed=seed, score=score, **options)
    if quantize_epochs:
        _quantized(finished, found[0], design, quantize_epochs, score)
    return finished


def quantize(
    model: Any, folder: Path, plates: Plates, design: Design, *, seed: int, epochs: int, score: Any = None
) -> Exports:
    """Trains a slim network with simulated int8 rounding, and writes it as a LiteRT file with a score on test plates.

    The training plates are held in memory; the first 1,000 are used.

    Returns:
        A record for the network in LiteRT and one for its int8 file; or none and a reason in `refused`, where
        tensorflow-model-optimization does not take the network.
    """
    from shrinknet.compression import compress

    sample = chosen_plates(plates, design, seed)
    rows = sample[sample["part"] == "train"].head(10 * RANGES)
    train = part_arrays(plates, rows, design, "train")
    test = part_arrays(plates, sample, design, "test")
    whole = at_shape(model, design.shape)
    return compress(
        whole, folder, train, ["quantization-aware"], score=SCORES[design.network] if score is None else score,
        test_data=test, epochs=epochs, batch_size=design.batch, learning_rate=2e-4, seed=seed,
    )  # fmt: skip


def _quantized(finished: Finished, plates: Plates, design: Design, epochs: int, score: Any) -> None:
    """Writes the int8 file of a finished run and its record, unless it is there."""
    record = finished.run / QUANTIZED
    if record.exists():
        return
    seed = json.loads((finished.run / "run.json").read_text())["config"]["seed"]
    files = quantize(
        finished.result.model, finished.run / "export", plates, design, seed=seed, epochs=epochs, score=score
    )
    rows = [{**asdict(one), "path": Path(one.path).name} for one in files]
    write_file(record, (json.dumps({"files": rows, "refused": list(files.refused)}, indent=2) + "\n").encode())


def _require_tfmot() -> None:
    from shrinknet.extras import require_extra

    require_extra("tfmot", "tf_keras", "tensorflow_model_optimization")
