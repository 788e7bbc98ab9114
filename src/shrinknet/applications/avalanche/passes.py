"""The report's pipeline: a prediction, its Canny edges, and a second prediction on the image with these edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.prediction import Predictor, predict_image, predictor
from shrinknet.errors import OptionError
from shrinknet.imaging.colour_files import as_numbers, as_pixels
from shrinknet.imaging.tiles import Box, checked_box

CANVASES = ("image", "prediction")


@dataclass(frozen=True)
class Passes:
    """Two predictions of one image; arrays of shape (height, width).

    Attributes:
        first, second: probabilities, float32 in [0, 1].
        edges: of the first prediction, and again of the second: 0 or 1, uint8.
        second_edges: likewise.
        enhanced: what the second prediction saw, shape (height, width, channels), in [0, 1].
    """

    first: np.ndarray
    edges: np.ndarray
    enhanced: np.ndarray
    second: np.ndarray
    second_edges: np.ndarray


def two_passes(
    model: Any,
    image: np.ndarray,
    box: Box | None = None,
    *,
    canvas: str = "image",
    low: float = 50.0,
    high: float = 150.0,
    method: str = "auto",
    tile: int = 384,
) -> Passes:
    """Predicts, finds the edges of the prediction, draws them, and predicts again.

    Args:
        model, image, box, method, tile: see `predict_image`; `image` is an array.
        canvas: what the edges are drawn on in white: the "image", or the first "prediction" as a grey image. The report
            says both "edge-enhanced images" and "edge-enhanced prediction".
        low, high: Canny's thresholds on the gradient of the prediction in 8 bits.

    Raises:
        OptionError: an option is outside of its range; DataError, ModelError: see `predict_image`.
    """
    if canvas not in CANVASES or not 0 <= low <= high:
        raise OptionError(
            f"Expected a canvas out of {', '.join(CANVASES)} and 0 <= low <= high; received {canvas!r}, {low}, {high}."
        )
    ready = model if isinstance(model, Predictor) else predictor(model, method)
    first = predict_image(ready, image, box, tile=tile)
    found = edges(first, low, high)
    base = as_numbers(as_pixels(image, ready.channels)) if canvas == "image" else as_pixels(first, ready.channels)
    enhanced = np.where(found[..., None] > 0, np.float32(1), base).astype(np.float32)
    second = predict_image(ready, enhanced, box, tile=tile)
    return Passes(first, found, enhanced, second, edges(second, low, high))


def edges(probability: np.ndarray, low: float = 50.0, high: float = 150.0) -> np.ndarray:
    """Canny's edges of a prediction, shape (height, width), uint8, 0 or 1."""
    import cv2

    grey = np.rint(255 * np.clip(probability, 0, 1)).astype(np.uint8)
    return (cv2.Canny(grey, low, high, L2gradient=True) > 0).astype(np.uint8)


def column_maxima(probability: np.ndarray, box: Box | None = None) -> np.ndarray:
    """The most probable pixel of each column, marked in an empty mask: the report's max argument function.

    It marks one pixel a column whether there is an avalanche or not, and never more than one.

    Args:
        probability: shape (height, width).
        box: only columns and rows in it.

    Returns:
        Shape (height, width), uint8, 0 or 1.
    """
    left, top, right, bottom = checked_box(box, probability.shape)
    mask = np.zeros(probability.shape, np.uint8)
    rows = top + np.argmax(probability[top:bottom, left:right], axis=0)
    mask[rows, np.arange(left, right)] = 1
    return mask
