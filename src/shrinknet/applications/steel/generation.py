"""Generates a folder of synthetic plates in the competition's layout, so that everything runs without its data."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shrinknet.applications.steel.defects import paint
from shrinknet.applications.steel.layout import CLASSES, COLUMNS, IMAGES, SHAPE, TABLE
from shrinknet.applications.steel.runlengths import build_rles
from shrinknet.applications.steel.surfaces import surface
from shrinknet.errors import DataError, OptionError
from shrinknet.files.disk import new_folder

NOTICE = """These plates are synthetic. They were drawn by shrinknet (steel, count {count}, seed {seed}). No camera took
them, and no steel has these defects. Results on them say nothing about real plates. The layout is that of the Severstal
competition: train.csv has ImageId, ClassId and EncodedPixels; a plate without a row is clean.
"""
QUALITY = 90  # of the JPEG files


@dataclass(frozen=True)
class Mixture:
    """How many plates have which defects; the defaults are the report's imbalance.

    Attributes:
        defect: share of plates with a defect; the report has 6,666 of 12,568.
        classes: class -> share among the plates with a single class. The report: "class [3] were dominant with more
            than 70%", then 1, 4 and 2.
        several: share of plates with two classes; the report: "very sparsely distributed with less than 4%".
    """

    defect: float = 0.53
    classes: Mapping[int, float] = field(default_factory=lambda: {1: 0.12, 2: 0.04, 3: 0.755, 4: 0.085})
    several: float = 0.034

    def __post_init__(self) -> None:
        shares = [self.classes.get(number, 0) for number in CLASSES]
        if not 0 <= self.several <= self.defect <= 1 or min(shares) < 0 or abs(sum(self.classes.values()) - 1) > 1e-6:
            raise OptionError(
                "A mixture expects 0 <= several <= defect <= 1 and shares of the classes 1 to 4 with a sum of 1; "
                f"received {self}."
            )

    def dealt(self, count: int, random: np.random.Generator) -> list[tuple[int, ...]]:
        """The classes on each of `count` plates: the shares to the nearest plate, in random order."""
        several = round(count * self.several)
        single = round(count * self.defect) - several
        shares = np.array([self.classes.get(number, 0.0) for number in CLASSES])
        numbers = np.floor(single * shares).astype(int)
        for place in np.argsort(-(single * shares - numbers), kind="stable")[: single - numbers.sum()]:
            numbers[place] += 1
        plates: list[tuple[int, ...]] = [
            (number,) for number, times in zip(CLASSES, numbers, strict=True) for _ in range(times)
        ]
        mixed = np.maximum(shares, 0.05) / np.maximum(shares, 0.05).sum()
        for _ in range(several):
            plates.append(tuple(sorted(int(one) for one in random.choice(CLASSES, 2, replace=False, p=mixed))))
        plates += [()] * (count - len(plates))
        return [plates[place] for place in random.permutation(count)]


def generate(
    folder: str | os.PathLike[str],
    count: int,
    seed: int,
    *,
    mixture: Mixture | None = None,
    shape: tuple[int, int] = SHAPE,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws plates into a new folder: `train.csv`, `train_images/*.jpg`, and a notice that they are synthetic.

    The same arguments give the same files, byte for byte, with the same versions of NumPy, OpenCV and Pillow. The
    folder appears only when it is complete.

    Args:
        folder: must not exist yet, or be empty.
        count: plates, from 1.
        seed: of everything, from 0.
        mixture: how many plates have which defects; None: the report's imbalance.
        shape: height and width in pixels, from 64 x 128.
        progress: called with plates done and plates in all.

    Returns:
        The folder.

    Raises:
        OptionError: an option is outside of its range.
        DataError: the folder holds something already, or cannot be written.
    """
    if count < 1 or seed < 0 or shape[0] < 64 or shape[1] < 128:
        raise OptionError(
            "Expected a count of 1 or more, a seed of 0 or more and a shape of at least 64 x 128; "
            f"received count {count}, seed {seed}, shape {tuple(shape)}."
        )
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"The folder {str(folder)!r} is not empty; plates are drawn into a new folder: name another.")
    dealt = (mixture or Mixture()).dealt(count, np.random.default_rng([seed, count]))
    try:
        with new_folder(folder) as beside:
            _write(beside, dealt, seed, shape, progress)
    except OSError as error:
        raise DataError(f"The plates cannot be written to {str(folder)!r}: {error.strerror or error}.") from error
    return folder


def plate(
    classes: tuple[int, ...], random: np.random.Generator, shape: tuple[int, int] = SHAPE
) -> tuple[np.ndarray, np.ndarray]:
    """One synthetic plate.

    Args:
        classes: of the defects on it; none for a clean plate.
        random: the plate depends on nothing else.
        shape: height and width in pixels.

    Returns:
        The grey image, shape (height, width), uint8; its masks, shape (height, width, 4), uint8, 0 or 1.
    """
    steel = surface(random, shape)
    masks = np.zeros((len(CLASSES), *shape), np.uint8)
    for number in classes:
        masks[number - 1] = paint(number, random, steel)
    return np.clip(np.rint(steel.grey), 0, 255).astype(np.uint8), np.moveaxis(masks, 0, -1)


def _write(
    folder: Path,
    dealt: list[tuple[int, ...]],
    seed: int,
    shape: tuple[int, int],
    progress: Callable[[int, int], None] | None,
) -> None:
    (folder / IMAGES).mkdir()
    digits = max(5, len(str(len(dealt))))

    def draw(number: int) -> list[str]:
        name = f"synthetic-{number + 1:0{digits}}.jpg"
        image, masks = plate(dealt[number], np.random.default_rng([seed, number]), shape)
        (folder / IMAGES / name).write_bytes(_jpeg(image))
        rles = zip(CLASSES, build_rles(masks), strict=True)
        return [f"{name},{number},{rle}" for number, rle in rles if rle]

    lines = [",".join(COLUMNS)]
    pool = ThreadPoolExecutor()
    try:
        for done, rows in enumerate(pool.map(draw, range(len(dealt))), 1):
            lines += rows
            if progress is not None:
                progress(done, len(dealt))
    finally:
        pool.shutdown(cancel_futures=True)
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "SYNTHETIC.txt").write_text(NOTICE.format(count=len(dealt), seed=seed), encoding="utf-8")


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
