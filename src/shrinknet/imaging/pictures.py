"""Turns arrays into pictures: signed values in red and green, outputs in grey, and either as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import DataError

GREY = 112  # for gaps and filters that are gone; distinct from zero, which is black


def red_green(values: ArrayLike, limit: float | None = None) -> np.ndarray:
    """Signed values as a picture: negative in red, positive in green, brighter for larger absolute values.

    Args:
        values: shape (height, width), finite.
        limit: absolute values from here on are shown at full brightness; None: the largest in `values`.

    Returns:
        Shape (height, width, red green blue), uint8.

    Raises:
        DataError: the shape is different, or a value is not finite.

    Example:
        >>> red_green([[-1.0, 0.0, 0.5]]).tolist()
        [[[255, 0, 0], [0, 0, 0], [0, 128, 0]]]
    """
    array = _plane(values)
    limit = float(np.abs(array).max()) if limit is None else limit
    strength = np.clip(np.abs(array) / limit, 0, 1) if limit > 0 else np.zeros_like(array)
    picture = np.zeros((*array.shape, 3), np.uint8)
    picture[..., 0] = np.rint(255 * np.where(array < 0, strength, 0))
    picture[..., 1] = np.rint(255 * np.where(array > 0, strength, 0))
    return picture


def output_image(values: ArrayLike) -> np.ndarray:
    """An output as an image: shifted up if any value is negative, its largest value scaled to 255, rounded.

    Args:
        values: shape (height, width), finite; an output of zeros stays black.

    Returns:
        Shape (height, width), uint8.

    Raises:
        DataError: the shape is different, or a value is not finite.

    Example:
        >>> output_image([[0.0, 1.0, 4.0]]).tolist()
        [[0, 64, 255]]
    """
    array = _plane(values)
    array = array - min(float(array.min()), 0.0)
    top = float(array.max())
    return np.rint(array * (255 / top) if top > 0 else array).astype(np.uint8)


# A colour for each channel of an output with several; distinguishable with any colour vision (Okabe and Ito).
PALETTE = ((0, 114, 178), (213, 94, 0), (240, 228, 66), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))


def colours(values: ArrayLike) -> np.ndarray:
    """An output with one or several channels as an image.

    Args:
        values: shape (height, width) or (height, width, channels), finite. One channel is drawn as in `output_image`;
            several are drawn in different colours, scaled by the largest value of all.

    Returns:
        Shape (height, width) or (height, width, red green blue), uint8.

    Raises:
        DataError: the shape is different, or a value is not finite.
    """
    array = np.asarray(values, np.float64)
    if array.ndim == 2 or array.shape[2:] == (1,):
        return output_image(array.reshape(array.shape[:2]))
    planes = [output_image(array[..., index]) for index in range(array.shape[-1])] if array.ndim == 3 else []
    if not planes:
        raise DataError(f"Expected an output of shape (height, width, channels); received {array.shape}.")
    low = min(float(array.min()), 0.0)
    strength = (array - low) / max(float((array - low).max()), 1e-30)
    palette = np.array([PALETTE[index % len(PALETTE)] for index in range(array.shape[-1])], np.float64)
    return np.rint(np.clip(strength @ palette, 0, 255)).astype(np.uint8)


def beside(pictures: Sequence[np.ndarray], gap: int = 2) -> np.ndarray:
    """Pictures in one row, from left to right, with a grey gap between them.

    Args:
        pictures: shape (height, width, red green blue) each, uint8, all of the same height; at least one.
        gap: pixels.

    Example:
        >>> beside([np.zeros((3, 4, 3), np.uint8)] * 2).shape
        (3, 10, 3)
    """
    grey = np.full((pictures[0].shape[0], gap, 3), GREY, np.uint8)
    return np.concatenate([part for picture in pictures for part in (grey, picture)][1:], axis=1)


def png(picture: np.ndarray, *, fast: bool = False) -> bytes:
    """A picture encoded as PNG.

    Args:
        picture: shape (height, width) or (height, width, red green blue), uint8.
        fast: a file that is somewhat larger, in a fraction of the time.

    Raises:
        DataError: the shape or the type is different.
    """
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)):
        raise DataError(
            "Expected a picture of uint8, shape (height, width) or (height, width, 3); "
            f"received {picture.dtype}, shape {picture.shape}."
        )
    buffer = io.BytesIO()
    how = {"compress_level": 1} if fast else {"optimize": True}
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", **how)
    return buffer.getvalue()


def _plane(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not array.size:
        raise DataError(f"Expected a plane of values (height, width); received an array of shape {array.shape}.")
    if not np.isfinite(array).all():
        raise DataError("Expected finite values for a picture; received NaN or infinity: the network has diverged.")
    return array
