"""Savings: what the network gets smaller by when one group goes, for all groups at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from shrinknet.costs.counting import bytes_each, open_size
from shrinknet.errors import OptionError
from shrinknet.graph import ChannelGraph
from shrinknet.layers import Switched

UNITS = ("filters", "parameters", "multiply_adds", "bytes")


def savings(graph: ChannelGraph, gone: np.ndarray, unit: str) -> np.ndarray:
    """How much less the network costs without each channel, if it goes by itself.

    Args:
        graph: of the network.
        gone: the channels that are gone already, bool, shape (channels,).
        unit: "filters", "parameters", "multiply_adds" or "bytes".

    Returns:
        float64, shape (channels,), from 0; 0 for channels that are gone.

    Raises:
        OptionError: there is no such unit.
        ModelError: multiply-adds depend on a size that the model leaves open.
    """
    if unit not in UNITS:
        raise OptionError(f"Expected what is saved to be one of {', '.join(UNITS)}; received {unit!r}.")
    saved = np.zeros(graph.size)
    if unit == "filters":
        for channels in graph.producers.values():
            saved += np.bincount(channels, minlength=graph.size)
    else:
        for variable, times in _counted(graph, unit):
            saved += times * _without(graph, variable, gone)
    saved[gone] = 0
    return saved


def _counted(graph: ChannelGraph, unit: str) -> Iterator[tuple[Any, float]]:
    """Each variable that counts, and what each of its numbers costs."""
    if unit == "multiply_adds":
        for path, kernel, times in graph.products:
            if times is None:
                raise open_size(path)
            yield kernel, times
        return
    for layer in graph.layers.values():
        switches = {id(one) for one in layer.switchboard.variables} if isinstance(layer, Switched) else set()
        for variable in getattr(layer, "weights", ()):
            if id(variable) not in switches:
                yield variable, 1.0 if unit == "parameters" else float(bytes_each(variable.dtype))


def _without(graph: ChannelGraph, variable: Any, gone: np.ndarray) -> np.ndarray:
    """By how many numbers a variable shrinks without each channel, shape (channels,)."""
    axes = graph.axes.get(id(variable), {})
    rest = math.prod(size for axis, size in enumerate(variable.shape) if axis not in axes)
    now, then = 1.0, np.ones(graph.size)
    for channels in axes.values():
        live = channels[~gone[channels]]
        now *= live.size
        then *= live.size - np.bincount(live, minlength=graph.size)
    return rest * (now - then)
