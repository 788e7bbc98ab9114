"""The plates of the steel experiments: a folder of the user's, or synthetic ones that a process draws once."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from shrinknet.applications.steel.checking import check_images
from shrinknet.applications.steel.generation import Mixture, generate
from shrinknet.applications.steel.layout import CLASSES
from shrinknet.applications.steel.table import Plates, read


def plates_for(folder: str, count: int, seed: int, *, balanced: bool) -> Plates:
    """The plates in a folder; with "" as the folder, synthetic ones.

    Args:
        folder: of plates in the competition's layout, or "".
        count: synthetic plates; seed: of them.
        balanced: as many of each class, instead of the report's imbalance.

    Raises:
        DataError: the folder is malformed, or an image cannot be used.
    """
    return _checked(folder) if folder else _synthetic(count, seed, balanced)


@functools.cache
def _checked(folder: str) -> Plates:
    """The plates in a folder, after every image was decoded once."""
    plates = read(folder)
    check_images(plates)
    return plates


@functools.cache
def _synthetic(count: int, seed: int, balanced: bool) -> Plates:
    scratch = Path(tempfile.mkdtemp(prefix="shrinknet-steel-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    mixture = Mixture(classes=dict.fromkeys(CLASSES, 1 / len(CLASSES))) if balanced else None
    return read(generate(scratch / "plates", count, seed, mixture=mixture))
