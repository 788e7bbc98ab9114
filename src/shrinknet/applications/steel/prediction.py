"""Prediction: masks of plates, the competition's CSV, overlays, and a table with the position of each defect.

Plates are read, segmented and written batch by batch: a folder of any size takes the memory of a few plates.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.steel.layout import CLASSES, COLOURS, COLUMNS, SHAPE
from shrinknet.applications.steel.regions import without_small
from shrinknet.applications.steel.runlengths import build_mask, build_rles
from shrinknet.applications.steel.streams import resized
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.files.disk import write_file
from shrinknet.files.tables import csv_bytes
from shrinknet.imaging.components import COLUMNS as COMPONENT_COLUMNS
from shrinknet.imaging.components import components
from shrinknet.imaging.files import image_files, read_grey
from shrinknet.imaging.networks import Network
from shrinknet.imaging.overlays import overlay
from shrinknet.imaging.pictures import png
from shrinknet.imaging.views import flipped_average

PREDICTIONS, DEFECTS, SUMMARY, OVERLAYS = "predictions.csv", "defects.csv", "summary.json", "overlays"


@dataclass(frozen=True)
class Prediction:
    """What a network finds on plates.

    Attributes:
        table: a row for each plate and class that is found, as in `train.csv`: ImageId, ClassId, EncodedPixels.
        defects: a row for each connected region, see `imaging.components`; `class` is a number.
        images: names of all plates, in the order in which they were given.
        shape: height and width of the plates.
        frames_per_second: plates a second through the network alone, with its test-time augmentation.
        plates_per_second: plates a second in all, with reading and writing.
        files: what was written.
    """

    table: pd.DataFrame
    defects: pd.DataFrame
    images: tuple[str, ...]
    shape: tuple[int, int]
    frames_per_second: float
    plates_per_second: float
    files: tuple[Path, ...] = ()

    def mask(self, image: str) -> np.ndarray:
        """The masks of one plate, shape (height, width, classes), uint8, 0 or 1.

        Raises:
            DataError: the plate was not among those that were given.
        """
        if image not in self.images:
            raise DataError(f"No plate {image!r} was predicted; expected one of {len(self.images):,}.")
        return build_mask(self.table, image, self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: plates, found (class -> plates), regions, frames and plates a second, files."""
        found = {str(number): int((self.table["ClassId"] == number).sum()) for number in CLASSES}
        return {
            "plates": len(self.images),
            "clean": len(self.images) - int(self.table["ImageId"].nunique()),
            "found": found,
            "regions": len(self.defects),
            "frames_per_second": round(self.frames_per_second, 3),
            "plates_per_second": round(self.plates_per_second, 3),
            "files": [str(path) for path in self.files],
        }


@dataclass(frozen=True)
class Outlining:
    """How a network's outputs become masks.

    Attributes:
        threshold: a pixel of greater probability is marked, in (0, 1).
        least: regions of fewer pixels of the plate are left out, from 1; one number, or one for each class, see
            `least_regions`.
        flips: views that are averaged, see `imaging.views`; one: no test-time augmentation.
        batch: plates at a time; threads: of the LiteRT interpreter.
    """

    threshold: float = 0.5
    least: int | Sequence[int] = 1
    flips: Sequence[str] = ("none",)
    batch: int = 8
    threads: int = 1

    def __post_init__(self) -> None:
        sizes = np.atleast_1d(self.least)
        if not 0 < self.threshold < 1 or min(self.batch, self.threads, *sizes) < 1:
            raise OptionError(
                f"Expected a threshold between 0 and 1, and least, batch and threads of at least 1; received {self}."
            )
        if len(sizes) not in (1, len(CLASSES)):
            raise OptionError(f"Expected one number as least, or {len(CLASSES)}; received {len(sizes)}.")


