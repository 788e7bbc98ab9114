"""Arrays that commands read from `.npy` and `.npz` files."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from shrinknet.errors import DataError
from shrinknet.files.inspection import check_npz


def read_sample(path: Path | None) -> Any:
    """Inputs for a model: the array in a `.npy` file; in a `.npz` file the only array, `x`, `x0`, `x1` ..., or a dict.

    Raises:
        DataError: the file contains something else.
    """
    if path is None:
        return None
    arrays = _arrays(path)
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    return _numbered(arrays, "x") if "x" in arrays or "x0" in arrays else arrays


def read_pairs(path: Path | None) -> tuple[Any, ...] | None:
    """Training data: the arrays `x` and `y` in a `.npz` file (`x0`, `x1` ... for several), and `sample_weight`.

    Raises:
        DataError: they are missing.
    """
    if path is None:
        return None
    arrays = _arrays(path)
    x, y = _numbered(arrays, "x"), _numbered(arrays, "y")
    if x is None or y is None:
        names = ", ".join(arrays) or "none"
        raise DataError(f"Expected arrays named x and y (x0, x1 ... for several) in {path}; it contains {names}.")
    return (x, y, arrays["sample_weight"]) if "sample_weight" in arrays else (x, y)


def _numbered(arrays: dict[str, Any], kind: str) -> Any:
    if kind in arrays:
        return arrays[kind]
    names = sorted((name for name in arrays if re.fullmatch(rf"{kind}\d+", name)), key=lambda name: int(name[1:]))
    return [arrays[name] for name in names] or None


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    if zipfile.is_zipfile(path):
        check_npz(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, KeyError) as error:
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        words = "it holds Python objects, or is no such file" if "allow_pickle" in words else words
        raise DataError(
            f"Expected arrays of numbers in a .npy or .npz file; {path} cannot be read ({words})."
        ) from error
