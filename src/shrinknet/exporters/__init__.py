"""Export: write a model for production, load it back, run it, compare; a file that differs is removed."""

from __future__ import annotations

import logging
import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shrinknet.checks import at_least
from shrinknet.comparing import Agreement, Mismatch, largest_difference
from shrinknet.costs.timing import latencies
from shrinknet.errors import ExportError, ModelError, OptionError, ShrinknetError
from shrinknet.exporters.base import ArrayList, Exporter, Runner, Source, in_batches
from shrinknet.exporters.keras import KerasExporter
from shrinknet.exporters.litert import (
    LiteRTDynamicExporter,
    LiteRTExporter,
    LiteRTFloat16Exporter,
    LiteRTInt8Exporter,
    needs_real_sample,
)
from shrinknet.exporters.onnx import OnnxExporter
from shrinknet.exporters.savedmodel import SavedModelExporter
from shrinknet.extras import require_extra
from shrinknet.files.placing import place, size, workplace
from shrinknet.files.streams import quiet
from shrinknet.internals import layers_of, require_model
from shrinknet.layers import Switched
from shrinknet.records import Timing, finite, table

__all__ = ["DEFAULT_FORMATS", "EXPORTERS", "Agreement", "Exported", "Exports", "export", "measured_latencies",
           "measured_latency"]  # fmt: skip

EXPORTERS: dict[str, Callable[[], Exporter]] = {
    "keras": KerasExporter,
    "savedmodel": SavedModelExporter,
    "litert": LiteRTExporter,
    "litert-float16": LiteRTFloat16Exporter,
    "litert-dynamic": LiteRTDynamicExporter,
    "litert-int8": LiteRTInt8Exporter,
    "onnx": OnnxExporter,
}
_ROUNDED = ("litert-dynamic", "litert-int8")  # formats whose numbers are int8
HALF_TOLERANCE = 2e-2  # of the outputs' scale: a model in half precision compared with a file in float32
_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Exported:
    """One exported file.

    Attributes:
        format: its name; path: its location; bytes: its size, or that of all files in the folder.
        difference: largest difference from the model's outputs, as a share of their scale; None for a network that was
            trained further before it was written.
        latency_ms: median milliseconds of one call on one sample; latency_p95_ms: 95th percentile; threads: number of
            threads that the runtime used.
        score: of the file; None if not measured.
        zipped_bytes: its size after compression, smaller for clustered or pruned weights; None if not measured.
        note: a description, if the format name is not enough.
    """

    format: str
    path: str
    bytes: int
    difference: float | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    threads: int | None = None
    score: float | None = None
    zipped_bytes: int | None = None
    note: str | None = None


DEFAULT_FORMATS = ("keras", "litert")


class Exports(tuple[Exported, ...]):
    """The exported files; prints as a table."""

    refused: tuple[str, ...] = ()  # one sentence for each that could not be produced

    def __str__(self) -> str:
        records = [asdict(record) for record in self]
        told = [name for name in Exported.__dataclass_fields__ if any(record[name] is not None for record in records)]
        rows = [{name.replace("_", " "): record[name] for name in told} for record in records]
        return "\n".join(([table(rows)] if rows else []) + list(self.refused))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"files": [finite(asdict(record)) for record in self], "refused": list(self.refused)}


