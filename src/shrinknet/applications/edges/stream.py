"""Crops that are read from disk on demand, for folders of photographs that do not fit into memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from shrinknet.applications.edges.data import PARTS, CropReader, each
from shrinknet.errors import DataError

AHEAD = 8  # batches to read ahead during training


@dataclass(frozen=True)
class CropFiles:
    """The crops of one part, with the same order and values as in `edge_data`, but not in memory.

    Attributes:
        reader: of all photographs; part: "train", "validation" or "test".
        indices: the usable photographs of the part, as indices of the reader.
    """

    reader: CropReader
    part: str
    indices: tuple[int, ...]

    @property
    def each(self) -> int:
        """Crops of each photograph."""
        cropping = self.reader.cropping
        return cropping.train if self.part == "train" else cropping.grid**2

    @property
    def samples(self) -> int:
        """Number of crops."""
        return self.each * len(self.indices)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The crops of these rows and their edge maps, each (rows, height, width, 1), float32."""
        crops = [self._crop(int(row)) for row in rows]
        return np.stack([x for x, _ in crops]), np.stack([y for _, y in crops])

    def _crop(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        photograph, crop = divmod(row, self.each)
        x, y = self.reader(self.indices[photograph])
        return x[crop], y[crop]


@dataclass(frozen=True)
class Batches:
    """Batches of given rows, read ahead in the background; can be iterated over any number of times.

    Attributes:
        take: reads the crops of a batch; rows: of each batch.
    """

    take: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    rows: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        coming: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        pool = ThreadPoolExecutor(2)
        try:
            for rows in self.rows:
                coming.append(pool.submit(self.take, rows))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def crop_files(
    reader: CropReader, *, skip: bool, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, CropFiles], dict[str, str]]:
    """The crops of every part. Reads every photograph once, which fills the reader's cache.

    Args:
        reader: of all photographs; skip: list those that cannot be used instead of raising.
        progress: called with the number of photographs done and the total.

    Returns:
        part -> its crops; name -> why the photograph was skipped.

    Raises:
        DataError: a photograph cannot be used, or none is left for a part.
    """

    def look(index: int) -> bool:
        reader(index)
        return True

    good, skipped = each(reader.photographs, look, skip=skip, progress=progress)
    parts = {
        part: CropFiles(reader, part, tuple(index for index in good if reader.photographs[index].part == part))
        for part in PARTS
    }
    for part, crops in parts.items():
        if not crops.indices:
            raise DataError(f"No photograph is left for {part}: add photographs, or repair those that were skipped.")
    return parts, skipped
