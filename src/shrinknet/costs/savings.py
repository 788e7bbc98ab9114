"""Savings: what the network gets smaller by when one group goes, for all groups at once, kept up as they go."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np

from shrinknet.costs.counting import bytes_each, open_size
from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.graph import ChannelGraph
from shrinknet.layers import Switched

UNITS = ("filters", "parameters", "multiply_adds", "bytes")


@final
class Savings:
    """How much less the network costs without each group, if it goes by itself, after those that are gone.

    Args:
        graph: of the network.
        gone: the channels that are gone already, bool, shape (channels,).
        unit: "filters", "parameters", "multiply_adds" or "bytes".

    Attributes:
        filters: the groups that can be cut, in network order.

    Raises:
        OptionError: there is no such unit.
        ModelError: multiply-adds depend on a size that the model leaves open.
    """

    def __init__(self, graph: ChannelGraph, gone: np.ndarray, unit: str) -> None:
        if unit not in UNITS:
            raise OptionError(f"Expected what is saved to be one of {', '.join(UNITS)}; received {unit!r}.")
        self.filters: tuple[Filter, ...] = tuple(group.name for group in graph.cuttable.values())
        self._channels = np.array(list(graph.cuttable), int)
        self._graph, self._gone, self._saved = graph, gone.copy(), np.zeros(graph.size)
        self._terms = [_Term(size, axes) for size, axes in _counted(graph, unit)]
        self._touched = defaultdict(list)  # channel -> the terms that it is in
        for term in self._terms:
            term.update(self._gone)
            self._saved[term.channels] += term.saved
            for channel in term.channels.tolist():
                self._touched[channel].append(term)

    @property
    def amounts(self) -> np.ndarray:
        """What each of `filters` saves, from 0; 0 for those that are gone. Float64, shape (filters,)."""
        return np.where(self._gone, 0.0, np.maximum(self._saved, 0))[self._channels]

    def remove(self, filter: Filter) -> None:
        """Takes a group away."""
        channel = self._graph.channel(filter)
        assert channel is not None
        self._gone[channel] = True
        for term in self._touched[channel]:
            self._saved[term.channels] -= term.saved
            term.update(self._gone)
            self._saved[term.channels] += term.saved


class _Term:
    """What one variable adds: `size` times the product of the channels that are left on its axes.

    Attributes:
        channels: that it has, each once; saved: what it shrinks by without each of them.
    """

    def __init__(self, size: float, axes: Mapping[int, np.ndarray]) -> None:
        self._size = size
        self._axes = list(axes.values())
        self.channels = np.unique(np.concatenate([*self._axes, np.zeros(0, int)]))
        self._places = [np.searchsorted(self.channels, channels) for channels in self._axes]
        self.saved = np.zeros(self.channels.size)

    def update(self, gone: np.ndarray) -> None:
        now, then = 1.0, np.ones(self.channels.size)
        for channels, places in zip(self._axes, self._places, strict=True):
            live = ~gone[channels]
            now *= np.count_nonzero(live)
            then *= np.count_nonzero(live) - np.bincount(places[live], minlength=self.channels.size)
        self.saved = self._size * (now - then)


def _counted(graph: ChannelGraph, unit: str) -> Iterator[tuple[float, Mapping[int, np.ndarray]]]:
    """For each variable that counts: what the numbers at one place of its channels cost; axis -> its channels."""
    if unit == "filters":
        for channels in graph.producers.values():
            yield 1.0, {0: channels}
        return
    for variable, times in _variables(graph, unit):
        axes = graph.axes.get(id(variable), {})
        yield times * math.prod(size for axis, size in enumerate(variable.shape) if axis not in axes), axes


def _variables(graph: ChannelGraph, unit: str) -> Iterator[tuple[Any, float]]:
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