def export(
    model: Any,
    folder: str | os.PathLike[str],
    formats: str | Sequence[str] = DEFAULT_FORMATS,
    sample: Any = None,
    *,
    threads: int = 1,
    input_shape: Sequence[Any] | None = None,
    agreement: Agreement | None = None,
) -> Exports:
    """Writes the model in each format, loads each file back, runs it on a sample and compares.

    Args:
        model: a Sequential or Functional Keras model without switches, as `slim` returns it.
        folder: where to write; created if it does not exist. Files are named after the model, and only complete files
            replace existing ones.
        formats: name of a format, or several: "keras", "savedmodel", "litert", "litert-float16", "litert-dynamic",
            "litert-int8", "onnx" (needs the extra `onnx`). A file may differ from the model by 1e-6 of the outputs'
            scale (keras), 1e-5 (savedmodel), 1e-4 (litert, onnx), 1e-2 (litert-float16), 0.1 (litert-dynamic) and 0.2
            (litert-int8).
        sample: inputs with a batch axis, as the model takes them: an array, a list with one array for each input, or a
            dict by their names. int8 takes its ranges from the sample, which must then be real data, a hundred samples
            or more. None: random numbers.
        threads: number of threads for LiteRT and ONNX Runtime during the latency measurement.
        input_shape: shape of one sample, without the batch axis, to fix sizes in the files that the model leaves
            undefined; one shape for each input if there are several. None: such sizes stay undefined.
        agreement: what files with int8 numbers are compared by, instead of the largest difference of any output; for
            outputs that are decided at a threshold, such as masks.

    Returns:
        A record for each file; prints as a table.

    Raises:
        OptionError: an unknown format.
        MissingExtraError: a format needs packages that are not installed; nothing was written.
        ModelError: the model has switches, or its operations are not recorded, or its own outputs are not finite.
        DataError: the sample does not fit, or litert-int8 is requested without one.
        ExportError: a file could not be written, or its outputs are not finite or differ from the model's by more than
            its format allows. Such a file is removed, an existing file is kept, and the other formats are still
            written: the error lists them as `written`.

    Example:
        >>> print(export(model, folder, formats=("keras",)))  # doctest: +SKIP
        format  path                      bytes  difference  latency ms  latency p95 ms  threads
        keras   production/digits.keras  16,394           0       1.172           1.383        2
    """
    formats = (formats,) if isinstance(formats, str) else formats
    unknown = [name for name in formats if name not in EXPORTERS]
    if unknown:
        raise OptionError(f"Unknown format {unknown[0]!r}; known are {', '.join(EXPORTERS)}.")
    if not formats:
        raise OptionError(f"Expected at least one format; known are {', '.join(EXPORTERS)}.")
    at_least("threads", threads, 1)
    if "onnx" in formats:
        require_extra("onnx", "tf2onnx", "onnx", "onnxruntime")
    source = Source(_without_switches(model), sample, input_shape)
    if Path(folder).exists() and not Path(folder).is_dir():
        raise OptionError(f"Expected a folder to write to; received {folder}, which is a file.")
    if "litert-int8" in formats:
        needs_real_sample(source)
    _ = source.expected  # refuses a model whose own outputs are not finite, before anything is written
    written: list[Exported] = []
    failed: dict[str, list[str]] = {}  # problem -> formats that have it
    wrong = False
    for name in dict.fromkeys(formats):
        try:
            written.append(_export(source, Path(folder), EXPORTERS[name](), threads, agreement))
        except _NotWritten as error:
            wrong |= isinstance(error, _Wrong)
            failed.setdefault(str(error), []).append(name)
    if not failed:
        return Exports(written)
    failure = ExportError(
        " ".join(f"No {' or '.join(names)} file of {source.name}: {problem}" for problem, names in failed.items())
    )
    failure.written = Exports(written)
    failure.exit_code = _NotWritten.exit_code if wrong else 2
    raise failure


class _NotWritten(ExportError):
    """Why one format could not be produced."""


class _Wrong(_NotWritten):
    """A file was written but computed something else: not the user's fault."""


def _without_switches(model: Any) -> Any:
    require_model(model)
    if any(isinstance(layer, Switched) for layer in layers_of(model)):
        raise ModelError(
            f"The model {model.name} has switches, which other programs do not know. Cut it first: small = "
            "slim(model), or on the command line `shrinknet slim`."
        )
    return model


def _export(source: Source, folder: Path, exporter: Exporter, threads: int, agreement: Agreement | None) -> Exported:
    with workplace(folder) as scratch:
        written = scratch / (source.name + exporter.suffix)
        _write(source, exporter, written)
        runner = _load(source, exporter, written, threads)
        judge = agreement if exporter.name in _ROUNDED else None
        difference = _difference(source, source.expected, _run(lambda: in_batches(runner, source)), exporter, judge)
        alone = _run(lambda: runner(source.one))
        if exporter.name not in _ROUNDED:
            difference = max(difference, _difference(source, source.expected_alone, alone, exporter, None))
        timed: tuple[float, float] = _run(lambda: runner.latency(source.one))
        bytes = size(written)
        target = folder / written.name
        place(written, target)
    return Exported(exporter.name, str(target), bytes, difference, *timed, threads=runner.threads)


