"""The edge task: an untrained network, its data, and the samples for its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from shrinknet.applications.edges.data import Cropping, Part, edge_data
from shrinknet.applications.edges.model import edge_network
from shrinknet.applications.edges.targets import Target
from shrinknet.applications.task import Samples, Task

BATCH_SIZE = 3  # as in the thesis


def edge_task(
    crop: int | Cropping = 128,
    *,
    widths: Sequence[int] = (5, 5, 1),
    kernel: int = 5,
    learning_rate: float = 1e-3,
    target: str | Target = "canny",
    root: str | Path | Sequence[str | Path] | None = None,
    seed: int = 0,
    on_error: Literal["fail", "skip"] = "fail",
    progress: Callable[[int, int], None] | None = None,
) -> Task:
    """A network and its data.

    Args:
        crop, target, root, on_error, progress: see `edge_data`.
        widths, kernel, learning_rate: see `edge_network`.
        seed: of the kernels, the split and the random crops.

    Raises:
        DataError: photographs are missing or cannot be used.
        OptionError: an option has an invalid value.
    """
    data = edge_data(root, crop, target=target, seed=seed, on_error=on_error, progress=progress)
    return Task(
        name="edges",
        model=edge_network(data.test.x.shape[1], widths=widths, kernel=kernel, learning_rate=learning_rate, seed=seed),
        train=(data.train.x, data.train.y),
        validation=(data.validation.x, data.validation.y),
        test=(data.test.x, data.test.y),
        samples=with_most_edges(data.test),
        batch_size=BATCH_SIZE,
        sample=data.test.x[:4],
        facts={"skipped": dict(data.skipped)},
    )


def with_most_edges(part: Part, count: int = 5) -> Samples:
    """Crops for pictures: the one with the most edges from each photograph, then the second, and so on.

    Args:
        count: the largest number of crops.
    """
    seen, turn = Counter[str](), {}
    for index in np.argsort(-part.y.sum((1, 2, 3)), kind="stable").tolist():
        turn[index] = seen[part.names[index]]
        seen[part.names[index]] += 1
    chosen = sorted(sorted(turn, key=turn.__getitem__)[:count])
    return Samples(part.x[chosen], part.y[chosen], tuple(part.names[index] for index in chosen))
