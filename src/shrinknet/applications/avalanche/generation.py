"""Generates a folder of synthetic slopes in the report's layout, so that everything runs without its photographs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.layout import COLOUR, COLUMNS, IMAGES, LIGHT, LIGHTS, MASKS, REFERENCES
from shrinknet.applications.avalanche.scenery import Scene, scene
from shrinknet.errors import DataError, OptionError
from shrinknet.files.disk import new_folder

NOTICE = """These slopes are synthetic. They were drawn by shrinknet (avalanche, count {count}, size {size}, seed
{seed}). No camera took them, and no avalanche ran there. Results on them say nothing about real slopes. The layout is
that of the report: images, references with a drawn outline, and masks, in which 127 and above is avalanche; and
light.csv, which the report does not have.
"""
QUALITY = 92  # of the JPEG files
SUNNY = 0.6  # share of the slopes
LEAST_SIDE = 64


def generate(
    folder: str | os.PathLike[str],
    count: int,
    size: int | tuple[int, int],
    seed: int,
    *,
    sunny: float = SUNNY,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws slopes into a new folder: `images`, `references`, `masks`, `light.csv`, and a notice: they are synthetic.

    The same arguments give the same files, byte for byte, with the same versions of NumPy, SciPy, OpenCV and Pillow.
    The folder appears only when it is complete.

    Args:
        folder: must not exist yet, or be empty.
        count: slopes, from 1; the report has 60.
        size: height and width in pixels, from 64; one number for both.
        seed: of everything, from 0.
        sunny: share of slopes in the sun, in [0, 1]; the others lie in the shade.
        progress: called with slopes done and slopes in all.

    Returns:
        The folder.

    Raises:
        OptionError: an option is outside of its range.
        DataError: the folder holds something already, or cannot be written.
    """
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if count < 1 or seed < 0 or min(shape) < LEAST_SIDE or not 0 <= sunny <= 1:
        raise OptionError(
            f"Expected a count of 1 or more, a size of at least {LEAST_SIDE} pixels, a seed of 0 or more and a "
            f"share of sunny slopes in [0, 1]; received count {count}, size {size}, seed {seed}, sunny {sunny}."
        )
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"The folder {str(folder)!r} is not empty; slopes are drawn into a new folder: name another.")
    try:
        with new_folder(folder) as beside:
            _write(beside, _lights(count, sunny, seed), shape, seed, progress)
    except OSError as error:
        raise DataError(f"The slopes cannot be written to {str(folder)!r}: {error.strerror or error}.") from error
    return folder


def slope(shape: tuple[int, int], seed: int, number: int, sunny: bool) -> Scene:
    """The slope of a folder by its number, from 0, without writing it."""
    return scene(np.random.default_rng([seed, number]), shape, sunny)


def drawn_mask(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The inside of an outline, shape (height, width), uint8, 0 or 255."""
    from skimage import draw

    filled: Any = draw.polygon2mask  # skimage has no types here; OpenCV would mark the pixels under the line, too
    return (255 * filled(shape, outline[:, ::-1])).astype(np.uint8)


def drawn_reference(image: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """The photograph with the outline drawn on it, shape (height, width, 3), uint8."""
    import cv2

    reference = image.copy()
    width = max(2, round(min(image.shape[:2]) / 160))
    cv2.polylines(reference, [_fixed(outline)], True, COLOUR, width, cv2.LINE_AA, 4)
    return reference


def _fixed(outline: np.ndarray) -> np.ndarray:
    """Points in sixteenths of a pixel, as OpenCV draws them."""
    return np.rint(outline * 16).astype(np.int32)[:, None]


def _lights(count: int, sunny: float, seed: int) -> list[bool]:
    lit = np.arange(count) < round(count * sunny)
    return [bool(one) for one in np.random.default_rng([seed, count]).permutation(lit)]


def _write(
    folder: Path,
    lights: list[bool],
    shape: tuple[int, int],
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    for name in (IMAGES, REFERENCES, MASKS):
        (folder / name).mkdir()
    digits = max(3, len(str(len(lights))))

    def draw(number: int) -> str:
        name = f"synthetic-{number + 1:0{digits}}.jpg"
        drawn = slope(shape, seed, number, lights[number])
        (folder / IMAGES / name).write_bytes(_jpeg(drawn.image))
        (folder / REFERENCES / name).write_bytes(_jpeg(drawn_reference(drawn.image, drawn.outline)))
        (folder / MASKS / name).write_bytes(_jpeg(drawn_mask(drawn.outline, shape)))
        return f"{name},{LIGHTS[0] if lights[number] else LIGHTS[1]}"

    lines = [",".join(COLUMNS)]
    pool = ThreadPoolExecutor(2)
    try:
        for done, line in enumerate(pool.map(draw, range(len(lights))), 1):
            lines.append(line)
            if progress is not None:
                progress(done, len(lights))
    finally:
        pool.shutdown(cancel_futures=True)
    (folder / LIGHT).write_text("\n".join(lines) + "\n", encoding="utf-8")
    size = f"{shape[0]} x {shape[1]}"
    notice = NOTICE.format(count=len(lights), size=size, seed=seed)
    (folder / "SYNTHETIC.txt").write_text(notice, encoding="utf-8")


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0)  # whole colours: thin lines stay red
    return buffer.getvalue()
