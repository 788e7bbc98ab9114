"""Shrinks the small networks: by the default of `minimize` and by random choice, with the control trained as long."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from shrinknet.applications.avalanche.dense import dense_network
from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.run import megapixels_a_second, whole_image_scores
from shrinknet.applications.avalanche.task import Windowing, avalanche_task
from shrinknet.experiments.avalanche.settings import STRATEGIES, Avalanche
from shrinknet.experiments.avalanche.training import Parts, Trained
from shrinknet.exporters import export
from shrinknet.minimizer import minimize

SIDE = 256  # pixels a side of the image that speed is measured on
Rows = list[dict[str, Any]]


def shrink(
    settings: Avalanche, trained: Trained, slopes: Slopes, parts: Parts, seed: int, *, timed: bool
) -> tuple[Rows, Rows]:
    """Minimizes a trained network with each strategy.

    Args:
        trained: the network to begin with; it is not changed.
        seed: that `parts` was made with, so that the task has the same test photographs.
        timed: whether the speed of the networks is measured; it hardly depends on the seed.

    Returns:
        A row for each strategy, and a row for each trial.
    """
    how = Windowing(trained.network.shape, settings.shrink_each, settings.judged)
    before = {**_speed("before", trained.model, timed), **_scores("before", trained.model, slopes, parts, how)}
    rows, trials = [], []
    for strategy in STRATEGIES:
        key = {"network": trained.network.name, "strategy": strategy}
        task = avalanche_task(slopes, how, seed=seed, kind=trained.network.kind)
        task.model.set_weights(trained.model.get_weights())
        chosen: dict[str, Any] = {} if strategy == "default" else {"strategy": strategy}
        result = minimize(
            task.model, task.train, task.validation, test_data=task.test, control=True,
            target={"multiply_adds": settings.left}, steps=settings.steps, final_steps=settings.final_steps, seed=seed,
            batch_size=task.batch_size, verbose=0, **chosen,
        )  # fmt: skip
        row = {**key, "trials": len(result.records), "accepted": result.summary.accepted,
               "stopped": result.summary.stopped, **before, **_speed("after", result.model, timed)}  # fmt: skip
        for name, model in (("after", result.model), ("control", result.control)):
            row |= _scores(name, model, slopes, parts, how)
        for name, cost in (("before", result.summary.before), ("after", result.summary.after)):
            row |= {f"filters {name}": cost.filters, f"parameters {name}": cost.parameters,
                    f"multiply-adds {name}": cost.multiply_adds, f"window IoU {name}": cost.score}  # fmt: skip
        rows.append(row)
        trials += [
            {**key, "trial": trial.number, "score": trial.score, "accepted": trial.accepted,
             "multiply_adds": trial.multiply_adds, "filters": trial.filters_left}
            for trial in result.records
        ]  # fmt: skip
    return rows, trials


def _scores(name: str, model: Any, slopes: Slopes, parts: Parts, how: Windowing) -> dict[str, float]:
    """Mean scores of a network on whole test photographs."""
    scores = whole_image_scores(model, slopes, parts, how)
    return {f"IoU {name}": float(scores["iou"].mean()), f"boundary F1 {name}": float(scores["boundary_f1"].mean())}


def _speed(name: str, model: Any, timed: bool) -> dict[str, float]:
    """Megapixels a second of dense prediction, in Keras and of the LiteRT file on one thread, and the file's size."""
    if not timed:
        names = ("megapixels a second", "LiteRT bytes", "LiteRT megapixels a second")
        return {f"{one} {name}": float("nan") for one in names}
    with tempfile.TemporaryDirectory() as folder:
        files = export(dense_network(model, size=(SIDE, SIDE)), Path(folder), ("litert",))
    return {
        f"megapixels a second {name}": megapixels_a_second(model, SIDE),
        f"LiteRT bytes {name}": files[0].bytes,
        f"LiteRT megapixels a second {name}": SIDE * SIDE / 1e3 / (files[0].latency_ms or float("nan")),
    }
