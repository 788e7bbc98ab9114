"""RunFacts: the content of a run folder, read leniently: everything but run.json may be missing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shrinknet.errors import RunError
from shrinknet.imaging.states import Kernel, Picture
from shrinknet.records import Cost, Summary, Trial
from shrinknet.runs.store import RunStore

_NAMES = {"f1": "F1", "mae": "MAE", "mse": "MSE", "iou": "IoU", "uiqi": "UIQI", "auc": "AUC", "psnr": "PSNR"}


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that its page shows.

    Attributes:
        name: name of the run folder, never its path.
        score: the score's name in words; higher_is_better: its direction.
        baseline: validation score after warm-up; None if unknown.
        warmup: (step, validation score) pairs.
        threshold: share of the reference that a trial must keep; None if unknown.
        summary: None while the run is in progress.
        removed: the removed filters, layer by layer.
        trials: in the order in which they were decided.
        kernels: of each layer before and after, shape (... kernel axes and channels in, filters).
        samples: `input`, `truth`, `before`, `after`, shape (samples, height, width, channels), and `names`.
        pictures: maps of shape (height, width, filters), NaN for filters that are gone; outputs of shape (height,
            width, channels); masks as in `kernels`.
        missing: file name -> why it could not be read.
    """

    name: str
    task: str
    score: str
    higher_is_better: bool
    baseline: float | None
    warmup: tuple[tuple[int, float], ...]
    threshold: float | None
    summary: Summary | None
    cost_before: Cost | None
    cost_after: Cost | None
    removed: Mapping[str, tuple[int, ...]]
    stopped: str
    trials: tuple[Trial, ...]
    kernels: Mapping[Kernel, np.ndarray]
    samples: Mapping[str, np.ndarray]
    pictures: Mapping[Picture, np.ndarray]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    missing: Mapping[str, str]


def read_facts(store: RunStore) -> RunFacts:
    """Everything that the page shows.

    Raises:
        RunError: run.json or the journal is missing or damaged, or of another version.
    """
    record = store.read_json("run")
    trials = store.trials()
    missing: dict[str, str] = {}
    kernels, samples, pictures = (_arrays(store, name, missing) for name in ("kernels", "samples", "pictures"))
    try:
        score = record.get("score") or {}
        config = dict(record.get("config") or {})
        summary = record.get("summary")
        threshold = config.get("threshold")
        if isinstance(threshold, Mapping):  # several scores guard a cut: that of the first, which the page shows
            threshold = threshold.get(str(score.get("name")))
        return RunFacts(
            name=store.path.absolute().name,
            task=str(record.get("task") or "a network"),
            score=words(str(score.get("name") or "score")),
            higher_is_better=bool(score.get("higher_is_better", True)),
            baseline=_number(record.get("baseline")),
            warmup=_warmup(record.get("warmup") or ()),
            threshold=_number(threshold),
            summary=Summary.from_dict(summary) if summary else None,
            cost_before=_cost(record.get("cost_before")),
            cost_after=_cost(record.get("cost_after")),
            removed=_removed(record.get("removed"), trials),
            stopped=str(record.get("stopped") or (summary or {}).get("stopped") or ""),
            trials=trials,
            kernels={Kernel.of(key): array for key, array in kernels.items()},
            samples=samples,
            pictures={Picture.of(key): array for key, array in pictures.items()},
            config=config,
            environment=dict(record.get("environment") or {}),
            missing=missing,
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RunError(
            f"{store.path / 'run.json'} cannot be interpreted ({error!r}): expected the format of this version of "
            "shrinknet. Use the version that wrote it."
        ) from error


def words(name: str) -> str:
    """A score's name in words.

    Example:
        >>> words("soft_f1")
        'soft F1'
    """
    return " ".join(_NAMES.get(word, word) for word in name.split("_") if word) or name


def _arrays(store: RunStore, name: str, missing: dict[str, str]) -> dict[str, np.ndarray]:
    if not store.has(f"{name}.npz"):
        return {}
    try:
        return store.read_arrays(name)
    except RunError as error:
        missing[f"{name}.npz"] = str(error).replace(f"{store.path}/", "")
        return {}


def _warmup(points: Any) -> tuple[tuple[int, float], ...]:
    read = ((int(point["step"]), _number(point.get("score"))) for point in points)
    return tuple((step, score) for step, score in read if score is not None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _cost(record: Any) -> Cost | None:
    return Cost.from_dict(record) if record else None


def _removed(record: Any, trials: tuple[Trial, ...]) -> dict[str, tuple[int, ...]]:
    """The removed filters according to run.json or, if it does not list them yet, those of the accepted trials."""
    if record is None:
        gone: dict[str, list[int]] = defaultdict(list)
        for filter in (filter for trial in trials if trial.accepted for filter in trial.filters):
            gone[filter.layer].append(filter.index)
        record = gone
    return {str(layer): tuple(sorted({int(index) for index in indices})) for layer, indices in record.items()}
