"""Trains the networks of the report and beside it, and judges each on windows and on whole test photographs."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche.classifier import window_classifier
from shrinknet.applications.avalanche.coarse import difference
from shrinknet.applications.avalanche.feeds import Augmentation, WindowFeed
from shrinknet.applications.avalanche.folder import Slopes, read
from shrinknet.applications.avalanche.generation import generate
from shrinknet.applications.avalanche.prediction import predictor
from shrinknet.applications.avalanche.sampling import window_sample
from shrinknet.applications.avalanche.training import best_threshold, image_scores, predicted, train_classifier
from shrinknet.experiments.avalanche.settings import Avalanche, Network
from shrinknet.imaging.colour_files import as_numbers
from shrinknet.imaging.pyramids import reduced

Parts = Mapping[str, tuple[str, ...]]
SCORES = ("accuracy", "iou", "f1", "boundary_f1")
COMPARED = 64  # pixels that an approximation is compared at


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: the window classifier; ready: how it predicts whole photographs, exactly or, for bodies, approximately.
        threshold: best on the validation photographs.
        row: of the table of networks; history: a row an epoch; scores: a row for each test photograph.
    """

    network: Network
    model: Any
    ready: Any
    threshold: float
    row: dict[str, Any]
    history: pd.DataFrame
    scores: pd.DataFrame


@functools.lru_cache(maxsize=1)
def slopes_of(data: str, count: int, size: int, seed: int) -> Slopes:
    """The slopes of an experiment; synthetic ones are drawn into a folder that goes when the process ends."""
    if data:
        return read(data)
    folder = Path(tempfile.mkdtemp(prefix="shrinknet-slopes-"))
    atexit.register(shutil.rmtree, folder, True)
    return read(generate(folder / "slopes", count, size, seed))


def train(settings: Avalanche, network: Network, slopes: Slopes, parts: Parts, seed: int) -> Trained:
    """Trains a network with the report's epochs and learning rate, and scores it.

    Args:
        settings: of the experiment; network: what is trained.
        slopes: of `slopes_of`; parts: of `split_images`; seed: of kernels and windows.
    """
    epochs, each, tests = settings.windows(network)
    options: dict[str, Any] = {"weights": _weights(settings, network)} if network.body else {}
    model = window_classifier(network.shape, network.kind, optimizer=network.optimizer, seed=seed, **options)
    model.run_eagerly = network.body and settings.eager
    feed = WindowFeed(slopes, parts["train"], network.shape, each=each, batch=min(64, each * len(parts["train"])),
                      augment=Augmentation(), levels=network.levels, seed=seed)  # fmt: skip
    judged = window_sample(slopes, parts["validation"], network.shape, tests, levels=network.levels, seed=seed)
    done = train_classifier(model, feed, judged, epochs=epochs)
    x, y = window_sample(slopes, parts["test"], network.shape, tests, balanced=False, levels=network.levels, seed=seed)
    logits = np.asarray(model.predict(x, batch_size=128, verbose=0), np.float64)
    ready = predictor(model, "approximate" if network.body else "auto")
    limit = best_threshold(lambda name: _predicted(ready, slopes, name, network), slopes, parts["validation"])
    scores = image_scores(ready, slopes, parts["test"], channels=network.shape[2], threshold=limit,
                          levels=network.levels)  # fmt: skip
    row = {
        "network": network.name, "parameters": int(model.count_params()),
        "windows": epochs * each * len(parts["train"]),
        "seconds": done.seconds, "loss": log_loss(logits, y), "accuracy": float(((logits > 0) == (y > 0.5)).mean()),
        "accuracy at the threshold": float(((_probability(logits) >= limit) == (y > 0.5)).mean()),
        "threshold": limit, "seconds a megapixel": _seconds(ready, slopes, parts["test"][0], network),
        **_difference(model, ready, slopes, parts["test"][0], network),
    }  # fmt: skip
    return Trained(network, model, ready, limit, row, done.history, scores)


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Binary cross-entropy of logits and labels of 0 and 1, shape (windows, 1) each."""
    return float(np.mean(np.logaddexp(0, np.where(labels > 0.5, -logits, logits))))


def _probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def _predicted(ready: Any, slopes: Slopes, name: str, network: Network) -> np.ndarray:
    return predicted(ready, slopes.image(name, network.shape[2]), levels=network.levels)


def _seconds(ready: Any, slopes: Slopes, name: str, network: Network) -> float:
    """How long a megapixel takes; the network has predicted photographs before."""
    image = slopes.image(name, network.shape[2])
    start = time.perf_counter()
    predicted(ready, image, levels=network.levels)
    return (time.perf_counter() - start) / (image.shape[0] * image.shape[1] / 1e6)


def _difference(model: Any, ready: Any, slopes: Slopes, name: str, network: Network) -> dict[str, float]:
    """How far the network for whole photographs is from the classifier, in logits, at some pixels."""
    image = as_numbers(slopes.image(name, network.shape[2]))
    image = reduced(image, network.levels).clip(0, 1) if network.levels else image
    found = difference(model, ready.network.model, image, COMPARED)
    return {"difference": found["largest"] / max(found["scale"], 1e-12), "agreement": found["agreement"]}


def _weights(settings: Avalanche, network: Network) -> str | None:
    return str(Path(settings.weights) / f"{network.kind}.weights.h5") if settings.weights else None
