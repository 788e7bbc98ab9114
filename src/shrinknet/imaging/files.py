"""Reads images from disk safely: the header is checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shrinknet.errors import DataError

MAX_PIXELS = 50_000_000
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow knows others, some of which start programs
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def image_files(folder: str | Path, suffixes: Sequence[str] = SUFFIXES) -> tuple[Path, ...]:
    """The images in a folder and its subfolders, sorted by path; hidden ones are left out.

    Raises:
        DataError: the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"Expected a folder of images; received {str(folder)!r}, which is not a folder.")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return tuple(sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts)))


def read_grey(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file as luminance, shape (height, width), float32 in [0, 1].

    Colours are weighted 0.299, 0.587, 0.114 (ITU-R 601); transparency is ignored; 16 bits are kept.

    Args:
        path: an image: BMP, JPEG, PNG, PPM and PGM, TIFF or WebP.
        max_pixels: largest height times width that is decoded; a small file can declare an enormous image.

    Raises:
        DataError: the file is missing, larger than `max_pixels`, or cannot be decoded.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path, formats=_FORMATS) as image:
            warnings.simplefilter("ignore")  # Pillow's size warning: our own limit applies
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{str(path)!r} declares {image.width} x {image.height} pixels; expected at most {max_pixels:,}: "
                    "increase max_pixels if the image is meant to be this large."
                )
            deep = image.mode.startswith("I;16")
            values = np.asarray(image if deep else image.convert("L"), np.float32)
            values /= 65535 if deep else 255
            return values
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # beyond Pillow's own limit
        raise DataError(
            f"{str(path)!r} declares more pixels than can be read ({error}); expected at most {max_pixels:,}."
        ) from error
    except Exception as error:  # on damaged files decoders raise almost anything
        raise DataError(
            f"{str(path)!r} cannot be read as an image ({why(error)}): repair, replace or remove it."
        ) from error


def why(error: Exception) -> str:
    """The reason in an error of Pillow or of the system, without the path that the message names already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return "it is in no known format" if text.startswith("cannot identify image file") else text
