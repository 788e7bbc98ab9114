"""Reads colour images and masks from files: EXIF rotation, palettes, 16 bits and transparency are dealt with here."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.files import MAX_PIXELS, why

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow knows others, some of which start programs


def read_pixels(path: str | Path, channels: int = 3, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file as 8-bit pixels, upright as its EXIF tag says.

    Palettes are looked up, 16 bits are reduced to 8, transparency is ignored, a grey file gets three equal channels
    where colour is asked for, and colour becomes luminance (ITU-R 601) where one channel is asked for.

    Args:
        path: a BMP, JPEG, PNG, PPM, TIFF or WebP file.
        channels: 1 or 3.
        max_pixels: greatest height times width that is decoded; a small file can declare an enormous image.

    Returns:
        Shape (height, width, channels), uint8.

    Raises:
        DataError: the file is missing, too large, or cannot be decoded.
        OptionError: `channels` is neither 1 nor 3.
    """
    from PIL import Image, ImageOps

    if channels not in (1, 3):
        raise OptionError(f"Expected 1 or 3 channels; received {channels}.")
    try:
        with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as image:
            warnings.simplefilter("ignore")  # Pillow's own size warning: the limit that counts is ours
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{str(path)!r} declares {image.width} x {image.height} pixels; expected at most {max_pixels:,}: "
                    "raise max_pixels if the image is meant to be so large."
                )
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                deep = np.asarray(upright, np.uint16)
                return np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], channels, -1)
            values = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
            return values.reshape(*values.shape[:2], channels)
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # beyond what Pillow reads, whatever our limit
        raise DataError(
            f"{str(path)!r} declares more pixels than can be read ({error}); expected at most {max_pixels:,}."
        ) from error
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(
            f"{str(path)!r} cannot be read as an image ({why(error)}): repair, replace or remove it."
        ) from error


def as_pixels(image: np.ndarray, channels: int) -> np.ndarray:
    """An image in memory with the number of channels that a network expects; uint8 stays uint8.

    Args:
        image: shape (height, width), (height, width, 1) or (height, width, 3); uint8, or numbers in [0, 1].
        channels: 1 or 3; grey becomes three equal channels, colour becomes luminance (ITU-R 601).

    Returns:
        Shape (height, width, channels), uint8 or float32.

    Raises:
        DataError: the shape or the type is another, or a value is not finite or outside of [0, 1].
    """
    values = np.asarray(image)
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[2] not in (1, 3) or not values.size:
        raise DataError(
            "Expected an image of shape (height, width), (height, width, 1) or (height, width, 3); "
            f"received an array of {np.shape(image)}."
        )
    if values.dtype != np.uint8:
        values = _unit_range(values)
    if values.shape[2] == channels:
        return values
    if channels == 3:
        return np.repeat(values, 3, -1)
    grey = values.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return (np.rint(grey).astype(np.uint8) if values.dtype == np.uint8 else grey)[..., None]


def as_numbers(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float32: uint8 becomes [0, 1], floats stay as they are."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _unit_range(values: np.ndarray) -> np.ndarray:
    if values.dtype == bool or not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise DataError(f"Expected an image of uint8, or of numbers in [0, 1]; received {values.dtype}.")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also where one of them is not a number
        raise DataError(
            f"Expected an image of uint8, or of numbers in [0, 1]; received {values.dtype} from {low} to {high}: "
            "divide by its greatest possible value first."
        )
    return values.astype(np.float32, copy=False)
