"""Writes predictions: mask, overlay, polygon and a table of areas; each file completely or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche.layout import COLOUR
from shrinknet.applications.avalanche.prediction import Predictor, predict_image, predictor
from shrinknet.errors import DataError, OptionError
from shrinknet.files.disk import write_file
from shrinknet.files.tables import csv_bytes
from shrinknet.imaging.cleaning import cleaned
from shrinknet.imaging.colour_files import read_pixels
from shrinknet.imaging.overlays import overlay
from shrinknet.imaging.pictures import png
from shrinknet.imaging.polygons import Outline, outline
from shrinknet.imaging.tiles import Box, Progress

TABLE, MASKS, OVERLAYS, POLYGONS = "areas.csv", "masks", "overlays", "polygons"


@dataclass(frozen=True)
class Finishing:
    """From probabilities to a polygon.

    Attributes:
        threshold: a pixel of at least this probability is marked, in (0, 1).
        opening, closing: radii in pixels, see `imaging.cleaning`; largest: whether one region is kept.
        smoothing: of the outline in pixels, see `imaging.polygons`.
    """

    threshold: float = 0.5
    opening: int = 2
    closing: int = 3
    largest: bool = True
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or min(self.opening, self.closing, self.smoothing) < 0:
            raise OptionError(
                "Expected a threshold between 0 and 1, and opening, closing and smoothing of 0 or more; received "
                f"{self}."
            )

    def mask(self, probability: np.ndarray) -> np.ndarray:
        """The cleaned mask, shape (height, width), uint8, 0 or 1."""
        marked = (probability >= self.threshold).astype(np.uint8)
        return cleaned(marked, opening=self.opening, closing=self.closing, largest=self.largest)

    def outline(self, probability: np.ndarray) -> Outline:
        """The outline of the cleaned mask."""
        return outline(self.mask(probability), smoothing=self.smoothing)


def predict_files(
    model: Any,
    images: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    box: Box | None = None,
    finishing: Finishing | None = None,
    method: str = "auto",
    progress: Callable[[str, int, int, float], None] | None = None,
) -> pd.DataFrame:
    """Predicts image files and writes a mask, an overlay and a polygon for each, and a table at the end.

    Args:
        model, method: see `predictor`.
        images: paths, each with a name of its own.
        out: a folder; it gets `masks/NAME.png`, `overlays/NAME.png`, `polygons/NAME.geojson` and `areas.csv`.
        box: see `predict_image`; of every image.
        finishing: threshold, cleaning and smoothing; None: the defaults.
        progress: called after each tile with the name of the image, tiles done, tiles in all, and seconds left of it.

    Returns:
        image; regions; area_pixels and outline_pixels of the smoothed polygons; share of the image that is marked.

    Raises:
        DataError: an image cannot be read, two have one name, or the box does not lie in one; nothing is written of it.
        ModelError: the model cannot be used.
        OptionError: the folder cannot be made.
    """
    how, ready = finishing or Finishing(), predictor(model, method)
    paths = [Path(path) for path in images]
    if not paths or len({path.stem for path in paths}) < len(paths):
        what = "found none" if not paths else "two of them have one name but for the suffix"
        raise DataError(f"Expected images, each with a name of its own; {what}.")
    folder = _prepared(out)
    rows = []
    for path in paths:
        hear = _named(progress, path.name) if progress is not None else None
        rows.append(_predicted(ready, path, folder, box, how, hear))
    table = pd.DataFrame(rows)
    write_file(folder / TABLE, csv_bytes(table))
    return table


def drawn(image: np.ndarray, found: Outline) -> np.ndarray:
    """The photograph with the region tinted and its polygon drawn, shape (height, width, red green blue), uint8."""
    import cv2

    picture = overlay(image, found.mask()[..., None], [COLOUR], outline=0)
    width = max(1, round(min(picture.shape[:2]) / 250))
    for polygon in found.polygons:
        for ring in (polygon.exterior, *polygon.holes):
            fixed = np.rint((ring - 0.5) * 16).astype(np.int32)[:, None]  # OpenCV counts from the first pixel's middle
            cv2.polylines(picture, [fixed], True, COLOUR, width, cv2.LINE_AA, 4)
    return picture


def _named(progress: Callable[[str, int, int, float], None], name: str) -> Progress:
    return lambda done, of, left: progress(name, done, of, left)


def _prepared(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        for name in (MASKS, OVERLAYS, POLYGONS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"The folder {str(out)!r} cannot be made ({error.strerror}): name another.") from error
    return folder


def _predicted(ready: Predictor, path: Path, folder: Path, box: Box | None, how: Finishing,
               progress: Progress | None) -> dict[str, Any]:  # fmt: skip
    pixels = read_pixels(path, 3)
    try:
        probability = predict_image(ready, pixels, box, progress=progress)
    except DataError as error:
        raise DataError(f"{str(path)!r}: {error}") from error
    mask = how.mask(probability)
    found = outline(mask, smoothing=how.smoothing)
    geojson = found.to_geojson(image=path.name)
    write_file(folder / MASKS / f"{path.stem}.png", png(255 * mask))
    write_file(folder / OVERLAYS / f"{path.stem}.png", png(drawn(pixels, found), fast=True))
    write_file(folder / POLYGONS / f"{path.stem}.geojson", (json.dumps(geojson) + "\n").encode())
    return {
        "image": path.name,
        "regions": len(found.polygons),
        "area_pixels": round(found.area, 2),
        "outline_pixels": round(found.length, 2),
        "share": float(mask.mean()),
    }
