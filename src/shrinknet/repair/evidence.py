"""Evidence: what the calibration data say about each group, as NumPy arrays for strategies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops
from keras.layers import BatchNormalization

from shrinknet.errors import DataError
from shrinknet.filters import Filter
from shrinknet.graph import ChannelGraph
from shrinknet.network.assembling import plain_class
from shrinknet.network.switches import Switches
from shrinknet.repair.gradients import sensed
from shrinknet.repair.program import Step
from shrinknet.repair.readers import Reader
from shrinknet.repair.reference import Block, Calibration, Reference
from shrinknet.repair.refitting import Repaired, repaired, shifts
from shrinknet.repair.regression import Regression
from shrinknet.strategies.equations import Equations, Signal

WIDE = 2_500
"""Readers of more columns are described as if their taps were independent: a column for each channel."""


def scales(switches: Switches) -> dict[Filter, float]:
    """See `shrinknet.strategies.Network`."""
    graph = switches.graph
    sums, counts = np.zeros(graph.size), np.zeros(graph.size)
    for weight in graph.weights:
        if plain_class(type(weight.layer)) is BatchNormalization and weight.variable is weight.layer.gamma:
            np.add.at(sums, weight.channels, np.abs(ops.convert_to_numpy(weight.variable)))
            np.add.at(counts, weight.channels, 1)
    known = ((group.name, channel) for channel, group in graph.cuttable.items() if counts[channel])
    return {name: float(sums[channel] / counts[channel]) for name, channel in known}


class Evidence:
    """What a strategy can learn about a network; each method measures it as it is now.

    Args:
        calibration: the network and its calibration data.
        targets: of these data; only `slopes` and weighted equations need them.
    """

    def __init__(self, calibration: Calibration, targets: Any = None) -> None:
        self.calibration = calibration
        self.targets = targets
        self._known: tuple[Any, tuple[Equations, ...]] | None = None  # digest of the network, with `weighted`
        self._seen: tuple[int, Mapping[str, Regression]] | None = None  # digest of the network, and what was added up

    def equations(self, weighted: bool = False) -> tuple[Equations, ...]:
        """See `shrinknet.strategies.Network`. The same tuple is returned until the network is changed."""
        key = self._digest(), weighted
        if self._known is None or self._known[0] != key:
            seen = self._seen[1] if self._seen is not None and self._seen[0] == key[0] else {}
            gathered = Gathered(self.calibration, seen)
            if not gathered.complete:
                gathered = Gathered(self.calibration)
                self.calibration.walk(gathered.handle)
            self._known = key, gathered.equations(self._weights() if weighted else {})
        return self._known[1]

    def repaired(self, reference: Reference) -> Repaired:
        """Refits the network. What that adds up serves the next equations, which then need no walk of their own.

        They have the same bits as after a walk. Where a reader is wide, nothing is kept: equations have another form.
        """
        self._seen = None
        if any(map(wide, self.calibration.readers.values())):
            return repaired(self.calibration, reference)
        seen: dict[str, Regression] = {}
        done = repaired(self.calibration, reference, seen)
        self._seen = self._digest(), seen
        return done

    def _digest(self) -> int:
        digest = 0
        for variable in self.calibration.net.variables:
            digest = zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(variable.value)).data, digest)
        return digest

    def slopes(self) -> dict[Filter, np.ndarray]:
        """See `shrinknet.strategies.Network`."""
        graph = self.calibration.switches.graph
        chunks: dict[int, list[np.ndarray]] = {}  # number of the chunk -> (channels of the graph, samples)
        for one in sensed(self.calibration, self._targets()):
            if one.reader.gated:
                products = one.reader.by_channel(one.inputs * one.input_gradients)
                products = products.reshape(one.samples, -1, products.shape[-1])  # frames of a sample are its places
                total = np.zeros((graph.size, len(products)), "float32")
                np.add.at(total, one.reader.inputs, products.sum(axis=1).T)
                chunks.setdefault(one.chunk, []).append(total)
        falls = np.concatenate([np.sum(parts, axis=0) for parts in chunks.values()], axis=1)
        return {group: falls[channel] for group, channel in self._read().items()}

    def signals(self) -> dict[Filter, Signal]:
        """See `shrinknet.strategies.Network`."""
        size = self.calibration.switches.graph.size
        sums, zeros, counts = np.zeros(size), np.zeros(size), np.zeros(size)

        def look(reader: Reader, fields: np.ndarray) -> None:
            if reader.gated:
                np.add.at(sums, reader.inputs, np.abs(fields).sum(axis=(0, 1), dtype=np.float64))
                np.add.at(zeros, reader.inputs, (fields == 0).sum(axis=(0, 1)))
                np.add.at(counts, reader.inputs, fields.shape[0] * fields.shape[1])

        self.calibration.look(look)
        return {
            group: Signal(float(sums[channel] / counts[channel]), float(zeros[channel] / counts[channel]))
            for group, channel in self._read().items()
        }

    def _targets(self) -> Any:
        if self.targets is None:
            raise DataError(
                "Expected targets of the calibration data: what the loss minds cannot be told without them."
            )
        return self.targets

    def _read(self) -> dict[Filter, int]:
        """The enabled groups that some gated reader reads, and their channels, in network order."""
        switches = self.calibration.switches
        gone = switches.read("disabled")
        read = np.zeros(switches.graph.size, bool)
        for reader in self.calibration.readers.values():
            read[reader.inputs] |= reader.gated
        cuttable = switches.graph.cuttable.items()
        return {group.name: channel for channel, group in cuttable if read[channel] and not gone[channel]}

    def _weights(self) -> dict[str, np.ndarray]:
        """Path of a reader -> mean over samples of the squared gradients at its outputs, summed over places."""
        squares: dict[str, np.ndarray] = {}
        for one in sensed(self.calibration, self._targets()):
            if not one.reader.known_outputs:
                continue
            gradients = one.reader.by_channel(one.output_gradients)
            square = np.square(gradients).sum(axis=(0, 1), dtype=np.float64).reshape(one.reader.makes.shape)
            squares[one.reader.path] = squares.get(one.reader.path, 0) + square / self.calibration.inputs.size
        return squares


class Gathered:
    """Moments of the readers' inputs, added up in a walk.

    Args:
        seen: what was added up already.
    """

    def __init__(self, calibration: Calibration, seen: Mapping[str, Regression] | None = None) -> None:
        self._calibration = calibration
        self._graph = calibration.switches.graph
        self._gone = calibration.switches.read("disabled")
        self._sums = {path: sums for path, sums in (seen or {}).items() if self._matters(calibration.readers[path])}

    @property
    def complete(self) -> bool:
        """Whether everything that matters was added up."""
        return all(path in self._sums for path, one in self._calibration.readers.items() if self._matters(one))

    def handle(self, reader: Reader, station: tuple[Step, ...], blocks: Iterator[Block]) -> None:
        """Adds up the rows of the calls that are due."""
        if self._matters(reader):
            self._add(reader, (block.columns for block in blocks))

    def _add(self, reader: Reader, blocks: Iterator[np.ndarray]) -> None:
        channels = by_channel(reader) if wide(reader) else None
        if reader.path not in self._sums:
            groups, columns = reader.reads.shape if channels is None else (1, len(channels))
            self._sums[reader.path] = Regression((groups, columns, 0), shifts(reader, self._calibration.settings))
        for x in blocks:
            if channels is not None:
                x = x[0][:, channels].swapaxes(1, 2).reshape(1, -1, len(channels))
            self._sums[reader.path].add(x, np.zeros((len(x), x.shape[1], 0), "float32"))

    def equations(self, weights: Mapping[str, np.ndarray]) -> tuple[Equations, ...]:
        """What was added up, reader by reader in network order; `weights` are those of their outputs."""
        known = self._calibration.readers
        made = [
            one
            for path, reader in known.items()
            if path in self._sums
            for one in _equations(reader, self._sums[path], weights.get(path), self._graph, self._gone)
        ]
        minded = [_energy(one) for one in made if one.weights is not None]
        if not minded or len(minded) == len(made):
            return tuple(made)
        usual = float(np.mean(minded))  # a reader whose gradients cannot be had counts as much as another
        return tuple(one if one.weights is not None else _weighed(one, usual) for one in made)

    def _matters(self, reader: Reader) -> bool:
        """Whether it reads anything that can be cut, and is read itself."""
        free = (one in self._graph.cuttable and not self._gone[one] for one in np.unique(reader.reads).tolist())
        return reader.gated and not self._gone[reader.makes].all() and any(free)


def _energy(equations: Equations) -> float:
    """The mean square of a reader's outputs, each times its weight."""
    weights = 1.0 if equations.weights is None else equations.weights
    return float(np.sum(np.einsum("co,co->o", equations.kernel, equations.moments @ equations.kernel) * weights))


