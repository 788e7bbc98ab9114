"""Shrinks the small networks: by the default of `minimize` and by random choice, with the control trained as long."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from shrinknet.applications.avalanche.dense import dense_network
from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.run import megapixels_a_second, whole_image_scores
from shrinknet.applications.avalanche.task import Windowing, avalanche_task
from shrinknet.applications.running import Finished, run_task
from shrinknet.experiments.avalanche.settings import STRATEGIES, Avalanche
from shrinknet.experiments.avalanche.training import Parts, Trained
from shrinknet.exporters import export

SIDE = 256  # pixels a side of the image that speed is measured on


def shrink(
    settings: Avalanche, trained: Trained, slopes: Slopes, parts: Parts, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Minimizes a trained network by each strategy.

    Args:
        trained: the network to begin with; it is not changed.
        seed: that `parts` was divided with, so that the task has the same test photographs.

    Returns:
        A row for each strategy, and a row for each trial.
    """
    how = Windowing(trained.network.shape, settings.shrink_each, settings.judged)
    rows, trials = [], []
    for strategy in STRATEGIES:
        key = {"network": trained.network.name, "strategy": strategy}
        chosen = {} if strategy == "default" else {"strategy": strategy}
        with tempfile.TemporaryDirectory() as folder:
            finished = run_task(
                lambda seed: _task(trained, slopes, how, seed), Path(folder) / "run", seed=seed, warmup_steps=0,
                target={"multiply_adds": settings.left}, steps=settings.steps, final_steps=settings.final_steps,
                verbose=0, **chosen,
            )  # fmt: skip
            rows.append({**key, **_measured(finished, slopes, parts, how, Path(folder))})
        trials += [
            {**key, "trial": trial.number, "score": trial.score, "accepted": trial.accepted,
             "multiply_adds": trial.multiply_adds, "filters": trial.filters_left}
            for trial in finished.result.records
        ]  # fmt: skip
    return rows, trials


def _task(trained: Trained, slopes: Slopes, how: Windowing, seed: int) -> Any:
    """The task with the trained weights."""
    task = avalanche_task(slopes, how, seed=seed, kind=trained.network.kind)
    task.model.set_weights(trained.model.get_weights())
    return task


def _measured(finished: Finished, slopes: Slopes, parts: Parts, how: Windowing, folder: Path) -> dict[str, Any]:
    """Filters, costs, speed and scores on whole test photographs, before and after and for the control."""
    result, summary = finished.result, finished.result.summary
    row: dict[str, Any] = {"trials": len(result.records), "accepted": summary.accepted, "stopped": summary.stopped}
    for name, model, cost in (("before", result.uncut, summary.before), ("after", result.model, summary.after)):
        row |= {f"filters {name}": cost.filters, f"parameters {name}": cost.parameters,
                f"multiply-adds {name}": cost.multiply_adds, f"window IoU {name}": cost.score,
                f"megapixels a second {name}": megapixels_a_second(model, SIDE)}  # fmt: skip
        files = export(dense_network(model, size=(SIDE, SIDE)), folder / name, ("litert",))
        row[f"LiteRT bytes {name}"] = files[0].bytes
        row[f"LiteRT megapixels a second {name}"] = SIDE * SIDE / 1e3 / (files[0].latency_ms or float("nan"))
    for name, model in (("before", result.uncut), ("after", result.model), ("control", result.control)):
        scores = whole_image_scores(model, slopes, parts, how)
        row |= {f"IoU {name}": float(scores["iou"].mean()), f"boundary F1 {name}": float(scores["boundary_f1"].mean())}
    return row
