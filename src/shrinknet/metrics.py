"""How close an output image is to its target, in NumPy: soft F1, errors, edges within a tolerance, quality index."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from shrinknet.errors import DataError, OptionError

BLANK = 1e-7  # if error and hits of two images add up to less than this, both are blank


def soft_f1(output: ArrayLike, truth: ArrayLike) -> float:
    """Soft F1 score, 2 TP / (2 TP + E) for each image, then the mean; in [0, 1], higher is better.

    TP is the sum of products, E the sum of absolute differences. An image without edges and an output without
    edges score 1.

    Args:
        output: one image (height, width) or several (images, height, width) or (images, height, width, 1), 0 or more.
        truth: edge maps of the same shape, values in [0, 1].

    Raises:
        DataError: the shapes differ or are not supported.

    Example:
        >>> soft_f1([[0.5, 0.0]], [[1.0, 0.0]])  # TP = 0.5, E = 0.5
        0.6666666666666667
    """
    outputs, truths = _images(output, truth)
    difference = np.abs(outputs - truths).sum((1, 2))
    hits = np.maximum((outputs * truths).sum((1, 2)), 0)
    total = difference + 2 * hits
    blank = total < BLANK
    return float(np.mean(1 - np.where(blank, 0, difference / np.where(blank, 1, total))))


def mae(output: ArrayLike, truth: ArrayLike) -> float:
    """Mean absolute error over all pixels of all images, lower is better; shapes as in `soft_f1`.

    Raises:
        DataError: the shapes differ or are none of these.
    """
    outputs, truths = _images(output, truth)
    return float(np.abs(outputs - truths).mean())


def mse(output: ArrayLike, truth: ArrayLike) -> float:
    """Mean squared error over all pixels of all images, lower is better; shapes as in `soft_f1`.

    Raises:
        DataError: the shapes differ or are none of these.
    """
    outputs, truths = _images(output, truth)
    return float(np.square(outputs - truths).mean())


class EdgeScore(NamedTuple):
    """Shares in [0, 1], higher is better: of the output's edge pixels, of the truth's, and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def precision_recall_f1(
    output: ArrayLike, truth: ArrayLike, threshold: float = 0.5, tolerance: float = 0.0075, *, thin: bool = True
) -> EdgeScore:
    """Precision, recall and F1 of the edge pixels, matched one to one within a distance.

    The matching follows the Berkeley segmentation benchmark (Martin, Fowlkes and Malik, 2004). The output is
    thresholded and thinned to lines one pixel wide. An output pixel and a target pixel can be paired if they are at
    most `tolerance` times the image's diagonal apart. Each pixel is in at most one pair, so that a second line next to
    the first counts as false. The benchmark approximates the cheapest matching; here the largest number of pairs is
    found exactly. Counts are summed over all images before the shares are computed.

    Args:
        output: edge strengths; shapes as in `soft_f1`.
        truth: edge maps of the same shape, thresholded at 0.5.
        threshold: output values of at least this are edges.
        tolerance: largest distance of a pair as a share of the diagonal, 0 or more; 0: exactly the same pixel.
        thin: whether to thin the output; turn it off if the output is already thin.

    Returns:
        Precision, recall and F1. If neither output nor target has an edge, all three are 1; otherwise a share of zero
        pixels is 0.

    Raises:
        DataError: the shapes differ or are none of these.
        OptionError: the tolerance is negative.
    """
    if not tolerance >= 0:
        raise OptionError(f"The tolerance is a share of the diagonal: expected 0 or more, received {tolerance}.")
    outputs, truths = _images(output, truth)
    found = [_thinned(image >= threshold) if thin else image >= threshold for image in outputs]
    wanted = [image >= 0.5 for image in truths]
    radius = tolerance * float(np.hypot(*outputs.shape[1:]))
    pairs = sum(_pairs(edges, expected, radius) for edges, expected in zip(found, wanted, strict=True))
    total_found, total_wanted = int(np.sum(found)), int(np.sum(wanted))
    if total_found + total_wanted == 0:
        return EdgeScore(1.0, 1.0, 1.0)
    precision, recall = pairs / max(total_found, 1), pairs / max(total_wanted, 1)
    return EdgeScore(precision, recall, 2 * pairs / (total_found + total_wanted))


