"""The edge task: an untrained network, its data, and the samples that its report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shrinknet.applications.edges.data import Cropping, EdgeData, Part, edge_data
from shrinknet.applications.edges.model import edge_network
from shrinknet.applications.edges.targets import Target


@dataclass(frozen=True)
class EdgeTask:
    """Everything that a minimization of the edge network starts from.

    Attributes:
        model: compiled and untrained.
        data: crops to train on and to measure with.
    """

    model: Any
    data: EdgeData

    def samples(self, count: int = 5) -> Part:
        """Test crops for pictures: the one with the most edges of each test photograph, then the second, and so on.

        Args:
            count: how many at most.
        """
        test, seen, turn = self.data.test, Counter[str](), {}
        for index in np.argsort(-test.y.sum((1, 2, 3)), kind="stable").tolist():
            turn[index] = seen[test.names[index]]
            seen[test.names[index]] += 1
        chosen = sorted(sorted(turn, key=turn.__getitem__)[:count])
        return Part(test.x[chosen], test.y[chosen], tuple(test.names[index] for index in chosen))


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
) -> EdgeTask:
    """A network and its data.

    Args:
        crop, target, root, on_error, progress: see `edge_data`.
        widths, kernel, learning_rate: see `edge_network`.
        seed: of the kernels, the split and the random crops.

    Raises:
        DataError: photographs are missing or cannot be used.
        OptionError: an option is outside of its range.
    """
    data = edge_data(root, crop, target=target, seed=seed, on_error=on_error, progress=progress)
    side = data.test.x.shape[1]
    model = edge_network(side, widths=widths, kernel=kernel, learning_rate=learning_rate, seed=seed)
    return EdgeTask(model, data)
