"""Walk: runs a network step by step over all calibration data, and keeps each tensor only as long as it is needed.

Tensors are held in chunks of a few images. What exceeds the budget of memory lies in temporary files, so the number
of images is limited by the disk and not by the memory.
"""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.errors import DataError
from shrinknet.repair.program import Program, Step
from shrinknet.repair.settings import Refit, samples_at_once, samples_wanted

Station = tuple[Step, ...]


class Inputs:
    """Calibration data, checked, and cut into chunks.

    Args:
        program: of the network that takes them.
        data: what the network's `predict` takes: an array, or a list or dict of arrays, the samples on the first axis.
        settings: how many samples are drawn, and how many make a chunk; a network with a fixed batch size sets its own.

    Raises:
        DataError: the data are empty, of different lengths, or not finite.
    """

    def __init__(self, program: Program, data: Any, settings: Refit) -> None:
        self._functional = program.functional
        self._data = keras.tree.map_structure(np.asarray, data)
        arrays = keras.tree.flatten(self._data)
        if len(arrays) != len(program.inputs):
            raise DataError(
                f"Expected calibration data for {len(program.inputs)} inputs of the network; received "
                f"{len(arrays)} arrays. Give the inputs alone, without targets."
            )
        lengths = {array.shape[0] if array.ndim else 0 for array in arrays}
        if len(lengths) != 1 or 0 in lengths:
            raise DataError(f"Expected calibration data of one length from 1; received lengths {sorted(lengths)}.")
        self.given: int = lengths.pop()
        shapes = [array.shape[1:] for array in arrays]
        wanted = samples_wanted(settings, shapes)
        self._chosen = _drawn(self.given, wanted, settings.seed)
        if not all(np.isfinite(array[self._chosen]).all() for array in arrays if array.dtype.kind == "f"):
            raise DataError("Calibration data hold NaN or infinite numbers; repair needs finite ones.")
        self.size: int = len(self._chosen)
        self.batch: int = self._functional.inputs[0].shape[0] or min(samples_at_once(settings, shapes), self.size)
        self.chunks: int = -(-self.size // self.batch)

    def in_batches(self, batch: int) -> Inputs:
        """The same samples in chunks of so many at most; of the network's own size where that is fixed."""
        other = copy.copy(self)
        other.batch = self.batch if self._functional.inputs[0].shape[0] else min(batch, self.batch)
        other.chunks = -(-other.size // other.batch)
        return other

    def indices(self, number: int) -> np.ndarray:
        """Which of the given samples make a chunk; the last one is filled up with repeats."""
        places = np.arange(number * self.batch, (number + 1) * self.batch)
        return self._chosen[np.minimum(places, self.size - 1)]

    def real(self, number: int, rows: int) -> int:
        """How many of a tensor's rows in a chunk come of samples that are no repeats; a sample has one, or more."""
        return min(self.batch, self.size - number * self.batch) * (rows // self.batch)

    def chunk(self, number: int) -> list[Any]:
        """The tensors of one chunk, in the order of the network's inputs."""
        index = self.indices(number)
        chosen = keras.tree.map_structure(lambda array: array[index], self._data)
        return list(self._functional._standardize_inputs(chosen))


def _drawn(size: int, wanted: int | None, seed: int) -> np.ndarray:
    """The wanted number of samples out of so many, ascending; None: all."""
    if wanted is None or wanted >= size:
        return np.arange(size)
    numbers = np.random.Philox(key=[seed, 0]).random_raw(size)
    return np.sort(np.argsort(numbers, kind="stable")[:wanted])


class Activations:
    """Tensors of a walk, each in chunks; a context manager, because some of them may lie in files.

    Args:
        budget: bytes that are held in memory; what comes beyond is written to temporary files.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._held: dict[tuple[int, int], Any] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Activations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def put(self, slot: int, chunk: int, tensor: Any) -> None:
        """Keeps one chunk of a tensor."""
        size = _bytes(tensor)
        if self._used + size > self._budget:
            self._held[slot, chunk] = self._spilled(slot, chunk, tensor)
        else:
            self._used += size
            self._held[slot, chunk] = tensor

    def get(self, slot: int, chunk: int) -> Any:
        """One chunk of a tensor that is kept."""
        held = self._held[slot, chunk]
        return held.load() if isinstance(held, _File) else held

    def chunks(self, slot: int) -> Iterator[Any]:
        """All chunks of a tensor that is kept."""
        return (self.get(slot, chunk) for _, chunk in sorted(key for key in self._held if key[0] == slot))

    def __contains__(self, slot: int) -> bool:
        """Whether a tensor is kept."""
        return (slot, 0) in self._held

    def drop(self, slot: int) -> None:
        """Forgets all chunks of a tensor."""
        for key in [key for key in self._held if key[0] == slot]:
            held = self._held.pop(key)
            if isinstance(held, _File):
                held.path.unlink()
            else:
                self._used -= _bytes(held)

    def _spilled(self, slot: int, chunk: int, tensor: Any) -> _File:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="shrinknet-")
        return _File(Path(self._folder.name) / f"{slot}-{chunk}", tensor)


class _File:
    """A tensor in a file; its mask, if it has one, is lost with its place in memory and so is kept beside it."""

    def __init__(self, path: Path, tensor: Any) -> None:
        array = ops.convert_to_numpy(tensor)
        self.path, self._shape, self._dtype = path, array.shape, array.dtype
        self._mask = keras.src.backend.get_keras_mask(tensor)
        array.tofile(path)

    def load(self) -> Any:
        tensor = ops.convert_to_tensor(np.fromfile(self.path, self._dtype).reshape(self._shape))
        if self._mask is not None:
            keras.src.backend.set_keras_mask(tensor, self._mask)
        return tensor


def _bytes(tensor: Any) -> int:
    count = 1
    for size in tensor.shape:
        count *= int(size)
    return count * (2 if str(keras.backend.standardize_dtype(tensor.dtype)).endswith("16") else 4)


Visit = Callable[[Station, Activations], None]


def walk(program: Program, inputs: Inputs, visit: Visit, *, together: Collection[str] = (), budget: int) -> None:
    """Runs the network over all chunks, one station after the other.

    Args:
        program: what is run; layers are called as they are at that moment, so `visit` may change their weights.
        inputs: the calibration data.
        visit: is called before each station runs, with the station and the tensors that are kept, those that it takes
            among them.
        together: paths of layers whose calls are visited at once.
        budget: bytes of activations that are held in memory.
    """
    stations = program.stations(together)
    uses = Counter(slot for station in stations for step in station for slot in dict.fromkeys(step.takes))
    chunks = range(inputs.chunks)
    with Activations(budget) as kept:
        for chunk in chunks:
            for slot, tensor in zip(program.inputs, inputs.chunk(chunk), strict=True):
                if uses[slot]:
                    kept.put(slot, chunk, tensor)
        for station in stations:
            visit(station, kept)
            for step in station:
                for chunk in chunks:
                    outputs = step.run([kept.get(slot, chunk) for slot in step.takes])
                    for slot, tensor in zip(step.gives, outputs, strict=True):
                        if uses[slot]:
                            kept.put(slot, chunk, tensor)
                for slot in dict.fromkeys(step.takes):
                    uses[slot] -= 1
                    if not uses[slot]:
                        kept.drop(slot)