def _weighed(equations: Equations, energy: float) -> Equations:
    """The same with one weight for all outputs, such that together they have this energy."""
    weight = energy / (_energy(equations) or 1.0)
    return replace(equations, weights=np.full(equations.kernel.shape[1], weight))


def wide(reader: Reader) -> bool:
    """Whether a reader comes in the cheaper form: it has many columns, and equally many for each channel."""
    _, counts = np.unique(reader.reads[0], return_counts=True)
    return reader.reads.shape[0] == 1 and reader.reads.shape[1] > WIDE and len(set(counts.tolist())) == 1


def by_channel(reader: Reader) -> np.ndarray:
    """The columns of each channel that a wide reader reads, int, shape (channels, taps)."""
    channels = len(np.unique(reader.reads[0]))
    return np.argsort(reader.reads[0], kind="stable").reshape(channels, -1)


def _equations(
    reader: Reader, sums: Regression, weights: np.ndarray | None, graph: ChannelGraph, gone: np.ndarray
) -> Iterator[Equations]:
    kernel = reader.matrix().astype(np.float64)
    for group in range(len(sums.means[0])):
        moments = sums.moments(group) + np.diag(sums.noise(group))
        reads, makes, matrix = reader.reads[group], reader.makes[group], kernel[group]
        minds = None if weights is None else weights[group]
        if wide(reader):
            columns = by_channel(reader)  # (channels, taps)
            matrix = matrix[columns].reshape(len(columns), -1)
            reads, makes = reads[columns[:, 0]], np.tile(makes, columns.shape[1])
            minds = None if minds is None else np.tile(minds, columns.shape[1])
        live = ~gone[reads]
        matrix = np.where(np.outer(live, ~gone[makes]), matrix, 0)
        moments = moments * np.outer(live, live)
        yield Equations(reader.path, moments, matrix, _places(reads, graph, gone), _places(makes, graph, gone), minds)


def _places(channels: np.ndarray, graph: ChannelGraph, gone: np.ndarray) -> Mapping[Filter, np.ndarray]:
    """Name of each group that can be cut and is not gone -> where it stands in an array of channels."""
    order = np.argsort(channels, kind="stable")
    found, first = np.unique(channels[order], return_index=True)
    parts = np.split(order, first[1:])
    return {
        graph.cuttable[channel].name: part
        for channel, part in zip(found.tolist(), parts, strict=True)
        if channel in graph.cuttable and not gone[channel]
    }
