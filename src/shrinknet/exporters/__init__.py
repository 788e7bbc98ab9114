"""Export: write a model for production, load it back, run it, compare; a file that differs is not left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shrinknet.errors import ExportError, OptionError
from shrinknet.exporters.base import Exporter, Runner
from shrinknet.exporters.keras import KerasExporter
from shrinknet.exporters.litert import LiteRTExporter
from shrinknet.records import table

__all__ = ["EXPORTERS", "Exported", "Exports", "export", "measured_latency"]

EXPORTERS: dict[str, type[Exporter]] = {"keras": KerasExporter, "litert": LiteRTExporter}


@dataclass(frozen=True)
class Exported:
    """One file written.

    Attributes:
        format: its name; path: where it lies; bytes: its size.
        difference: largest difference from the model's outputs, as a share of their scale.
        latency_ms: median milliseconds of one call on one sample, one thread; latency_p95_ms: 95th percentile.
    """

    format: str
    path: str
    bytes: int
    difference: float
    latency_ms: float | None = None
    latency_p95_ms: float | None = None


class Exports(tuple[Exported, ...]):
    """What was exported; prints as a table."""

    def __str__(self) -> str:
        return table([asdict(record) for record in self])


def export(
    model: Any, folder: str | os.PathLike[str], formats: Sequence[str] = ("keras", "litert"), sample: Any = None
) -> Exports:
    """Writes the model in each format, loads each file back, runs it on a sample and compares.

    Args:
        model: a plain Keras model, as `slim` returns it.
        folder: where to write; made if need be. Files are named after the model, and replaced only by whole ones.
        formats: names of formats: "keras", "litert".
        sample: inputs with a batch axis, as the model takes them; None: random numbers.

    Returns:
        A record for each file; prints as a table.

    Raises:
        OptionError: an unknown format.
        ExportError: a file's outputs differ from the model's by more than the format's tolerance, or are not finite;
            that file is removed, and one that lay there before is left as it was.
    """
    from shrinknet.slimmer import random_inputs

    unknown = [name for name in formats if name not in EXPORTERS]
    if unknown:
        raise OptionError(f"Unknown format {unknown[0]!r}; known are {', '.join(EXPORTERS)}.")
    sample = random_inputs(model) if sample is None else sample
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Exports(_export(model, Path(folder), EXPORTERS[name](), sample) for name in formats)


def _export(model: Any, folder: Path, exporter: Exporter, sample: Any) -> Exported:
    target = folder / (model.name + exporter.suffix)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as scratch:
        written = Path(scratch) / target.name
        exporter.write(model, written)
        runner = exporter.load(written)
        difference = _difference(model, runner, sample, exporter)
        timed = runner.latency(first_sample(sample))
        size = written.stat().st_size
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        os.replace(written, target)
    return Exported(exporter.name, str(target), size, difference, *timed)


def measured_latency(model: Any, sample: Any) -> float | None:
    """Median milliseconds for one sample in LiteRT on one thread; None on a backend without LiteRT.

    The model's own Python call hides what a cut saves; the runtime for production shows it.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return None
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.tflite"
        LiteRTExporter().write(model, path)
        return LiteRTExporter().load(path).latency(first_sample(sample))[0]


def first_sample(sample: Any) -> Any:
    """The first sample of a batch, as a batch of one."""
    import keras

    return keras.tree.map_structure(lambda array: np.asarray(array)[:1], sample)


def _difference(model: Any, runner: Runner, sample: Any, exporter: Exporter) -> float:
    import keras

    expected = [np.asarray(keras.ops.convert_to_numpy(out)) for out in keras.tree.flatten(model(sample))]
    worst = 0.0
    for want, got in zip(expected, runner(sample), strict=True):
        scale = max(float(np.abs(want).max(initial=0.0)), 1e-30)
        error = float(np.abs(want - got).max(initial=0.0)) / scale if want.shape == got.shape else np.inf
        if not error <= exporter.tolerance:
            raise ExportError(
                f"The {exporter.name} file of {model.name} does not compute what the model computes: it differs by "
                f"{error:.1e} of the outputs' scale, where {exporter.tolerance:.0e} is allowed. It was removed."
            )
        worst = max(worst, error)
    return worst
