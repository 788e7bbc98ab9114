"""Run lengths: masks as text, as the competition writes them.

A mask is read column by column, from top to bottom and from left to right; pixels are counted from one. "3 2" is two
pixels that begin with the third of the first column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.applications.steel.layout import CLASSES, SHAPE
from shrinknet.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = 15  # of a number that is read; what has more lies past the end of any image


def mask2rle(mask: ArrayLike) -> str:
    """A mask as run lengths; the empty text for a blank mask.

    Args:
        mask: shape (height, width), 0 or 1, or False and True.

    Returns:
        "start length start length ...", in increasing order, runs that touch joined.

    Raises:
        DataError: the shape or a value is another.

    Example:
        >>> mask2rle([[1, 0], [1, 1]])
        '1 2 4 1'
    """
    pixels = _binary(mask)
    if pixels.ndim != 2:
        raise DataError(f"Expected a mask of shape (height, width); received an array of shape {pixels.shape}.")
    padded = np.zeros(pixels.size + 2, bool)
    padded[1:-1] = pixels.T.ravel()
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    edges[1::2] -= edges[::2]  # ends become lengths
    edges[::2] += 1
    return " ".join(map(str, edges.tolist()))


def rle2mask(rle: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """The mask that run lengths describe.

    Args:
        rle: "start length start length ...", in increasing order; the empty text is a blank mask.
        shape: height and width of the mask.

    Returns:
        Shape (height, width), uint8, 0 or 1.

    Raises:
        DataError: the text is malformed, or describes pixels outside of the mask, twice, or out of order.

    Example:
        >>> rle2mask("1 2 4 1", (2, 2)).tolist()
        [[1, 0], [1, 1]]
    """
    starts, lengths = runs(rle, shape)
    height, width = shape
    ends = starts + lengths
    steps = np.empty(2 * len(starts) + 1, np.int64)  # gap, run, gap, run, ..., gap
    steps[1::2] = lengths
    steps[:-1:2] = starts - np.concatenate(([0], ends[:-1])) if len(starts) else 0
    steps[-1] = height * width - (ends[-1] if len(ends) else 0)
    values = np.zeros(len(steps), np.uint8)
    values[1::2] = 1
    return np.ascontiguousarray(np.repeat(values, steps).reshape(width, height).T)


def runs(rle: str, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Starts, counted from zero, and lengths of the runs in a text, each of shape (runs,), int64.

    Raises:
        DataError: as `rle2mask`.
    """
    numbers = _numbers(rle)
    if len(numbers) % 2:
        raise DataError(f"Run lengths come in pairs of start and length; received {len(numbers)} numbers{_shown(rle)}.")
    starts, lengths = numbers[::2], numbers[1::2]
    ends, total = starts + lengths - 1, shape[0] * shape[1]
    _refuse(starts < 1, "starts at pixel {start}; pixels are counted from 1", starts, lengths)
    _refuse(lengths < 1, "has {length} pixels; expected at least 1", starts, lengths)
    past = f"ends at pixel {{end}}, past the end of a mask of {shape[0]} x {shape[1]} = {total:,} pixels"
    _refuse(ends > total, past, starts, lengths)
    before = np.concatenate(([0], starts[:-1])) if len(starts) else starts
    _refuse(starts < before, "begins before the previous run; expected increasing starts", starts, lengths)
    reached = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    _refuse(starts <= reached, "overlaps the previous run", starts, lengths)
    return starts - 1, lengths


def build_mask(table: pd.DataFrame, image_id: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """The masks of one image, a channel for each class.

    Args:
        table: of `read`, where an image without rows has no defect; or of `master_table`, which lists every image.
        image_id: the image's name, such as "0002cc93b.jpg".
        shape: height and width of the image.

    Returns:
        Shape (height, width, classes), uint8, 0 or 1; class 1 is channel 0.

    Raises:
        DataError: run lengths are malformed, a class is unknown, or a master table does not list the image.
    """
    mask = np.zeros((*shape, len(CLASSES)), np.uint8)
    rows = table[table["ImageId"] == image_id]
    if "Defect" in table.columns and rows.empty:
        raise DataError(f"The master table lists no image {image_id!r}; expected one of its {len(table):,} images.")
    for classes, texts in zip(rows["ClassId"], rows["EncodedPixels"], strict=True):
        for number, text in _pairs(classes, texts):
            if number not in CLASSES:
                raise DataError(f"Expected a class of {CLASSES}; received {number!r} for {image_id!r}.")
            mask[..., number - 1] |= rle2mask(text, shape)
    return mask


def build_rles(mask: ArrayLike) -> list[str]:
    """Run lengths of each class of a mask; the empty text where a class has no pixel.

    Args:
        mask: shape (height, width, classes), 0 or 1.

    Returns:
        One text for each class, class 1 first.

    Raises:
        DataError: the shape or a value is another.
    """
    pixels = _binary(mask)
    if pixels.ndim != 3 or pixels.shape[2] != len(CLASSES):
        raise DataError(
            f"Expected a mask of shape (height, width, {len(CLASSES)}); received an array of shape {pixels.shape}."
        )
    return [mask2rle(pixels[..., channel]) for channel in range(len(CLASSES))]


def _pairs(classes: Any, texts: Any) -> list[tuple[int, str]]:
    """Class and run lengths, of a row of either table; nothing for a clean plate."""
    if isinstance(classes, list):
        return [] if not isinstance(texts, list) else list(zip(classes, texts, strict=True))
    return [(int(classes), texts)] if isinstance(texts, str) else []


def _binary(mask: ArrayLike) -> np.ndarray:
    pixels = np.asarray(mask)
    if pixels.dtype == bool:
        return pixels
    found = pixels != 0
    if not np.array_equal(pixels, found):
        raise DataError(
            f"Expected a mask of 0 and 1; received values from {pixels.min()} to {pixels.max()}: compare with a "
            "threshold first, as in mask > 0.5."
        )
    return found


def _numbers(rle: str) -> np.ndarray:
    if not isinstance(rle, str):
        raise DataError(f"Expected run lengths as text, such as '1 3 10 5'; received {rle!r}.")
    # a minus is let through, so that its start or length gets its own sentence
    if not rle.isascii() or not rle.replace(" ", "").replace("-", "").isdigit():
        if not rle.strip():
            return np.empty(0, np.int64)
        raise DataError(f"Expected run lengths of whole numbers with spaces between them; received{_shown(rle, '')}.")
    words = rle.split()
    if len(rle) > _DIGITS and max(map(len, words)) > _DIGITS:
        raise DataError(f"A number of {max(map(len, words))} digits lies past the end of every mask{_shown(rle)}.")
    try:
        return np.array(words, np.int64)
    except ValueError:
        raise DataError(
            f"Expected run lengths of whole numbers with spaces between them; received{_shown(rle, '')}."
        ) from None


def _refuse(wrong: np.ndarray, what: str, starts: np.ndarray, lengths: np.ndarray) -> None:
    """Raises for the first run for which `wrong` holds."""
    if not wrong.any():
        return
    place = int(np.argmax(wrong))
    start, length = int(starts[place]), int(lengths[place])
    sentence = what.format(start=start, length=length, end=start + length - 1)
    raise DataError(f"Run {place + 1} of {len(starts)}, '{start} {length}', {sentence}.")


def _shown(rle: str, before: str = ":") -> str:
    return f"{before} {rle[:40]!r}{'...' if len(rle) > 40 else ''}"