def _write(source: Source, exporter: Exporter, path: Path) -> None:
    try:
        with quiet():
            exporter.write(source, path)
    except (ShrinknetError, OSError):
        raise
    except Exception as error:
        raise _NotWritten(f"it could not be written ({reason(error)}).") from error


def _load(source: Source, exporter: Exporter, path: Path, threads: int) -> Runner:
    try:
        with quiet():
            return exporter.load(source, path, threads)
    except Exception as error:
        raise _NotWritten(f"it could not be loaded back, and was removed ({reason(error)}).") from error


def _run(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise _NotWritten(f"it could not be run, and was removed ({reason(error)}).") from error


def _difference(
    source: Source, expected: ArrayList, received: ArrayList, exporter: Exporter, agreement: Agreement | None
) -> float:
    """The largest difference in any output, as a share of that output's scale."""
    tolerance = max(exporter.tolerance, HALF_TOLERANCE) if source.is_half else exporter.tolerance
    try:
        if agreement is not None:
            agreement.check(expected, received)
            tolerance = math.inf
        return largest_difference(expected, received, tolerance, source.outputs)
    except Mismatch as mismatch:
        if not source.repeats():
            raise _NotWritten(
                "the model draws random numbers in inference without a seed that Keras keeps, so that no file can be "
                "compared with it. Draw them with a keras.random.SeedGenerator that is an attribute of the layer."
            ) from None
        raise _Wrong(f"it did not compute what the model computes, and was removed ({mismatch}).") from None


def reason(error: Exception) -> str:
    """Why a library failed: a few words extracted from a possibly very long message."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    missing = r"^\s*(?:Flex|Custom) ops: (.+)$|'tf\.(\w+)' op is neither|No Op registered for (\w+)"
    listed = re.findall(missing, text, re.MULTILINE)
    operations = dict.fromkeys(name for groups in listed for name in groups if name)
    if operations:
        return f"the format has no operation for {', '.join(operations)}"
    if "TensorListReserve" in text:
        return (
            "the format supports loops over time steps, as in recurrent layers, only where the batch and the number of "
            "steps are fixed: keras.Input(shape, batch_size=1)"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    where = lines.pop(0).rstrip(".") + ": " if len(lines) > 1 and lines[0].startswith("Exception encountered") else ""
    line = next((line for line in lines if "error:" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {where}{line.rpartition('error: ')[2].split('. ')[0][:300].rstrip('.')}"


def measured_latency(
    model: Any, sample: Any = None, threads: int = 1, input_shape: Sequence[Any] | None = None
) -> float | None:
    """Median milliseconds for one sample in LiteRT; None if the model cannot be converted to LiteRT.

    Overhead in the model's Python call hides the gain of a cut; a production runtime shows it.
    """
    timing = measured_latencies([model], sample, threads, input_shape)[0]
    return None if timing is None else timing.median


def measured_latencies(
    models: Sequence[Any], sample: Any = None, threads: int = 1, input_shape: Sequence[Any] | None = None
) -> list[Timing | None]:
    """As `measured_latency`, of several models that are run in turn, with the quartiles of each."""
    import keras

    timings: list[Timing | None] = [None] * len(models)
    if keras.backend.backend() != "tensorflow":
        return timings
    with tempfile.TemporaryDirectory() as scratch:
        runs = {}
        for place, model in enumerate(models):
            try:
                runs[place] = _in_litert(Source(model, sample, input_shape), Path(scratch) / f"{place}.tflite", threads)
            except Exception as error:  # a failed measurement must not end a run
                _LOG.warning("The latency was not measured: %s", reason(error))
        for place, timing in zip(runs, latencies(list(runs.values())) if runs else (), strict=True):
            timings[place] = timing
    return timings


def _in_litert(source: Source, path: Path, threads: int) -> Callable[[], Any]:
    """A function that runs the model on one sample in LiteRT; it has run once."""
    with quiet():
        LiteRTExporter().write(source, path)
    return LiteRTExporter().load(source, path, threads).prepared(source.one)