def _thinned(edges: np.ndarray) -> np.ndarray:
    from skimage import morphology  # costs half a second to import

    thin: Any = morphology.thin
    return np.asarray(thin(edges))


def _pairs(found: np.ndarray, wanted: np.ndarray, radius: float) -> int:
    """The largest number of one-to-one pairs of edge pixels at most `radius` pixels apart."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import KDTree

    here, there = np.argwhere(found), np.argwhere(wanted)
    if not len(here) or not len(there):
        return 0
    neighbours = KDTree(there).query_ball_point(here, radius + 1e-9)
    columns = np.concatenate(neighbours).astype(np.int32)
    ends = np.cumsum([0, *map(len, neighbours)], dtype=np.int32)
    graph = csr_array((np.ones(len(columns), np.int8), columns, ends), shape=(len(here), len(there)))
    return int(np.count_nonzero(maximum_bipartite_matching(graph, perm_type="column") >= 0))


def universal_quality_index(output: ArrayLike, truth: ArrayLike, window: int = 8) -> float:
    """The universal image quality index of Wang and Bovik (2002); in [-1, 1], 1 for equal images.

    In every window, moved pixel by pixel, the index is the product of two agreements: that of the means x, y,
    2 x y / (x^2 + y^2), and that of the deviations, 2 cov / (var x + var y). An agreement of 0 / 0 counts as 1: two
    flat windows are compared by their means alone, and two black ones are equal. A flat window and a textured one score
    0.

    Args:
        output: shapes as in `soft_f1`.
        truth: images of the same shape.
        window: side of the square window in pixels, from 2 to the image's smaller side.

    Returns:
        The mean over all windows and images.

    Raises:
        DataError: the shapes differ or are none of these.
        OptionError: the window does not fit.
    """
    outputs, truths = _images(output, truth)
    side = min(outputs.shape[1:])
    if not 2 <= window <= side:
        raise OptionError(f"The window does not fit the images: expected 2 to {side} pixels, received {window}.")
    rows = range(outputs.shape[1] - window + 1)
    return float(
        np.mean(
            [
                _row_quality(image[row : row + window], other[row : row + window], window)
                for image, other in zip(outputs, truths, strict=True)
                for row in rows
            ]
        )
    )


def _row_quality(strip: np.ndarray, other: np.ndarray, window: int) -> np.ndarray:
    """Quality of the windows in two strips, shape (window, width): one number each, from left to right."""
    mean_x, deviation_x = _moments(strip, window)
    mean_y, deviation_y = _moments(other, window)
    covariance = (deviation_x * deviation_y).mean(1)
    variances = np.square(deviation_x).mean(1) + np.square(deviation_y).mean(1)
    return _agreement(mean_x * mean_y, mean_x**2 + mean_y**2) * _agreement(covariance, variances)


def _moments(strip: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each window, shape (windows,), and its pixels' deviations from it, shape (windows, pixels)."""
    pixels = sliding_window_view(strip, window, axis=1).swapaxes(0, 1).reshape(-1, window * window)
    # relative to the window's first pixel, so that the deviations of a flat window are exactly zero
    relative = pixels - pixels[:, :1]
    mean = relative.mean(1, keepdims=True)
    return (pixels[:, :1] + mean)[:, 0], relative - mean


def _agreement(product: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """2 a b / (a^2 + b^2), or 1 if both are zero."""
    blank = squares == 0
    return np.asarray(np.where(blank, 1, 2 * product / np.where(blank, 1, squares)))


def _images(output: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, shape (images, height, width)."""
    outputs, truths = np.asarray(output, np.float64), np.asarray(truth, np.float64)
    if outputs.shape != truths.shape:
        raise DataError(
            f"Expected an output and a target of the same shape; received {outputs.shape} and {truths.shape}."
        )
    channels = outputs.shape[3:]
    if outputs.ndim not in (2, 3, 4) or channels not in ((), (1,)) or not outputs.size:
        raise DataError(
            "Expected an image (height, width) or images (images, height, width) or (images, height, width, 1); "
            f"received an array of shape {outputs.shape}."
        )
    shape = (-1, *(outputs.shape if outputs.ndim == 2 else outputs.shape[1:3]))
    return outputs.reshape(shape), truths.reshape(shape)
