"""Connected regions of masks as a table: how large each is, where it lies, and what shape it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from shrinknet.errors import DataError

_MEASURED = {
    "area": "area",
    "bbox-0": "top",
    "bbox-1": "left",
    "bbox-2": "bottom",
    "bbox-3": "right",
    "centroid-0": "row",
    "centroid-1": "column",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "extent": "extent",
    "orientation": "orientation",
    "axis_major_length": "length",
    "axis_minor_length": "breadth",
}
COLUMNS = ("image", "class", "component", *_MEASURED.values())


def components(masks: ArrayLike, image: str = "", classes: Sequence[str | int] = (), *, least: int = 1) -> pd.DataFrame:
    """A row for each connected region; pixels that touch at a corner are connected.

    Args:
        masks: shape (height, width, classes), 0 or 1.
        image: the name in the first column.
        classes: their names; none: numbers, from 1.
        least: regions of fewer pixels are left out.

    Returns:
        image, class; component, from 1, in the order of rows; area in pixels; top, left, bottom and right of the
        bounding box, the last two exclusive; row and column of the centroid; eccentricity, 0 for a circle and 1 for a
        line; solidity, the share of its convex hull, and extent, the share of its box; orientation in radians between
        the rows' axis and the longer axis, 0 for an upright region, in (-pi/2, pi/2]; length and breadth, the axes in
        pixels of the ellipse with the same second moments.

    Raises:
        DataError: the shape is another.
    """
    from skimage import measure  # costs half a second to import

    label: Any = measure.label
    properties: Any = measure.regionprops_table

    layers = np.asarray(masks)
    if layers.ndim != 3:
        raise DataError(f"Expected masks of shape (height, width, classes); received an array of {layers.shape}.")
    tables = []
    for place, name in enumerate(list(classes) or range(1, layers.shape[2] + 1)):
        if not layers[..., place].any():
            continue
        labels = label(layers[..., place] > 0, connectivity=2)
        table = pd.DataFrame(properties(labels, properties=_properties())).rename(columns=_MEASURED)
        table = table[table["area"] >= least].reset_index(drop=True)
        table.insert(0, "image", image)
        table.insert(1, "class", name)
        table.insert(2, "component", range(1, len(table) + 1))
        tables.append(table)
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame({name: pd.Series(dtype=_kind(name)) for name in COLUMNS})
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)].astype({name: _kind(name) for name in _whole()})


def _properties() -> list[str]:
    return list(dict.fromkeys(name.partition("-")[0] for name in _MEASURED))


def _whole() -> tuple[str, ...]:
    return ("component", "area", "top", "left", "bottom", "right")


def _kind(name: str) -> str:
    return "int64" if name in _whole() else "str" if name in ("image", "class") else "float64"
