"""ChannelGraph: which filters form groups, what weights they have, what reads them, and why the rest cannot be cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from shrinknet.errors import ModelError
from shrinknet.filters import Filter, Group
from shrinknet.graph.calls import Call, Tensor


@dataclass(frozen=True)
class Weight:
    """One axis of one variable: index i belongs to channel `channels[i]` (`owned`), or reads it."""

    layer: Any
    path: str
    variable: Any
    axis: int
    channels: np.ndarray
    owned: bool

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """`chosen` (one bool for each channel of the graph), laid along this axis and broadcastable to the variable."""
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = -1
        return chosen[self.channels].reshape(shape)


@dataclass(frozen=True)
class ChannelGraph:
    """The solved graph. Channels are numbered from 0; everything with the same number is cut together.

    Attributes:
        size: number of channels.
        producers: path of each layer that has filters, in network order -> the channel of each filter.
        weights: every labelled axis of every variable.
        counts: path -> key in the layer's config -> the channels that it counts.
        pins: channel -> why it cannot be cut.
        layers: path where it is called first -> layer, in network order.
        calls: the network's operations in order, as the rules saw them.
        averages: (layer, channels, whether it needs one of them) for each layer that takes statistics over channels.
        constants: (path, number of the call) -> the channels that constant arguments of an operation are combined
            with, broadcastable to its output.
        moves: (path, number of the call) -> for operations that only move numbers: the call, and the channel of each
            position of its input.
        products: for each call that multiplies by a kernel: (path, kernel, how often each number of the kernel is
            used for one sample; None if sizes are unknown).
        solved: label -> channel.
        outputs: the tensors that the model returns.
        hidden: path of a layer with filters inside a layer that is not followed -> why they cannot be cut.
    """

    size: int
    producers: dict[str, np.ndarray]
    weights: tuple[Weight, ...]
    counts: dict[str, dict[str, np.ndarray]]
    pins: dict[int, str]
    layers: dict[str, Any]
    calls: tuple[Call, ...]
    products: tuple[tuple[str, Any, float | None], ...]
    averages: tuple[tuple[Any, np.ndarray, bool], ...]
    constants: dict[tuple[str, int], np.ndarray]
    moves: dict[tuple[str, int], tuple[Call, np.ndarray]]
    solved: np.ndarray
    outputs: tuple[Tensor, ...]
    hidden: dict[str, str] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[int, Group]:
        """Channel -> its group of filters, in network order, including groups that cannot be cut."""
        members: dict[int, list[Filter]] = {}
        for path, channels in self.producers.items():
            for index, channel in enumerate(channels.tolist()):
                members.setdefault(channel, []).append(Filter(path, index))
        return {channel: Group(tuple(filters)) for channel, filters in members.items()}

    @cached_property
    def cuttable(self) -> dict[int, Group]:
        """Channel -> its group, for groups that can be cut, in network order."""
        return {channel: group for channel, group in self.groups.items() if channel not in self.pins}

    @cached_property
    def unswitchable(self) -> dict[str, str]:
        """Path of a layer -> why its filters cannot be cut; if only some cannot, which ones."""
        reasons = dict(self.hidden)
        for path, channels in self.producers.items():
            pinned = {
                index: self.pins[channel] for index, channel in enumerate(channels.tolist()) if channel in self.pins
            }
            if pinned:
                which = "" if len(pinned) == channels.size else f"filters {_ranges(sorted(pinned))}: "
                reasons[path] = which + "; ".join(dict.fromkeys(pinned.values()))
        return reasons

    @cached_property
    def axes(self) -> dict[int, dict[int, np.ndarray]]:
        """Id of a variable -> axis -> the channel of each index on it."""
        axes: dict[int, dict[int, np.ndarray]] = {}
        for weight in self.weights:
            axes.setdefault(id(weight.variable), {})[weight.axis] = weight.channels
        return axes

    def kept(self, variable: Any, gone: np.ndarray) -> dict[int, np.ndarray]:
        """Axis -> the indices of the variable that are left when the channels in `gone` (bools) are cut."""
        return {axis: np.flatnonzero(~gone[channels]) for axis, channels in self.axes.get(id(variable), {}).items()}

    def read_by(self, variable: Any, chosen: np.ndarray) -> dict[int, np.ndarray]:
        """Axis -> the indices of the variable that read the channels in `chosen` (bools)."""
        reading = self._readers.get(id(variable), ()) if chosen.any() else ()
        return {weight.axis: np.flatnonzero(chosen[weight.channels]) for weight in reading}

    @cached_property
    def _readers(self) -> dict[int, list[Weight]]:
        readers: dict[int, list[Weight]] = {}
        for weight in self.weights:
            if not weight.owned:
                readers.setdefault(id(weight.variable), []).append(weight)
        return readers

    @cached_property
    def tensors(self) -> tuple[np.ndarray, ...]:
        """The sets of channels that form a tensor and can be cut, each once, in network order."""
        arrays = {id(labels): labels for call in self.calls for labels, _ in (*call.taken, *call.given)}
        sets = (np.unique(self.solved[labels]) for labels in arrays.values())
        return tuple({channels.tobytes(): channels for channels in sets if channels[0] not in self.pins}.values())

    def placeholders(self, gone: np.ndarray) -> np.ndarray:
        """Which channels in `gone` (bools) have to stay as placeholder filters, so that no tensor becomes empty.

        Nothing reads a placeholder filter: the kernel slices that would read it are zero.

        Raises:
            ModelError: none can stay, because a normalisation averages over them together with channels that are left,
                or an operation over channels has none left.
        """
        stays, stuck = np.zeros_like(gone), np.zeros_like(gone)
        for layer, channels, needs_one in self.averages:
            stuck[channels] |= not gone[channels].all()
            if needs_one and gone[channels].all():
                raise ModelError(
                    f"All channels that {layer.name} is taken over are disabled ({self._named(channels)}), so there is "
                    "nothing that it could give. Enable one of them."
                )
        for channels in self.tensors:
            if gone[channels].all() and not stays[channels].any():
                free = channels[~stuck[channels]]
                if not free.size:
                    raise ModelError(
                        f"All channels of a tensor are disabled ({self._named(channels)}), and a normalisation "
                        "averages over them together with others, so none of them can stay as a placeholder. Enable "
                        "one of them."
                    )
                stays[free[0]] = True
        return stays

    def _named(self, channels: np.ndarray) -> str:
        return ", ".join(str(self.groups[one]) for one in channels[:5].tolist() if one in self.groups)

    def channel(self, filter: Filter) -> int | None:
        """The channel of a filter; None if there is no such filter."""
        channels = self.producers.get(filter.layer)
        if channels is None or not 0 <= filter.index < channels.size:
            return None
        return int(channels[filter.index])


def _ranges(indices: list[int]) -> str:
    """[0, 1, 2, 5] as "0-2, 5"."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)
