"""Masks in colour: laid over the image they belong to, or alone on black."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import DataError

Colour = tuple[int, int, int]


def overlay(
    image: ArrayLike, masks: ArrayLike, colours: Sequence[Colour], *, opacity: float = 0.35, outline: int = 2
) -> np.ndarray:
    """The image with each mask tinted and outlined in its colour; later masks lie above earlier ones.

    Args:
        image: shape (height, width), values in [0, 1]; or (height, width) or (height, width, red green blue), uint8.
        masks: shape (height, width, masks), 0 or 1.
        colours: red, green and blue from 0 to 255, one for each mask.
        opacity: of the tint, in [0, 1]; outline: its width in pixels, 0: none.

    Returns:
        Shape (height, width, red green blue), uint8.

    Raises:
        DataError: the shapes do not fit.
    """
    import cv2

    picture, layers = as_rgb(image), _layers(masks, colours)
    if layers.shape[:2] != picture.shape[:2]:
        raise DataError(f"Expected masks of the image's size, {picture.shape[:2]}; received {layers.shape[:2]}.")
    for place, colour in enumerate(colours):
        mask = np.ascontiguousarray(layers[..., place])
        if not mask.any():
            continue
        inside = mask.astype(bool)
        for channel, value in enumerate(colour):  # a table of all grey values: floats of a photograph fill the memory
            tinted = np.rint((1 - opacity) * np.arange(256) + opacity * value).astype(np.uint8)
            plane = picture[..., channel]
            plane[inside] = tinted[plane[inside]]
        if outline:
            contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, contours, -1, colour, outline)
    return picture


def on_black(masks: ArrayLike, colours: Sequence[Colour]) -> np.ndarray:
    """The masks in their colours on black, shape (height, width, red green blue), uint8.

    Args:
        masks: shape (height, width, masks), 0 or 1; later masks lie above earlier ones.
        colours: red, green and blue from 0 to 255, one for each mask.

    Raises:
        DataError: the shapes do not fit.
    """
    layers = _layers(masks, colours)
    picture = np.zeros((*layers.shape[:2], 3), np.uint8)
    for place, colour in enumerate(colours):
        picture[layers[..., place] > 0] = colour
    return picture


def as_rgb(image: ArrayLike) -> np.ndarray:
    """A copy of an image as shape (height, width, red green blue), uint8; floats in [0, 1] become 0 to 255.

    Raises:
        DataError: the shape is none of (height, width), (height, width, 1) and (height, width, 3).
    """
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)):
        raise DataError(
            f"Expected an image of shape (height, width) or (height, width, 3); received an array of {values.shape}."
        )
    if values.dtype != np.uint8:
        values = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)
    return np.repeat(values[..., None], 3, -1) if values.ndim == 2 else values.copy()


def stacked(pictures: Sequence[np.ndarray], gap: int = 4, grey: int = 112) -> np.ndarray:
    """Pictures of one width below each other, with a grey gap, shape (height, width, red green blue), uint8."""
    bar = np.full((gap, pictures[0].shape[1], 3), grey, np.uint8)
    return np.concatenate([part for picture in pictures for part in (bar, picture)][1:], axis=0)


def _layers(masks: ArrayLike, colours: Sequence[Colour]) -> np.ndarray:
    layers = np.asarray(masks)
    if layers.ndim != 3 or layers.shape[2] != len(colours):
        raise DataError(
            f"Expected masks of shape (height, width, {len(colours)}), one for each colour; "
            f"received an array of {layers.shape}."
        )
    return (layers > 0).astype(np.uint8)
