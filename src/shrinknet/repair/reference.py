"""Reference: what the readers of the uncut network compute, remembered at sampled places: the targets of refit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.network.switches import Switches
from shrinknet.repair.program import Program, Step, record
from shrinknet.repair.projections import readers
from shrinknet.repair.readers import Reader
from shrinknet.repair.sampling import sampled
from shrinknet.repair.settings import Refit
from shrinknet.repair.walk import Activations, Inputs, walk
from shrinknet.threads import threads_for


class Block(NamedTuple):
    """Some rows of a reader's regression.

    Attributes:
        number: of the call.
        rows: which of the call's rows.
        columns: float32, shape (groups, rows, columns).
        beside: what the outputs of these rows are added to once they were normalized, float32, shape (groups, rows,
            outputs); None where they are not added to anything, or not yet.
    """

    number: int
    rows: slice
    columns: np.ndarray
    beside: np.ndarray | None


Handle = Callable[[Reader, tuple[Step, ...], Iterator[Block]], None]


@dataclass(frozen=True, eq=False)
class Reference:
    """What `remember` returns: plain arrays, a function of the network's weights, the data and the settings alone.

    Attributes:
        outputs: path of a reader -> for each of its calls its outputs before the activation function, float32, shape
            (groups, rows, outputs).
        beside: path of a reader whose outputs are added to others -> these, of the same shape.
        kernels: path -> the kernel, float32, shape (groups, columns, outputs).
        means: path -> moving mean of the normalization that stands in for the bias; absent where there is none.
        samples: how many calibration samples there were.
        settings: which samples and places were taken.
    """

    outputs: Mapping[str, tuple[np.ndarray, ...]]
    beside: Mapping[str, np.ndarray]
    kernels: Mapping[str, np.ndarray]
    means: Mapping[str, np.ndarray]
    samples: int
    settings: Refit

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        arrays = [array for calls in self.outputs.values() for array in calls]
        return sum(array.nbytes for array in (*arrays, *self.beside.values(), *self.kernels.values()))


class Calibration:
    """A network and its calibration data, to be walked through reader by reader, as often as one likes.

    Args:
        net: what `switched(model)` returned.
        data: inputs as `net.predict` takes them, arrays without targets.
        settings: which samples and places are taken.
        switches: of the network, where they are at hand.
    """

    def __init__(self, net: Any, data: Any, settings: Refit, switches: Switches | None = None) -> None:
        self.net = net
        self.settings = settings
        self.switches = switches or Switches(net)
        self.inputs = Inputs(self.program, data, settings)

    @cached_property
    def program(self) -> Program:
        """The steps of the network."""
        return record(self.net)

    @cached_property
    def readers(self) -> dict[str, Reader]:
        """Path -> reader, in network order."""
        return {reader.path: reader for reader in readers(self.switches.graph, self.program)}

    def walk(self, handle: Handle) -> None:
        """Calls `handle` for each reader before it runs: with the calls that are due, and their rows in blocks.

        All calls of a shared layer are due at once, unless one feeds another.
        """

        def visit(station: tuple[Step, ...], tensors: Activations) -> None:
            reader = self.readers.get(station[0].path)
            if reader is not None:
                handle(reader, station, self._blocks(reader, station, tensors))

        shared = [path for path, reader in self.readers.items() if len(reader.steps) > 1]
        widest = max((reader.reads.shape[1] for reader in self.readers.values()), default=0)
        with threads_for(widest):
            walk(self.program, self.inputs, visit, together=shared, budget=self.settings.memory)

    def look(self, look: Callable[[Reader, np.ndarray], None]) -> None:
        """Shows `look` every reader with what it reads, chunk by chunk, shape (samples, places, channels)."""

        def visit(station: tuple[Step, ...], tensors: Activations) -> None:
            reader = self.readers.get(station[0].path)
            if reader is None:
                return
            for chunk, tensor in enumerate(tensors.chunks(station[0].takes[0])):
                array = np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))
                look(reader, reader.by_channel(array[: self.inputs.real(chunk, len(array))]))

        walk(self.program, self.inputs, visit, budget=self.settings.memory)

    def _blocks(self, reader: Reader, station: tuple[Step, ...], tensors: Activations) -> Iterator[Block]:
        for step in station:
            batch = self.inputs.batch
            table, images, at = None, np.zeros(0, int), np.zeros(0, int)
            others = [tensors.chunks(slot) for slot in reader.beside if slot in tensors]
            joined = zip(*others, strict=True) if len(others) == len(reader.beside) > 0 else itertools.repeat(())
            for chunk, (tensor, terms) in enumerate(zip(tensors.chunks(step.takes[0]), joined, strict=False)):
                fields = reader.fields(tensor)
                if chunk == 0:
                    table = reader.table(tensor)
                    each, batch = len(fields) // batch, len(fields)  # frames of a sample, where time steps are folded
                    images, at = self._sampled(step, each, fields.shape[1] if table is None else len(table))
                first, last = np.searchsorted(images, [chunk * batch, (chunk + 1) * batch])
                if last > first:
                    rows = slice(int(first), int(last))
                    where = images[rows] - chunk * batch, at[rows]
                    beside = reader.sums(terms, *where) if terms else None
                    yield Block(step.number, rows, reader.rows(fields, table, *where), beside)

    def _sampled(self, step: Step, each: int, places: int) -> tuple[np.ndarray, np.ndarray]:
        settings = self.settings
        name = f"{step.path} {step.number}"
        return sampled(self.inputs.size * each, places, settings.positions, seed=settings.seed, name=name)


def remember(net: Any, data: Any, settings: Refit | None = None) -> Reference:
    """What a network computes now, as targets for `refit` after cuts.

    Take it before anything is disabled, and use it for every refit of a run. After a process was killed it can be made
    again: the same weights, data and settings give the same bits. Training moves the weights, so take a new one then.

    Args:
        net: what `switched(model)` returned.
        data: inputs as `net.predict` takes them: an array, or a list or dict of arrays, without targets.
        settings: which samples and places are taken; None: `Refit()`.

    Returns:
        Targets of every layer that can be repaired: 4 bytes for each of its filters and sampled places.

    Raises:
        ModelError: the network has no switches, or its operations are not recorded.
        DataError: the data are empty, not finite, or not what the network takes.
    """
    return reference_of(Calibration(net, data, settings or Refit()))


def reference_of(calibration: Calibration) -> Reference:
    """As `remember`, for a network whose calibration data were checked before."""
    disabled = calibration.switches.read("disabled")
    outputs: dict[str, dict[int, list[np.ndarray]]] = {}
    beside: dict[str, list[np.ndarray]] = {}

    def handle(reader: Reader, station: tuple[Step, ...], blocks: Iterator[Block]) -> None:
        if not reader.repairable:
            return
        kernel, bias = reader.matrix(), reader.constants()
        kernel = np.where(disabled[reader.reads][:, :, np.newaxis], 0, kernel)
        for block in blocks:
            y = block.columns @ kernel + bias[:, np.newaxis]
            outputs.setdefault(reader.path, {}).setdefault(block.number, []).append(y)
            if block.beside is not None:
                beside.setdefault(reader.path, []).append(block.beside)

    calibration.walk(handle)
    known = calibration.readers
    return Reference(
        outputs={
            path: tuple(np.concatenate(calls[number], axis=1) for number in sorted(calls))
            for path, calls in outputs.items()
        },
        beside={path: np.concatenate(blocks, axis=1) for path, blocks in beside.items()},
        kernels={path: reader.matrix() for path, reader in known.items() if reader.repairable},
        means={path: mean_of(reader) for path, reader in known.items() if reader.norm is not None},
        samples=calibration.inputs.size,
        settings=calibration.settings,
    )


def mean_of(reader: Reader) -> np.ndarray:
    """The moving mean of the normalization behind a reader, float32, shape (groups, outputs)."""
    return np.array(ops.convert_to_numpy(reader.norm.moving_mean)).astype("float32").reshape(reader.makes.shape)


def check_reference(reference: Reference, calibration: Calibration) -> None:
    """Refuses a reference that belongs to another network or to other data.

    Raises:
        ModelError: its readers are others; DataError: it was taken of another number of samples; OptionError: of other
            samples or places.
    """
    for path, reader in calibration.readers.items():
        known = reference.kernels.get(path)
        if not reader.repairable:
            continue
        if known is None or known.shape != (*reader.reads.shape, reader.makes.shape[1]):
            raise ModelError(
                f"The reference was taken of another network: it knows no layer {path} of this shape. Take one of this "
                "network with remember(net, data)."
            )
    if reference.samples != calibration.inputs.size:
        raise DataError(
            f"The reference was taken of {reference.samples} calibration samples, but {calibration.inputs.size} were "
            "given. Give the same data to remember and to refit."
        )
    for name in ("samples", "positions", "seed"):
        taken, wanted = getattr(reference.settings, name), getattr(calibration.settings, name)
        if taken != wanted:
            raise OptionError(
                f"The reference was taken with {name}={taken!r}, but refit was asked for {wanted!r}: its targets are "
                "of other places. Give both the same settings."
            )
