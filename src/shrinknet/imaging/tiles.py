"""Tiles: a large image worked on piece by piece, each with the surroundings that its answers depend on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from shrinknet.errors import DataError
from shrinknet.imaging.windows import reflected

Progress = Callable[[int, int, float], None]  # tiles done, tiles in all, seconds that are left
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        rows, columns: of the image that the tile answers for.
        top, left: where they begin in the answer to `cut`.
    """

    rows: slice
    columns: slice
    top: int
    left: int

    def cut(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The tile with its surroundings, `size` rows and columns; borders of the image by reflection."""
        rows = reflected(np.arange(size[0]) + self.rows.start - self.top, image.shape[0])
        columns = reflected(np.arange(size[1]) + self.columns.start - self.left, image.shape[1])
        return np.asarray(image[rows[:, None], columns])

    def answered(self, answer: np.ndarray) -> np.ndarray:
        """The part of an answer of the cut's size that belongs to the tile."""
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return answer[self.top : self.top + height, self.left : self.left + width]


def tiles(box: Box, size: tuple[int, int], before: tuple[int, int] = (0, 0)) -> list[Tile]:
    """Tiles that cover a box, row by row; the last ones may be smaller.

    Args:
        box: left, top, right and bottom in pixels, the last two exclusive.
        size: height and width of a tile without its surroundings.
        before: rows and columns of surroundings above and on the left of it.
    """
    left, top, right, bottom = box
    return [
        Tile(slice(row, min(row + size[0], bottom)), slice(column, min(column + size[1], right)), *before)
        for row in range(top, bottom, size[0])
        for column in range(left, right, size[1])
    ]


def even_part(whole: int, most: int) -> int:
    """The size of equal parts of a whole that are at most so large; the last one may be a little smaller.

    Example:
        >>> even_part(512, 384), even_part(300, 384)
        (256, 300)
    """
    return -(-whole // -(-whole // most))


def checked_box(box: Box | None, shape: tuple[int, int]) -> Box:
    """A box as plain numbers; None becomes the whole image.

    Args:
        box: left, top, right and bottom in pixels, the last two exclusive, as a detector gives it.
        shape: height and width of the image.

    Raises:
        DataError: it is no box, it is empty, or it reaches beyond the image.
    """
    height, width = shape
    if box is None:
        return 0, 0, width, height
    try:
        left, top, right, bottom = (int(side) for side in box)
        whole = all(int(side) == side for side in box)
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise DataError(f"Expected a box of four whole numbers, left, top, right and bottom; received {box!r}.")
    if left >= right or top >= bottom:
        raise DataError(
            f"The box {left},{top},{right},{bottom} is empty: expected left < right and top < bottom, in pixels."
        )
    if left < 0 or top < 0 or right > width or bottom > height:
        raise DataError(
            f"The box {left},{top},{right},{bottom} reaches beyond the image, which is {width} pixels wide and "
            f"{height} high; expected left and top from 0, right up to {width} and bottom up to {height}."
        )
    return left, top, right, bottom


def timed(parts: list[Tile], progress: Progress | None) -> Iterator[Tile]:
    """The tiles one after the other; after each, `progress` hears how many are done and how long the rest takes."""
    begun = time.perf_counter()
    for done, part in enumerate(parts):
        yield part
        if progress is not None:
            each = (time.perf_counter() - begun) / (done + 1)
            progress(done + 1, len(parts), each * (len(parts) - done - 1))
