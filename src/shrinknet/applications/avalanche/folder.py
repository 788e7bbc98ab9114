"""Reads a folder of slopes: photographs, references with a drawn outline, and masks, matched by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shrinknet.applications.avalanche.layout import COLUMNS, IMAGES, LIGHT, LIGHTS, MARKED, MASKS, REFERENCES
from shrinknet.applications.avalanche.references import mask_from_reference
from shrinknet.errors import DataError
from shrinknet.files.tables import read_csv
from shrinknet.imaging.colour_files import read_pixels
from shrinknet.imaging.files import SUFFIXES


@dataclass(frozen=True)
class Slopes:
    """A folder of slopes; images are read when they are asked for.

    Attributes:
        folder: holds `images`, and `masks`, `references` or both.
        names: of the images, without suffix, sorted.
        images, masks, references: name -> file; masks or references may be empty.
        light: name -> "sunny" or "shady", as far as `light.csv` says.
    """

    folder: Path
    names: tuple[str, ...]
    images: Mapping[str, Path] = field(repr=False)
    masks: Mapping[str, Path] = field(repr=False)
    references: Mapping[str, Path] = field(repr=False)
    light: Mapping[str, str] = field(default_factory=dict, repr=False)

    def image(self, name: str, channels: int = 3) -> np.ndarray:
        """A photograph, shape (height, width, channels), uint8; a grey file gets equal channels, see `read_pixels`.

        Raises:
            DataError: there is no such image, or it cannot be read.
        """
        return read_pixels(self._file(self.images, name, IMAGES), channels)

    def reference(self, name: str) -> np.ndarray:
        """The photograph with its outline drawn in colour, shape (height, width, 3), uint8.

        Raises:
            DataError: there is no such reference, it cannot be read, or it has another size than the image.
        """
        return self._fitting(self._file(self.references, name, REFERENCES), name, 3)

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of a photograph in pixels, from the header of its file."""
        return _size(self.images[name])

    def mask(self, name: str) -> np.ndarray:
        """Where the avalanche is, shape (height, width), uint8, 0 or 1; derived from the reference without a mask file.

        Raises:
            DataError: the file cannot be read, or has another size than the image; no outline is found.
        """
        if self.masks:
            values = self._fitting(self._file(self.masks, name, MASKS), name, 1)[..., 0]
            return (values >= MARKED).astype(np.uint8)
        try:
            return mask_from_reference(self.reference(name), self.image(name))
        except DataError as error:
            raise DataError(f"{str(self.references.get(name, name))!r}: {error}") from error

    def _file(self, files: Mapping[str, Path], name: str, folder: str) -> Path:
        if name not in files:
            raise DataError(f"There is no {name!r} in {str(self.folder / folder)!r}, which has {len(files):,} images.")
        return files[name]

    def _fitting(self, path: Path, name: str, channels: int) -> np.ndarray:
        pixels = read_pixels(path, channels)
        size = self.size(name)
        if pixels.shape[:2] != size:
            raise DataError(
                f"{str(path)!r} has {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width), and its image "
                f"{self.images[name].name!r} has {size[0]} x {size[1]}; expected the same."
            )
        return pixels


def read(folder: str | os.PathLike[str]) -> Slopes:
    """The slopes in a folder that holds `images` and, with the same names, `masks`, `references` or both.

    The suffixes may differ: `images/07.jpg` belongs to `masks/07.png`. Files are listed, not decoded: see
    `Slopes.image` and `check`. An empty mask is a slope without an avalanche.

    Args:
        folder: of the slopes.

    Raises:
        DataError: a folder or a partner file is missing, two files have one name, or `light.csv` is malformed.
    """
    folder = Path(folder)
    images = _listed(folder / IMAGES)
    if not images:
        raise DataError(f"Expected images in {str(folder / IMAGES)!r}; found none.")
    masks, references = (_listed(folder / name) if (folder / name).is_dir() else {} for name in (MASKS, REFERENCES))
    if not masks and not references:
        raise DataError(
            f"Expected masks in {str(folder / MASKS)!r}, or references with a drawn outline in "
            f"{str(folder / REFERENCES)!r}; found neither."
        )
    for name, partners in ((MASKS, masks), (REFERENCES, references)):
        if partners:
            _check_partners(folder, images, partners, name)
    return Slopes(folder, tuple(sorted(images)), images, masks, references, _light(folder / LIGHT, images))


def check(
    slopes: Slopes, names: Sequence[str] | None = None, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, tuple[int, int]]:
    """Decodes every image and mask once, so that a bad file is reported before anything is trained.

    Args:
        slopes: of `read`; names: of images; None: all.
        progress: called with images done and images in all.

    Returns:
        name -> pixels of the mask that are marked, and pixels in all.

    Raises:
        DataError: an image or mask cannot be used.
    """
    names = slopes.names if names is None else names
    found = {}
    for number, name in enumerate(names, 1):
        slopes.image(name)
        mask = slopes.mask(name)
        found[name] = (int(np.count_nonzero(mask)), mask.size)
        if progress is not None:
            progress(number, len(names))
    return found


def pairs(
    slopes: Slopes, names: Sequence[str] | None = None, channels: int = 3
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image (height, width, channels), uint8, and mask (height, width), 0 or 1, one after the other."""
    for name in slopes.names if names is None else names:
        yield name, slopes.image(name, channels), slopes.mask(name)


def _listed(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"Expected a folder of slopes with a folder of images at {str(folder)!r}, which is not there.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(
                f"{str(folder)!r} holds {found[path.stem].name!r} and {path.name!r}, which differ in their suffix "
                "alone: images, references and masks are matched by name, so remove one of the two."
            )
        found[path.stem] = path
    return found


def _check_partners(folder: Path, images: Mapping[str, Path], partners: Mapping[str, Path], what: str) -> None:
    missing, lone = sorted(images.keys() - partners.keys()), sorted(partners.keys() - images.keys())
    if missing:
        others = f" ({len(missing)} such images in all)" if len(missing) > 1 else ""
        raise DataError(
            f"The image {images[missing[0]].name!r} has no partner in {str(folder / what)!r}{others}: expected a file "
            f"of the name {missing[0]!r} with any suffix of an image; add it, or remove the image."
        )
    if lone:
        raise DataError(
            f"{str(partners[lone[0]])!r} has no image in {str(folder / IMAGES)!r}: expected a file of the name "
            f"{lone[0]!r}; add it, or remove the file."
        )


def _light(path: Path, images: Mapping[str, Path]) -> dict[str, str]:
    if not path.exists():
        return {}
    table = read_csv(path)
    if tuple(table.columns) != COLUMNS:
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}; received {', '.join(table.columns)}.")
    found = {}
    for line, (image, light) in enumerate(table.itertuples(index=False), 2):
        name = Path(str(image)).stem
        if name not in images or light not in LIGHTS:
            raise DataError(
                f"{path}, line {line}: expected the name of an image and one of {', '.join(LIGHTS)}; received "
                f"{str(image)!r} and {str(light)!r}."
            )
        found[name] = str(light)
    return found


def _size(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is shown, from its header alone where nothing speaks against it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF's tag for the orientation
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # damaged files make decoders raise almost anything: reading it says so in a sentence
        height, width, _ = read_pixels(path).shape
        return height, width