def predict(
    model: Any,
    images: np.ndarray | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    outlining: Outlining | None = None,
    shape: tuple[int, int] = SHAPE,
    overlays: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Outlines defects on plates.

    With `out` it writes `predictions.csv` in the layout of `train.csv`, `defects.csv`, `summary.json` and a folder
    `overlays` of PNG files; each file appears whole, and the three tables after the last plate.

    Args:
        model: a Keras model of `unet`, or the path of a `.keras` or exported `.tflite` file, float or int8.
        images: a folder, paths of images, or an array of shape (images, height, width) or (images, height, width, 1)
            with values in [0, 1].
        out: folder for what is written; None: nothing is.
        outlining: threshold, smallest region, test-time augmentation, batch; None: the defaults.
        shape: height and width of plates that are read from files.
        overlays: whether pictures are written.
        progress: called with plates done and plates in all.

    Raises:
        DataError: an image is missing, damaged, or of another size; there is none; two have the same name.
        ModelError: the model cannot be opened, or does not give four masks.
        RunError: the folder cannot be written to.
    """
    how, begun = outlining or Outlining(), time.perf_counter()
    network = Network(model, how.threads)
    names, batches, shape = _sources(images, shape, how.batch)
    folder = _prepared(out, overlays)
    rows: list[tuple[str, int, str]] = []
    regions: list[pd.DataFrame] = []
    files: list[Path] = []
    runs: list[tuple[int, float]] = []
    for name, (plate, mask) in zip(names, _outlined(network, batches, shape, how, runs), strict=True):
        rows += [(name, number, rle) for number, rle in zip(CLASSES, build_rles(mask), strict=True) if rle]
        regions.append(components(mask, name, CLASSES))
        if folder is not None and overlays:
            files.append(folder / OVERLAYS / f"{Path(name).stem}.png")
            picture = overlay(plate, mask, [COLOURS[number] for number in CLASSES])
            write_file(files[-1], png(picture, fast=True))
        if progress is not None:
            progress(len(regions), len(names))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"ImageId": "str", "ClassId": "int64", "EncodedPixels": "str"})
    each = len(names) / (time.perf_counter() - begun)
    prediction = Prediction(table, _joined(regions), names, shape, _rate(runs), each, tuple(files))
    return prediction if folder is None else _written(prediction, folder)


def _sources(
    images: Any, shape: tuple[int, int], batch: int
) -> tuple[tuple[str, ...], Iterator[np.ndarray], tuple[int, int]]:
    """Names, batches of shape (plates, height, width), and the plates' height and width."""
    if isinstance(images, np.ndarray):
        array = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
        if array.ndim != 3 or not len(array):
            raise DataError(
                "Expected plates of shape (images, height, width) or (images, height, width, 1); "
                f"received an array of shape {images.shape}."
            )
        names = tuple(f"plate-{number:05}" for number in range(1, len(array) + 1))
        grey = (np.asarray(array[start : start + batch], np.float32) for start in range(0, len(array), batch))
        return names, grey, (int(array.shape[1]), int(array.shape[2]))
    if isinstance(images, str | os.PathLike):
        paths = list(image_files(Path(images))) if Path(images).is_dir() else [Path(images)]
    else:
        paths = [Path(path) for path in images]
    names = tuple(path.name for path in paths)
    if not names or len(set(names)) < len(names):
        what = "found none" if not names else "two of them have the same name"
        raise DataError(f"Expected images of plates, each with a name of its own; {what}.")
    stems = {path.stem for path in paths}
    if len(stems) < len(names):
        raise DataError("Expected images of plates; two of them differ in their suffix alone, as would their overlays.")
    return names, _read(paths, shape, batch), shape


def _read(paths: Sequence[Path], shape: tuple[int, int], batch: int) -> Iterator[np.ndarray]:
    for start in range(0, len(paths), batch):
        plates = []
        for path in paths[start : start + batch]:
            plates.append(read_grey(path))
            if plates[-1].shape != tuple(shape):
                height, width = plates[-1].shape
                raise DataError(
                    f"The image {str(path)!r} has {height} x {width} pixels (height x width); expected {shape[0]} x "
                    f"{shape[1]}: plates are outlined in the size in which their run lengths count."
                )
        yield np.stack(plates)


def _outputs(network: Network, plates: np.ndarray, how: Outlining) -> np.ndarray:
    """Probabilities in the network's own size, shape (plates, height, width, classes)."""
    height, width, channels = network.input_shape
    size = (height or plates.shape[1], width or plates.shape[2])
    small = np.stack([resized(plate, size) for plate in plates])[..., None]
    answers = flipped_average(network, np.repeat(small, channels or 1, -1), how.flips)
    if answers.ndim != 4 or answers.shape[3] != len(CLASSES):
        raise ModelError(
            f"The model {network.name} does not outline defects: expected outputs of shape (images, height, width, "
            f"{len(CLASSES)}), received {answers.shape}; train one with `unet`."
        )
    return answers


def _outlined(
    network: Network,
    batches: Iterator[np.ndarray],
    shape: tuple[int, int],
    how: Outlining,
    runs: list[tuple[int, float]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each plate and its masks, shape (height, width, classes), uint8; adds (plates, seconds) of each run to `runs`."""
    import cv2

    for plates in batches:
        start = time.perf_counter()
        answers = _outputs(network, plates, how)
        runs.append((len(plates), time.perf_counter() - start))
        for plate, outputs in zip(plates, answers, strict=True):
            large = outputs
            if outputs.shape[:2] != tuple(shape):
                large = cv2.resize(outputs, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
            mask = (large > how.threshold).astype(np.uint8)
            yield plate, without_small(mask, how.least) if np.max(how.least) > 1 else mask


def _rate(runs: Sequence[tuple[int, float]]) -> float:
    """Plates a second; without the first batch, which compiles, where there are others."""
    timed = runs[1:] or runs
    return sum(plates for plates, _ in timed) / max(sum(seconds for _, seconds in timed), 1e-9)


def _joined(regions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    found = [table for table in regions if len(table)]
    if not found:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in COMPONENT_COLUMNS})
    return pd.concat(found, ignore_index=True)


def _prepared(out: str | os.PathLike[str] | None, overlays: bool) -> Path | None:
    if out is None:
        return None
    folder = Path(out)
    try:
        (folder / OVERLAYS if overlays else folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"The folder {str(out)!r} cannot be made ({error.strerror}): name another.") from error
    return folder


def _written(prediction: Prediction, folder: Path) -> Prediction:
    """Writes the tables; the summary comes last and says that all of it is there."""
    write_file(folder / PREDICTIONS, csv_bytes(prediction.table))
    write_file(folder / DEFECTS, csv_bytes(prediction.defects.rename(columns={"image": "ImageId", "class": "ClassId"})))
    files = (*prediction.files, folder / PREDICTIONS, folder / DEFECTS, folder / SUMMARY)
    whole = Prediction(**{**prediction.__dict__, "files": files})
    write_file(folder / SUMMARY, (json.dumps(whole.to_dict(), indent=2) + "\n").encode())
    return whole
