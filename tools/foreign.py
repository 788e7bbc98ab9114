"""Cuts small networks of kimm and keras-hub in half and compares; `python tools/zoo.py --foreign` calls it.

The packages are installed without their dependencies into a folder of their own, build/foreign, and nothing is
downloaded but they: every network has random weights.
"""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import keras
from foreign_page import page_of
from foreign_vision import VISION
from halving import (
    Row,
    answer,
    convolution_filters,
    disable_half,
    inputs_for,
    redraw,
    resumed,
    settle_statistics,
)

from shrinknet import Switches, slim, switched
from shrinknet.cutting.slimmer import verify
from shrinknet.network.proving import prove

PINNED = ("kimm==0.2.5", "keras-hub==0.32.0", "tensorflow-text==2.21.1", "regex==2026.11.19", "tokenizers==0.23.3")
FOLDER = Path(__file__).parents[1] / "build" / "foreign"


def make_importable(folder: Path | None = None) -> None:
    """Makes kimm and keras-hub importable; see `install`."""
    sys.modules["kagglehub"] = None  # type: ignore[assignment]  # keras-hub then downloads nothing
    install(PINNED, FOLDER, "keras_hub", folder)


def install(pinned: Sequence[str], own: Path, module: str, folder: Path | None = None) -> None:
    """Makes packages importable, after everything that is installed; pip installs them where they are missing.

    Args:
        pinned: what pip installs, without dependencies, once, into the folder `own`; module: one of theirs.
        folder: where they are already; None: in `own`.
    """
    if folder is None and not (own / module).exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(own), *pinned]
        subprocess.run(command, check=True)
    sys.path.append(str(folder or own))


def examine(name: str) -> Row:
    """Builds one network, cuts it in half and compares; one row of the table. A failure is a row with its message."""
    keras.utils.clear_session()
    gc.collect()
    keras.utils.set_random_seed(0)
    known = VISION[name]
    row: Row = {"builder": name, "package": known.package, "attention": known.attention}
    start = time.perf_counter()
    stage = "build"
    try:
        model = known.build()
        redraw(model)
        sample = inputs_for(model, open_size=known.open_size)
        settle_statistics(model, sample)
        stage = "switched"
        net = switched(model, sample)
        switches = Switches(net)
        filters, cuttable, out = convolution_filters(model, switches.graph)
        row |= {"filters": filters, "cuttable": cuttable, "output": out, "never": switches.unswitchable}
        row |= {"copy": prove(model, net, sample), "answer": answer(net(sample))}
        stage = "slim"
        disable_half(switches)
        row["error"] = verify(net, slim(net, sample), sample)
    except Exception as error:
        row["failed"] = f"{stage}: {type(error).__name__}: {' '.join(str(error).split())[:400]}"
    return {**row, "seconds": time.perf_counter() - start}


def run(page: Path | None, names: Sequence[str], packages: Path | None) -> None:
    """Examines networks, by default all, and writes the page; an interrupted run resumes where it stopped."""
    make_importable(packages)
    names = list(names or VISION)
    part = page.with_suffix(".jsonl") if page is not None else None
    rows = resumed(part, names, examine)
    if page is not None and part is not None:
        machine = (
            f"{os.cpu_count()} cores of {platform.machine()}, Keras {keras.__version__} on {keras.backend.backend()}, "
            f"kimm {version('kimm')}, keras-hub {version('keras-hub')}"
        )
        page.write_text(page_of([rows[name] for name in names], machine, left_out()))
        part.unlink()


TASKS = ("Backbone", "ImageClassifier", "ImageSegmenter", "ObjectDetector")


def left_out() -> list[str]:
    """Backbones, classifiers, segmenters and detectors of keras-hub that are not in the table."""
    import keras_hub

    tried = {name.partition(",")[0] for name in VISION}
    return [name for name in dir(keras_hub.models) if name.endswith(TASKS) and name not in (*tried, *TASKS)]
