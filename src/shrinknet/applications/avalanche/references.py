"""Masks from references: finds the outline drawn on a photograph, closes it, and fills it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from shrinknet.errors import DataError

DIFFERENCE = 60  # of the most different channel: JPEG files differ by less from the photograph they were drawn on
SATURATION = 90  # greatest minus least channel of a drawn line, where there is no photograph to compare with
HUE_RANGE = 22  # of OpenCV's 180 degrees: how far the colours of one drawn line lie apart after JPEG
LEAST = 1e-4  # share of the image that a filled outline has at least
GAPS = (0, 1, 2, 4, 8, 16)  # pixels on either side that a gap in the line may be closed by


def mask_from_reference(reference: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """The area inside of a drawn outline, up to the middle of the line.

    The line is found where the reference differs from the photograph, or, without one, by its saturated colour. Small
    gaps are closed by growing the line; ends that are left, as of a line that leaves the image, are joined by straight
    lines, the nearest first.

    Args:
        reference: the photograph with its outline drawn in one colour, shape (height, width, 3), uint8.
        image: the photograph, of the same shape; None: there is none.

    Returns:
        Shape (height, width), uint8, 0 or 1.

    Raises:
        DataError: there is no line, or it does not enclose anything; the shapes differ.
    """
    if reference.ndim != 3 or reference.shape[2] != 3 or (image is not None and image.shape != reference.shape):
        raise DataError(
            "Expected a reference of shape (height, width, 3) and an image of the same shape; received "
            f"{reference.shape} and {None if image is None else image.shape}."
        )
    line = drawn_line(reference, image)
    for closed in _closings(line):
        filled = _filled(closed)
        inside = filled & ~closed
        if inside.sum() >= max(LEAST * inside.size, 1):
            return _to_the_middle(filled, inside, closed)
    raise DataError(
        "No closed outline was found in the reference: expected one line in a bright colour around the avalanche. Draw "
        "it again, thicker or without gaps, or give a mask."
    )


def drawn_line(reference: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """Where a coloured line was drawn, shape (height, width), bool; see `mask_from_reference`."""
    import cv2

    pixels = reference.astype(np.int16)
    if image is None:
        drawn = pixels.max(-1) - pixels.min(-1) >= SATURATION
    else:
        drawn = np.abs(pixels - image).max(-1) >= DIFFERENCE
    if not drawn.any():
        return drawn
    hsv = cv2.cvtColor(np.ascontiguousarray(reference), cv2.COLOR_RGB2HSV)
    strong = drawn & (hsv[..., 1] >= np.percentile(hsv[..., 1][drawn], 50))
    counts = np.bincount(hsv[..., 0][strong], minlength=180)[:180].astype(np.float64)
    smooth = np.convolve(np.concatenate([counts[-5:], counts, counts[:5]]), np.ones(11), "valid")
    away = np.abs(hsv[..., 0].astype(np.int16) - int(np.argmax(smooth)))
    return drawn & (np.minimum(away, 180 - away) <= HUE_RANGE) & (hsv[..., 1] >= SATURATION // 2)


def _closings(line: np.ndarray) -> Iterator[np.ndarray]:
    """The line as it is, with wider and wider gaps closed, and with its ends joined."""
    import cv2

    if not line.any():
        return
    pad = max(GAPS)
    padded = np.pad(line, pad).astype(np.uint8)
    for gap in GAPS:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap + 1, 2 * gap + 1))
        closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel) if gap else padded
        yield closed[pad:-pad, pad:-pad].astype(bool)
    yield _joined(line)


def _joined(line: np.ndarray) -> np.ndarray:
    """The line with its loose ends joined in pairs by straight lines, the nearest ends first."""
    import cv2
    from scipy import ndimage
    from skimage import morphology

    skeletonize: Any = morphology.skeletonize

    labels, count = ndimage.label(line, np.ones((3, 3)))
    sizes = ndimage.sum_labels(line, labels, range(1, count + 1))
    large = np.isin(labels, 1 + np.flatnonzero(sizes >= 0.05 * sizes.max()))  # specks have no ends to join
    thin = skeletonize(large)
    neighbours = ndimage.convolve(thin.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant")
    ends = np.argwhere(thin & (neighbours == 2))
    joined = large.astype(np.uint8)
    while len(ends) > 1:
        distances = np.linalg.norm(ends[:, None] - ends[None], axis=-1) + np.where(np.eye(len(ends)), np.inf, 0)
        one, other = divmod(int(np.argmin(distances)), len(ends))
        cv2.line(joined, ends[one][::-1].tolist(), ends[other][::-1].tolist(), 1, 2)
        ends = np.delete(ends, [one, other], 0)
    return joined.astype(bool)


def _filled(line: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return np.asarray(ndimage.binary_fill_holes(line))


def _to_the_middle(filled: np.ndarray, inside: np.ndarray, line: np.ndarray) -> np.ndarray:
    """What lies inside, grown by half of the line's width; without strokes that enclose nothing."""
    from scipy import ndimage

    away = ndimage.distance_transform_edt(~inside)
    outer = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    # on the line, the nearer of the two sides decides; what encloses nothing is far from `inside`
    width = 2 * np.percentile(away[line & filled & (away <= outer)], 98) if (line & (away <= outer)).any() else 1
    return (filled & (away <= outer) & (away <= width)).astype(np.uint8)
