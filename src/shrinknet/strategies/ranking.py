"""What strategies that give every group one number share: comparing layers, and putting the answer together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from shrinknet.filters import Filter
from shrinknet.strategies.answers import take
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network
from shrinknet.strategies.vectors import rounded


def lowest(network: Network, memory: Memory, values: Mapping[Filter, float], count: int) -> Sequence[Filter]:
    """Up to `count` remaining candidates with the lowest values, then in network order; those without one come last."""
    remaining = memory.remaining(network)
    known = np.array([values.get(filter, math.inf) for filter in remaining])
    order = np.argsort(np.where(np.isfinite(known), rounded(known), math.inf), kind="stable")
    return take(network, (remaining[place] for place in order), count)


def within_layers(values: Mapping[Filter, float], by: Literal["mean", "norm"]) -> dict[Filter, float]:
    """Values divided by the mean, or the Euclidean norm, of those of their layer; 0 where all of them are 0.

    Layers are told apart by the name of the group.
    """
    layers: dict[str, list[float]] = {}
    for filter, value in values.items():
        layers.setdefault(filter.layer, []).append(value)
    unit = {
        layer: float(np.mean(known) if by == "mean" else np.linalg.norm(known)) or 1.0
        for layer, known in layers.items()
    }
    return {filter: value / unit[filter.layer] for filter, value in values.items()}
