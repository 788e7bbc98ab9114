"""compress: runs a job in a separate process; its results are loaded, run, measured and scored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shrinknet.compression.data import Samples, read_samples
from shrinknet.compression.description import Description
from shrinknet.compression.scores import make_score
from shrinknet.compression.settings import job_losses, job_optimizer
from shrinknet.errors import ExportError, OptionError
from shrinknet.exporters import Exported, Exports, export
from shrinknet.exporters.base import ArrayList, Runner, Source, in_batches
from shrinknet.exporters.litert import LiteRTRunner
from shrinknet.extras import require_extra
from shrinknet.files.placing import place, workplace
from shrinknet.files.streams import quiet
from shrinknet.internals import functional_of
from shrinknet.loop.scoring import Score

METHODS = ("quantization-aware", "clustering", "pruning", "pruning-2-4")
COMPARED = 64  # samples for the comparison with the network rebuilt in tf_keras


def compress(
    model: Any,
    folder: str | os.PathLike[str],
    data: Any,
    methods: Sequence[str] = METHODS,
    *,
    score: Score = None,
    test_data: Any = None,
    loss: Any = None,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float | None = None,
    clusters: int = 16,
    sparsity: float = 0.5,
    seed: int = 0,
    threads: int = 1,
) -> Exports:
    """Trains a slim network further with tensorflow-model-optimization, and writes the results as LiteRT files.

    The network is rebuilt in tf_keras in a separate process, and compared with the original before it is trained.
    Needs the extra `tfmot`.

    Args:
        model: a plain Sequential or Functional model, as `slim` returns it; it is not changed.
        folder: where to write; created if it does not exist. Files are named after the model and the method, and only
            complete files replace existing ones.
        data: arrays to train on, (x, y) or (x, y, sample_weight).
        methods: "quantization-aware": quantization-aware training for int8; "clustering": a few different values in
            each kernel; "pruning": the smallest values become 0; "pruning-2-4": two of every four values become 0.
        score: how to score the files: name of a compiled metric, "loss", or a function that receives the file as an
            object that can be called like the model; None: the first compiled metric, else the loss.
        test_data: arrays to score on; None: those of `data`.
        loss: the training loss; None: the compiled loss. A loss of your own must be defined in an importable module.
        epochs, batch_size: of the training, with the model's own kind of optimizer, or Adam.
        learning_rate: None: that of the optimizer.
        clusters: different values in each kernel, 2 or more; sparsity: share of the values in each kernel that
            "pruning" sets to 0, above 0 and below 1.
        seed: of the training.
        threads: number of LiteRT threads during the latency measurement.

    Returns:
        A record for the network itself in LiteRT, then one for each method, each with its score and its size, plain and
        compressed. Methods that refuse the network are left out: `refused` says why.

    Raises:
        MissingExtraError: the extra is not installed. OptionError: an option has an invalid value.
        ModelError: there is no loss that the other process can load. DataError: the data are not arrays that fit.
        ScoreError: there is no such score. ExportError: the network cannot be converted to LiteRT at all.
    """
    _check_options(methods, epochs, batch_size, learning_rate, clusters, sparsity)
    require_extra("tfmot", "tf_keras", "tensorflow_model_optimization")
    functional = functional_of(model)
    counts = len(functional.inputs), len(functional.outputs)
    samples = read_samples(data, "training data", *counts)
    tested = samples if test_data is None else read_samples(test_data, "test data", *counts)
    source = Source(model, tested.x)
    facts: dict[str, Any] = {
        "losses": job_losses(model, loss), "optimizer": job_optimizer(model, learning_rate),
        "methods": list(dict.fromkeys(methods)), "epochs": epochs, "batch_size": batch_size, "clusters": clusters,
        "sparsity": sparsity, "seed": seed,
    }  # fmt: skip
    rate = make_score(score, model, tested, source.expected)
    (plain,) = export(model, folder, ("litert",), tested.x, threads=threads)
    scored = _Scored(source, Path(folder), threads, rate)
    records, refused = [scored.known(plain)], []
    with tempfile.TemporaryDirectory(prefix="shrinknet-") as job:
        log = _work(Path(job), facts, source, samples)
        for method in facts["methods"]:
            try:
                records.append(scored.result(method, Path(job), log))
            except ExportError as error:
                refused.append(str(error))
    exports = Exports(records)
    exports.refused = tuple(refused)
    return exports


def _check_options(
    methods: Sequence[str], epochs: int, batch_size: int, learning_rate: float | None, clusters: int, sparsity: float
) -> None:
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise OptionError(f"Expected methods among {', '.join(METHODS)}; received {', '.join(unknown) or 'none'}.")
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("clusters", clusters, 2)):
        if value < least:
            raise OptionError(f"Expected {name} to be {least} or more; received {value}.")
    if not 0 < sparsity < 1:
        raise OptionError(
            f"Expected sparsity, the share of numbers that become 0, between 0 and 1; received {sparsity}."
        )
    if learning_rate is not None and not learning_rate > 0:
        raise OptionError(f"Expected learning_rate above 0; received {learning_rate}.")


def _work(job: Path, facts: dict[str, Any], source: Source, samples: Samples) -> str:
    """Runs the job in a separate process; returns its output."""
    description = Description(source.model, source.inputs)
    weights: dict[str, Any] = description.arrays
    compared: dict[str, Any] = {f"sample{index}": array[:COMPARED] for index, array in enumerate(source.sample)}
    compared |= {f"expected{index}": array[:COMPARED] for index, array in enumerate(source.expected)}
    compared |= samples.named()
    (job / "job.json").write_text(json.dumps({**facts, "description": description.facts}))
    np.savez(job / "weights.npz", **weights)
    np.savez(job / "data.npz", **compared)
    own = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    environment = {
        **os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(own),
    }  # fmt: skip
    with (
        open(job / "log.txt", "wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "shrinknet.tfkeras", str(job)],
            stdin=subprocess.PIPE,  # the process ends when this pipe is closed
            stdout=log,
            stderr=log,
            env=environment,
        ) as process,
    ):
        try:
            process.wait()
        except BaseException:
            process.kill()
            raise
    return (job / "log.txt").read_text(errors="replace")


@dataclass(frozen=True)
class _Scored:
    """Loads files, runs and scores them on the test data, and moves them to the target folder."""

    source: Source
    folder: Path
    threads: int
    rate: Callable[[ArrayList, Runner], float]

    def known(self, record: Exported) -> Exported:
        """The record of a file that was exported, with its score."""
        content = Path(record.path).read_bytes()
        runner = LiteRTRunner(content, self.source.inputs, self.source.outputs, self.threads)
        return replace(record, score=self._score(runner), zipped_bytes=_zipped(content), note="unchanged")

    def result(self, method: str, job: Path, log: str) -> Exported:
        """The record of a method's file, moved to the target folder.

        Raises:
            ExportError: the method produced no file, or one whose outputs are not finite.
        """
        told = job / f"{method}.json"
        if not told.exists():
            last = next((line for line in reversed(log.splitlines()) if line.strip()), "without output")
            raise ExportError(f"No {method} of {self.source.name}: the process ended before it was done ({last}).")
        result = json.loads(told.read_text())
        if "refused" in result:
            raise ExportError(f"No {method} of {self.source.name}: {result['refused'].rstrip('.')}.")
        content = (job / f"{method}.tflite").read_bytes()
        with quiet():
            runner = LiteRTRunner(content, result["inputs"], result["outputs"], self.threads)
        score = self._score(runner)
        timed = runner.latency(self.source.one)
        with workplace(self.folder) as scratch:
            written = scratch / f"{self.source.name}.{method}.tflite"
            written.write_bytes(content)
            target = self.folder / written.name
            place(written, target)
        return Exported(
            method, str(target), len(content), None, *timed, runner.threads, score, _zipped(content), result["note"]
        )

    def _score(self, runner: Runner) -> float:
        answers = in_batches(runner, self.source)
        if not all(np.isfinite(array).all() for array in answers if array.dtype.kind == "f"):
            raise ExportError(f"A file of {self.source.name} has outputs that are not finite; it was removed.")
        return self.rate(answers, runner)


def _zipped(content: bytes) -> int:
    return len(zlib.compress(content, 9))
