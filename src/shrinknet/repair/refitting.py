"""Refit: after a cut, every reader gets the kernel and bias that best reproduce its old outputs; no training.

The targets are the outputs of the uncut network, the inputs those of the cut one. Readers are solved in the order of
the network, each on what the repaired layers before it give, so that errors do not pile up (as in ThiNet,
arXiv:1707.06342, and channel pruning, arXiv:1707.06168). The ridge pulls towards the old kernel: where nothing is
missing, nothing moves. What counts is what becomes of an output behind its layer: see `targets.py`.

A layer without a bias whose output goes into one batch normalization alone has one all the same: its moving mean. A
shared layer is solved once, for the rows of all of its calls together. Where one of its calls feeds another, its
inputs are not known before it is solved: it is then solved for the inputs that its old kernel gives, and a second walk
repairs the others after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shrinknet.errors import ModelError
from shrinknet.records import table
from shrinknet.repair.program import Step
from shrinknet.repair.readers import Reader
from shrinknet.repair.reference import (
    Block,
    Calibration,
    Reference,
    check_reference,
    mean_of,
    reference_of,
)
from shrinknet.repair.regression import Regression, WideRegression, regression
from shrinknet.repair.settings import Refit
from shrinknet.repair.targets import Behind


class _Rows(NamedTuple):
    """A block of a regression: columns, targets, and what the outputs are added to once they were normalized."""

    x: np.ndarray
    y: np.ndarray
    beside: np.ndarray | float


@dataclass(frozen=True)
class Repaired:
    """What a refit did.

    Attributes:
        missed: path of each reader that was repaired -> the share of its outputs' mean square, around their means,
            that the cut network does not reproduce on the calibration data; 0 is exact.
        kept: readers that were left as they are because they are frozen or not trainable.
    """

    missed: Mapping[str, float]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        return table({"layer": path, "missed": share} for path, share in self.missed.items())


def refit(net: Any, data: Any, *, reference: Reference | None = None, settings: Refit | None = None) -> Repaired:
    """Gives every reader of a switched network the kernel and bias that make up best for what is disabled.

    Dense layers and convolutions of every kind are repaired: transposed ones, grouped and depthwise ones group by
    group, the pointwise part of separable ones; and of Keras's recurrent layers and EinsumDense the kernel that
    multiplies the inputs. Convolutional LSTMs and layers of the user's own classes are left alone. Slices of kernels
    that read disabled channels, and those of disabled filters, stay as they are.

    Args:
        net: what `switched(model)` returned, with filters disabled.
        data: inputs as `net.predict` takes them: an array, or a list or dict of arrays, without targets.
        reference: what `remember(net, data)` returned before anything was disabled. None: the network as it stands,
            with everything enabled, which is the uncut one as long as it was not repaired or trained since.
        settings: see `Refit`. None: those of the reference, or `Refit()`.

    Returns:
        How well each reader could be repaired; prints as a table.

    Raises:
        ModelError: the network has no switches, the reference is of another one, or a layer gives numbers that are not
            finite.
        DataError: the data are empty, not finite, not what the network takes, or not those of the reference.
        OptionError: the reference was taken with other samples, positions or seed.

    Example:
        >>> net = switched(model)                             # doctest: +SKIP
        >>> reference = remember(net, images)                 # doctest: +SKIP
        >>> Switches(net).disable(Filter("conv1", 3))         # doctest: +SKIP
        >>> print(refit(net, images, reference=reference))    # doctest: +SKIP
    """
    settings = settings or (reference.settings if reference is not None else Refit())
    calibration = Calibration(net, data, settings)
    if reference is None:
        reference = _uncut(calibration)
    check_reference(reference, calibration)
    return repaired(calibration, reference)


def _uncut(calibration: Calibration) -> Reference:
    """The reference of the network with everything enabled."""
    switches = calibration.switches
    disabled = switches.disabled
    switches.enable(*disabled)
    try:
        return reference_of(calibration)
    finally:
        switches.disable(*disabled)


def repaired(calibration: Calibration, reference: Reference, seen: dict[str, Regression] | None = None) -> Repaired:
    """As `refit`, with both at hand.

    Args:
        seen: takes for each reader, by its path, the sums over what it reads now; it is left empty where a second walk
            changes that. None: they are dropped, which saves the memory of all kernels' normal equations.
    """
    work = _Work(calibration, reference, seen)
    calibration.walk(work.handle)
    if work.waiting:
        work.finish()
        calibration.walk(work.handle)
        if seen is not None:
            seen.clear()
    return Repaired(work.missed, tuple(work.kept))


class _Work:
    """One refit: what was added up so far, and what was solved."""

    def __init__(
        self, calibration: Calibration, reference: Reference, seen: dict[str, Regression] | None = None
    ) -> None:
        self.reference = reference
        self.seen = seen
        self.settings = calibration.settings
        self.disabled = calibration.switches.read("disabled")
        self.frozen = calibration.switches.read("frozen")
        self.missed: dict[str, float] = {}
        self.kept: list[str] = []
        self.waiting: dict[str, tuple[Reader, Regression]] = {}
        self.done: set[str] = set()

    def handle(self, reader: Reader, station: tuple[Step, ...], blocks: Iterator[Block]) -> None:
        """Adds up the rows of the calls that are due; solves the reader when all of its calls are."""
        if reader.path in self.done or not reader.repairable:
            return
        if not self._outputs(reader).any():
            if not self.disabled[reader.makes].all() and reader.path not in self.kept:
                self.kept.append(reader.path)
            return
        targets = self.reference.outputs[reader.path]
        _, sums = self.waiting.get(reader.path, (reader, None))
        if sums is None:
            shape = (*reader.reads.shape, reader.makes.shape[1])
            sums = regression(shape, shifts(reader, self.settings), sum(y.shape[1] for y in targets))
        rows = self._rows(reader, blocks, targets)
        if len(station) < len(reader.steps):
            for x, y, _ in rows:
                sums.add(x, y)
            self.waiting[reader.path] = reader, sums
            return
        seen = self.settings.rounds if reader.rectified and not isinstance(sums, WideRegression) else 0
        kept = []
        for row in rows:
            sums.add(row.x, row.y)
            kept += [row] if seen else []
        self._solve(reader, sums, kept)
        if self.seen is not None:
            sums.forget_factors()
            self.seen[reader.path] = sums

    def _rows(self, reader: Reader, blocks: Iterator[Block], targets: tuple[np.ndarray, ...]) -> Iterator[_Rows]:
        """What is read and what shall come of it, block by block."""
        behind, before = Behind.of(reader, self.reference), self.reference.beside.get(reader.path)
        for block in blocks:
            y = targets[block.number][:, block.rows]
            if before is not None and block.beside is not None:
                y = behind.made_up(y, before[:, block.rows], block.beside)
            yield _Rows(block.columns, y, 0.0 if block.beside is None else block.beside)

    def finish(self) -> None:
        """Solves the shared layers whose calls feed one another; a second walk leaves them alone."""
        for path, (reader, sums) in self.waiting.items():
            self._solve(reader, sums, [])
            self.done.add(path)
        self.waiting = {}

    def _outputs(self, reader: Reader) -> np.ndarray:
        """Which outputs are repaired, bool, shape (groups, outputs): somebody reads them, and they may move."""
        chosen = ~self.disabled[reader.makes]
        if self.settings.frozen == "keep":
            chosen &= ~self.frozen[reader.makes] & bool(reader.layer.trainable)
        return chosen

    def _solve(self, reader: Reader, sums: Regression, kept: Sequence[_Rows]) -> None:
        chosen, old = self._outputs(reader), self.reference.kernels[reader.path]
        live = ~self.disabled[reader.reads]
        kernel, constants, missed = self._solutions(reader, sums, live, old)
        behind = Behind.of(reader, self.reference)
        for _ in range(self.settings.rounds if kept else 0):
            gated, constant = np.where(live[..., np.newaxis], kernel, 0), constants[:, np.newaxis].astype("float32")
            seen = ((x, behind.seen(y, x @ gated + constant, beside)) for x, y, beside in kept)
            kernel, constants, missed = self._solutions(reader, sums.retargeted(seen), live, old)
        total = sum(float(sums.spread(group)[chosen[group]].sum()) for group in range(len(chosen)))
        before = reader.matrix()
        reader.assign(np.where(live[:, :, np.newaxis] & chosen[:, np.newaxis], kernel, before))
        self._shift(reader, chosen, constants)
        self.missed[reader.path] = float(missed[chosen].sum()) / (total or 1.0)

    def _solutions(
        self, reader: Reader, sums: Regression, live: np.ndarray, old: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Kernel, constants and what is missed of all groups."""
        kernel, constants = old.astype(np.float32), np.zeros(reader.makes.shape)
        missed = np.zeros(reader.makes.shape)
        for group in range(len(old)):
            try:
                solution = sums.solve(group, live[group], old[group], self.settings.ridge)
            except np.linalg.LinAlgError:  # nothing that is finite, with its ridge, has no solution
                raise _not_finite(reader) from None
            if not np.isfinite(solution.kernel).all():
                raise _not_finite(reader)
            kernel[group][live[group]] = solution.kernel
            constants[group], missed[group] = solution.constants, solution.missed
        return kernel, constants, missed

    def _shift(self, reader: Reader, chosen: np.ndarray, constants: np.ndarray) -> None:
        """Adds the constants: as biases, or taken off the moving means of the normalization."""
        if reader.has_bias:
            reader.set_constants(np.where(chosen, constants, reader.constants()))
        elif shifts(reader, self.settings):
            mean = np.where(chosen, self.reference.means[reader.path] - constants, mean_of(reader))
            reader.norm.moving_mean.assign(mean.reshape(-1))


def _not_finite(reader: Reader) -> ModelError:
    return ModelError(
        f"The layer {reader.path} reads or gives numbers that are not finite on the calibration data, so it cannot be "
        "repaired. Look for NaN in the weights, or for steps that were too large."
    )


def shifts(reader: Reader, settings: Refit) -> bool:
    """Whether a constant can be added to each output of a reader."""
    movable = reader.norm is not None and (settings.frozen == "move" or reader.norm.trainable)
    return reader.has_bias or movable
