"""Finds photographs: those that ship with scikit-image, any folder of images, or the layout of PASCAL VOC2012."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shrinknet.errors import DataError, MissingExtraError
from shrinknet.imaging.files import MAX_PIXELS, image_files, read_grey

# People, animals, objects, textures and text are spread over the parts. Drawings, the second picture of the stereo
# pair, and cell, clock_motion, moon and retina, with edges in less than 1 % of the pixels, are left out.
SCIKIT_IMAGE = {
    "train": ("astronaut.png", "brick.png", "coffee.png", "gravel.png", "ihc.png", "motorcycle_left.png", "page.png"),
    "validation": ("coins.png", "hubble_deep_field.jpg", "text.png"),
    "test": ("camera.png", "chelsea.png", "grass.png", "rocket.jpg"),
}


@dataclass(frozen=True, order=True)
class Photograph:
    """A photograph on disk.

    Attributes:
        name: stem of the file for scikit-image and VOC2012, otherwise its path within the folder.
        path: the file.
        part: "train", "validation" or "test" if the assignment is fixed, else "".
    """

    name: str
    path: Path
    part: str = ""

    def read(self, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Luminance, shape (height, width), float32 in [0, 1].

        Raises:
            DataError: the file is missing, damaged, or larger than `max_pixels`.
        """
        return read_grey(self.path, max_pixels)


def photographs(root: str | Path | Sequence[str | Path] | None = None) -> tuple[Photograph, ...]:
    """The photographs to use, sorted by name; nothing is decoded yet.

    Args:
        root: None: fourteen photographs of scikit-image, with a fixed assignment to parts. A folder: all images in it
            and its subfolders. A folder in the layout of VOC2012 (JPEGImages and ImageSets/Main): those in its plain
            image sets (train, val, trainval, test), or all if there are no sets. Several folders: those of all.

    Raises:
        DataError: a folder does not exist or contains no image, or an image set lists an invalid file name.
        MissingExtraError: scikit-image is not installed.
    """
    if root is None:
        return _scikit_image()
    roots = [Path(root)] if isinstance(root, str | Path) else [Path(folder) for folder in root]
    # by file, not by name: a.jpg and a.png are two photographs, but a folder that is named twice counts once
    found = {photograph.path.resolve(): photograph for folder in roots for photograph in _listed(folder)}
    if not found:
        raise DataError(
            f"Expected a folder with images; found none in {', '.join(repr(str(folder)) for folder in roots)}."
        )
    return tuple(sorted(found.values()))


def _scikit_image() -> tuple[Photograph, ...]:
    from importlib import resources

    try:
        folder = Path(str(resources.files("skimage.data")))
    except ModuleNotFoundError:
        raise MissingExtraError(
            "The default photographs are those of scikit-image, which is not installed: "
            "pip install scikit-image, or name a folder of photographs."
        ) from None
    parts = ((part, folder / file) for part, files in SCIKIT_IMAGE.items() for file in files)
    return tuple(sorted(Photograph(path.stem, path, part) for part, path in parts))


def _listed(folder: Path) -> list[Photograph]:
    """The photographs of one folder."""
    pictures = folder / "JPEGImages"
    if not pictures.is_dir():
        return [Photograph(path.relative_to(folder).as_posix(), path) for path in image_files(folder)]
    sets = [folder / "ImageSets" / "Main" / f"{name}.txt" for name in ("train", "val", "trainval", "test")]
    lines = [line.split() for file in sets if file.is_file() for line in file.read_text().splitlines()]
    names = {words[0] for words in lines if words} or {path.stem for path in image_files(pictures, (".jpg",))}
    for name in names:
        if Path(name).name != name:
            raise DataError(f"An image set of {str(folder)!r} lists {name!r}; expected names of files in JPEGImages.")
    return [Photograph(name, pictures / f"{name}.jpg") for name in names]
