"""Cleans masks: small specks away, small gaps closed, holes filled, the largest region kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import DataError, OptionError


def cleaned(
    mask: ArrayLike, *, opening: int = 2, closing: int = 3, largest: bool = True, least_hole: int | None = None
) -> np.ndarray:
    """A mask without noise.

    Args:
        mask: shape (height, width), 0 or 1.
        opening: radius in pixels of the disk that opens the mask: what is thinner than it goes; 0: nothing.
        closing: radius in pixels of the disk that closes it afterwards: gaps narrower than it are filled; 0: none.
        largest: whether only the largest connected region is kept.
        least_hole: holes of fewer pixels are filled; None: all holes.

    Returns:
        Shape (height, width), uint8, 0 or 1; nothing is left where everything was noise.

    Raises:
        DataError: the mask is none; OptionError: a radius is negative.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((9, 9), np.uint8)
        >>> mask[2:7, 2:7] = 1
        >>> mask[4, 4], mask[0, 8] = 0, 1
        >>> int(cleaned(mask, opening=0, closing=1).sum())
        25
    """
    import cv2
    from scipy import ndimage

    found = checked_mask(mask)
    if min(opening, closing) < 0:
        raise OptionError(f"Expected radii of 0 or more; received opening {opening} and closing {closing}.")
    for radius, kind in ((opening, cv2.MORPH_OPEN), (closing, cv2.MORPH_CLOSE)):
        if radius:
            # a border as wide as the disk, continued: a region that leaves the image is not eaten away there
            padded = np.pad(found, 2 * radius, mode="edge")
            inner = slice(2 * radius, -2 * radius)
            found = np.asarray(cv2.morphologyEx(padded, kind, _disk(radius)))[inner, inner]
    found = np.ascontiguousarray(found)
    holes = ndimage.binary_fill_holes(found) & (found == 0)
    if least_hole is not None:
        holes = _small(holes, least_hole)
    found = found | holes.astype(np.uint8)
    return largest_region(found) if largest else found


def largest_region(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of a mask of 0 and 1; pixels that only touch at a corner are not connected."""
    import cv2

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, None, None, None, 4)  # as in `outline`
    if len(statistics) < 2:
        return np.zeros_like(mask)
    return (labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)


def checked_mask(mask: ArrayLike) -> np.ndarray:
    """A mask as uint8, 0 or 1, shape (height, width).

    Raises:
        DataError: the shape is another, or a value is neither 0 nor 1.
    """
    values = np.asarray(mask)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or not values.size:
        raise DataError(f"Expected a mask of shape (height, width); received an array of {np.shape(mask)}.")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise DataError(
            f"Expected a mask of 0 and 1; received values from {values.min()} to {values.max()}: compare with a "
            "threshold first, as in probability > 0.5."
        )
    return np.ascontiguousarray(values, np.uint8)


def _disk(radius: int) -> np.ndarray:
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


def _small(regions: np.ndarray, least: int) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(regions)
    sizes = np.concatenate([[least], ndimage.sum_labels(regions, labels, range(1, count + 1))]) if count else [least]
    return np.asarray(np.asarray(sizes) < least)[labels]
