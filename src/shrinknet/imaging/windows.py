"""Windows: the small square around every pixel of an image, cut out only when it is asked for.

A window of `height` rows covers (height - 1) // 2 rows above its centre pixel and height // 2 rows below it, and
columns likewise. With an odd size the centre pixel is the middle one. With an even size there is no middle pixel: of
76 rows, 37 lie above and 38 below, so that the centre pixel is half a pixel above and to the left of the middle.

Without padding, an image of H x W pixels has (H - h + 1) (W - w + 1) windows of h x w. With its borders continued by
reflection it has one for every pixel, H W.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.colour_files import as_numbers, as_pixels

BORDERS = ("reflect", "inside")


def window_count(image: tuple[int, int], window: tuple[int, int], borders: str = "inside") -> int:
    """How many overlapping windows an image has.

    Args:
        image: its height and width in pixels; window: likewise.
        borders: "inside" counts windows that lie in the image, (H - h + 1) (W - w + 1), and none where it is smaller;
            "reflect" one for every pixel.

    Example:
        >>> window_count((4256, 3694), (33, 33))  # the report's example, which it takes for 37 x 10**13
        15468288
    """
    if borders == "reflect":
        return image[0] * image[1]
    return max(image[0] - window[0] + 1, 0) * max(image[1] - window[1] + 1, 0)


def reach(size: int) -> tuple[int, int]:
    """How many pixels of a window lie before its centre pixel, and how many behind it.

    Example:
        >>> reach(33), reach(76)
        ((16, 16), (37, 38))
    """
    return (size - 1) // 2, size // 2


def reflected(positions: ArrayLike, size: int) -> np.ndarray:
    """Positions outside of [0, size) mirrored back into it, as often as need be; the border pixel is not repeated.

    Example:
        >>> reflected([-2, -1, 0, 3, 4, 5], 4).tolist()
        [2, 1, 0, 3, 2, 1]
    """
    period = max(2 * (size - 1), 1)
    folded = np.mod(np.asarray(positions), period)
    return np.where(folded < size, folded, period - folded)


class Windows:
    """All overlapping windows of an image in reading order; each is cut when it is asked for.

    Attributes:
        size: height and width of a window in pixels.
        borders: "reflect", one window for every pixel, or "inside".
        shape: rows and columns of windows; their product is the number of windows.
        corner: row and column of the first window's centre pixel.
    """

    def __init__(self, image: np.ndarray, mask: np.ndarray | None, size: tuple[int, int], borders: str) -> None:
        """See `windows`; the arguments are expected to fit."""
        self._image, self._mask = image, mask
        self.size, self.borders = size, borders
        before = (reach(size[0])[0], reach(size[1])[0])
        height, width = image.shape[:2]
        inside = borders == "inside"
        self.corner = before if inside else (0, 0)
        self.shape = (height - size[0] + 1, width - size[1] + 1) if inside else (height, width)
        self._before = before

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def centres(self, numbers: ArrayLike) -> np.ndarray:
        """Row and column of the centre pixels of windows by their numbers, shape (windows, 2)."""
        rows, columns = np.divmod(np.asarray(numbers), self.shape[1])
        return np.stack([rows + self.corner[0], columns + self.corner[1]], -1)

    def at(self, centres: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Windows around pixels.

        Args:
            centres: row and column of each, shape (windows, 2).

        Returns:
            The windows, shape (windows, height, width, channels), float32 in [0, 1]; and the mask at their centres,
            shape (windows, 1), float32, 0 or 1; of zeros where there is no mask.
        """
        places = np.asarray(centres).reshape(-1, 2)
        height, width = self._image.shape[:2]
        rows = reflected(places[:, :1] - self._before[0] + np.arange(self.size[0]), height)
        columns = reflected(places[:, 1:] - self._before[1] + np.arange(self.size[1]), width)
        cut = as_numbers(self._image[rows[:, :, None], columns[:, None, :]])
        if self._mask is None:
            return cut, np.zeros((len(places), 1), np.float32)
        return cut, self._mask[places[:, 0], places[:, 1]].astype(np.float32)[:, None]

    def __getitem__(self, numbers: int | slice | Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows by their numbers, see `at`; of one number a single window (height, width, channels) and its value."""
        if isinstance(numbers, int | np.integer):
            if not -len(self) <= numbers < len(self):
                raise IndexError(f"There are {len(self):,} windows; received the number {numbers}.")
            cut, value = self.at(self.centres([numbers % len(self)]))
            return cut[0], value[0, 0]
        chosen = np.arange(len(self))[numbers] if isinstance(numbers, slice) else np.asarray(numbers)
        return self.at(self.centres(chosen))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[number] for number in range(len(self)))

    def batches(self, batch: int = 1024) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All windows in reading order, `batch` at a time; the last batch may be smaller."""
        for start in range(0, len(self), batch):
            yield self.at(self.centres(np.arange(start, min(start + batch, len(self)))))

    def sample(self, count: int, random: np.random.Generator, *, balanced: bool = False) -> np.ndarray:
        """Centre pixels drawn at random with replacement, shape (count, 2), in random order.

        Args:
            count: how many.
            random: what they depend on, with the mask.
            balanced: half of them marked, half not; where the mask has only one kind, all of it.

        Raises:
            DataError: balanced windows are asked for without a mask.
        """
        if not balanced:
            return self.centres(random.integers(0, len(self), count))
        if self._mask is None:
            raise DataError("Balanced windows are drawn by a mask; received none.")
        top, left = self.corner
        mask = self._mask[top : top + self.shape[0], left : left + self.shape[1]]
        marked = np.count_nonzero(mask, 1)
        plain = mask.shape[1] - marked
        wanted = count // 2 if plain.any() else count
        wanted = wanted if marked.any() else 0
        places = [_drawn(mask, marked, wanted, random), _drawn(mask == 0, plain, count - wanted, random)]
        return random.permutation(np.concatenate(places)) + np.array(self.corner)


def windows(
    image: np.ndarray,
    mask: np.ndarray | None,
    size: int | tuple[int, int],
    *,
    channels: int | None = None,
    borders: str = "reflect",
) -> Windows:
    """Every overlapping window of an image, with the mask's value at its centre pixel; none is held.

    Args:
        image: shape (height, width) or (height, width, channels), uint8, or numbers in [0, 1].
        mask: shape (height, width), 0 or 1; None: the values are not asked for.
        size: height and width of a window in pixels; one number for both.
        channels: 1 or 3; None: those of the image.
        borders: "reflect": one window for every pixel, the image continued by reflection; "inside": those that lie in
            the image.

    Raises:
        DataError: image and mask differ in size, or the image is smaller than a window and `borders` is "inside".
        OptionError: an option is outside of its range.

    Example:
        >>> import numpy as np
        >>> image = np.arange(20, dtype=np.uint8).reshape(4, 5)
        >>> cut, value = windows(image, image > 9, 3)[7]  # the window around row 1, column 2
        >>> (255 * cut[..., 0]).round().astype(int).tolist(), value
        ([[1, 2, 3], [6, 7, 8], [11, 12, 13]], np.float32(0.0))
    """
    sides = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(sides) < 1 or borders not in BORDERS:
        raise OptionError(
            f"Windows expect a size of at least 1 pixel and borders out of {', '.join(BORDERS)}; received {size} and "
            f"{borders!r}."
        )
    grey = np.ndim(image) == 2 or np.shape(image)[-1] == 1
    pixels = as_pixels(image, channels or (1 if grey else 3))
    height, width = pixels.shape[:2]
    if mask is not None and np.shape(mask) != (height, width):
        raise DataError(f"Expected a mask of the image's size, {height} x {width}; received {np.shape(mask)}.")
    if borders == "inside" and (height < sides[0] or width < sides[1]):
        raise DataError(
            f"The image has {height} x {width} pixels and is smaller than a window of {sides[0]} x {sides[1]}; take a "
            'larger image, or borders="reflect".'
        )
    return Windows(pixels, None if mask is None else np.asarray(mask), sides, borders)


def _drawn(mask: np.ndarray, counts: np.ndarray, wanted: int, random: np.random.Generator) -> np.ndarray:
    """Places of marked pixels drawn with replacement, shape (wanted, 2); never lists all of them.

    Args:
        mask: shape (height, width); counts: its marked pixels in each row.
    """
    ends = np.cumsum(counts)
    ranks = np.sort(random.integers(0, max(int(ends[-1]), 1), wanted))
    rows = np.searchsorted(ends, ranks, "right")
    places = np.empty((wanted, 2), np.int64)
    for row in np.unique(rows):
        here = rows == row
        columns = np.flatnonzero(mask[row])
        places[here] = np.stack([np.full(here.sum(), row), columns[ranks[here] - (ends[row] - counts[row])]], -1)
    return places
