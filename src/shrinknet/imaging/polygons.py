"""Polygons: the outline of a mask as rings of points, smoothed by a spline, with its area, as GeoJSON.

Coordinates are pixels: x to the right and y down from the upper left corner of the image, so that the middle of the
first pixel is at (0.5, 0.5) and an image of W x H pixels reaches from (0, 0) to (W, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import OptionError
from shrinknet.imaging.cleaning import checked_mask

UNIT = "pixels of the image, x to the right and y down from its upper left corner; no geographic coordinates"


@dataclass(frozen=True)
class Polygon:
    """One region, with its holes.

    Attributes:
        exterior: closed ring of x and y in pixels, shape (points, 2), the last point the first; counterclockwise in a
            plane whose y points up, as GeoJSON wants it.
        holes: rings of the other direction.
    """

    exterior: np.ndarray
    holes: tuple[np.ndarray, ...] = ()

    @property
    def area(self) -> float:
        """In pixels, without the holes."""
        return ring_area(self.exterior) + sum(ring_area(hole) for hole in self.holes)

    @property
    def length(self) -> float:
        """Of the exterior, in pixels."""
        return float(np.linalg.norm(np.diff(self.exterior, axis=0), axis=1).sum())


@dataclass(frozen=True)
class Outline:
    """The regions of a mask, the largest first; none for an empty mask.

    Attributes:
        polygons: one for each region.
        shape: height and width of the mask.
    """

    polygons: tuple[Polygon, ...]
    shape: tuple[int, int]

    @property
    def area(self) -> float:
        """Of all regions, in pixels."""
        return sum(polygon.area for polygon in self.polygons)

    @property
    def length(self) -> float:
        """Of all exteriors, in pixels."""
        return sum(polygon.length for polygon in self.polygons)

    def mask(self) -> np.ndarray:
        """The pixels whose middle lies inside, shape (height, width), uint8, 0 or 1."""
        return filled([ring for one in self.polygons for ring in (one.exterior, *one.holes)], self.shape)

    def to_geojson(self, **properties: Any) -> dict[str, Any]:
        """A FeatureCollection (RFC 7946) with a feature for each region; in pixels, which every feature says.

        Args:
            properties: plain JSON types that every feature gets besides its area, outline length and unit.
        """
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [_points(ring) for ring in (one.exterior, *one.holes)]},
                "properties": {"area_pixels": round(one.area, 2), "outline_pixels": round(one.length, 2),
                               "coordinates": UNIT, **properties},
            }
            for one in self.polygons
        ]  # fmt: skip
        return {"type": "FeatureCollection", "features": features}


def outline(mask: ArrayLike, *, smoothing: float = 0.5, spacing: float = 3.0, least: float = 4.0) -> Outline:
    """The outline of a mask.

    The contour runs halfway between marked and unmarked pixels, so that the polygon of an unsmoothed mask holds exactly
    the middles of its pixels. It is smoothed by a closed cubic spline (SciPy's splprep), resampled at equal distances.
    A ring that the spline would make cross itself or another one stays as it is.

    Args:
        mask: shape (height, width), 0 or 1; see `imaging.cleaning` for noise.
        smoothing: about how far in pixels the spline may stay away from the contour; 0: the contour itself.
        spacing: pixels between the points of the smoothed outline, above 0.
        least: rings that enclose less, in pixels, are left out.

    Raises:
        DataError: the mask is none; OptionError: an option is outside of its range.

    Example:
        >>> mask = np.zeros((5, 6), np.uint8)
        >>> mask[1:4, 2:5] = 1
        >>> outline(mask, smoothing=0).area  # nine pixels, less a triangle of 1/8 at each corner
        8.5
    """
    if smoothing < 0 or spacing <= 0 or least < 0:
        raise OptionError(
            f"Expected smoothing and least of 0 or more and a spacing above 0; received {smoothing}, {least} and "
            f"{spacing}."
        )
    values = checked_mask(mask)
    rings = [ring for ring in _rings(values) if abs(ring_area(ring)) >= least]
    if smoothing:
        rings = _without_crossings(rings, [_smoothed(ring, smoothing, spacing) for ring in rings])
    exteriors = [ring for ring in rings if ring_area(ring) > 0]
    owned: list[list[np.ndarray]] = [[] for _ in exteriors]
    for hole in (ring for ring in rings if ring_area(ring) < 0):
        around = [place for place, ring in enumerate(exteriors) if _inside(hole[0], ring)]
        if around:
            owned[min(around, key=lambda place: ring_area(exteriors[place]))].append(hole)
    polygons = [Polygon(ring, tuple(holes)) for ring, holes in zip(exteriors, owned, strict=True)]
    return Outline(tuple(sorted(polygons, key=lambda one: -one.area)), values.shape)


def filled(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose middle lies inside an odd number of rings, shape (height, width), uint8, 0 or 1.

    Every edge flips what lies to the right of it in the rows that it crosses. This takes time for pixels and edges, not
    for their product, as testing every pixel against every edge does.

    Args:
        rings: closed, x and y in pixels, shape (points, 2) each.
        shape: height and width.
    """
    height, width = shape
    flips = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        (x, y), (to_x, to_y) = ring[:-1].T, ring[1:].T
        first, last = (np.clip(np.ceil(end - 0.5), 0, height).astype(int)
                       for end in (np.minimum(y, to_y), np.maximum(y, to_y)))  # fmt: skip
        counts = last - first  # rows whose middle lies between the ends of an edge
        edge = np.repeat(np.arange(len(counts)), counts)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        share = (rows + 0.5 - y[edge]) / (to_y - y)[edge]
        columns = np.clip(np.ceil(x[edge] + share * (to_x - x)[edge] - 0.5), 0, width).astype(int)
        np.bitwise_xor.at(flips, (rows, columns), 1)
    inside: np.ndarray = np.bitwise_xor.accumulate(flips, axis=1)[:, :width]
    return inside


def ring_area(ring: np.ndarray) -> float:
    """The area within a closed ring of x and y; negative where it runs the other way round."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Closed contours; those around marked pixels have a positive area."""
    from skimage import measure

    contours: Any = measure.find_contours

    padded = np.pad(mask, 1).astype(np.float64)
    found = contours(padded, 0.5, fully_connected="low", positive_orientation="high")
    rings = [contour[:, ::-1] - 0.5 for contour in found]  # row and column of padded pixels become x and y
    if rings and sum(ring_area(ring) for ring in rings) < 0:
        rings = [ring[::-1] for ring in rings]
    return rings


def _smoothed(ring: np.ndarray, smoothing: float, spacing: float) -> np.ndarray:
    from scipy.interpolate import splev, splprep

    if len(ring) < 8:
        return ring
    spline, _ = splprep(ring.T, s=smoothing**2 * len(ring), per=True)
    length = np.linalg.norm(np.diff(ring, axis=0), axis=1).sum()
    count = max(int(length / spacing), 8)
    fine = np.stack(splev(np.linspace(0, 1, 10 * count + 1), spline), -1)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    places = np.linspace(0, along[-1], count + 1)
    points = np.stack([np.interp(places, along, fine[:, axis]) for axis in (0, 1)], -1)
    points[-1] = points[0]
    return points


def _without_crossings(plain: Sequence[np.ndarray], smooth: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The smoothed rings; the plain one where the smoothed one crosses itself, turns round, or crosses another."""
    chosen = [
        plain[place] if ring_area(ring) * ring_area(plain[place]) <= 0 or _crosses(ring, ring) else ring
        for place, ring in enumerate(smooth)
    ]
    waiting = _overlapping(chosen)
    while waiting:
        one, other = waiting.pop()
        if not _crosses(chosen[one], chosen[other]):
            continue
        for place in (one, other):
            if chosen[place] is not plain[place]:
                chosen[place] = plain[place]
                waiting |= {pair for pair in _overlapping(chosen, place) if pair != (one, other)}
    return chosen


def _overlapping(rings: Sequence[np.ndarray], place: int | None = None) -> set[tuple[int, int]]:
    """Pairs of rings whose boxes overlap, and that may therefore cross; of all rings, or of one with the others."""
    low, high = np.array([ring.min(0) for ring in rings]), np.array([ring.max(0) for ring in rings])
    found = set()
    for one in range(len(rings)) if place is None else (place,):
        near = (low <= high[one]).all(1) & (high >= low[one]).all(1)
        found |= {(min(one, int(other)), max(one, int(other))) for other in np.flatnonzero(near) if other != one}
    return found


def _crosses(one: np.ndarray, other: np.ndarray, chunk: int = 256) -> bool:
    """Whether segments of two rings meet; of one ring with itself, other than at the points they share."""
    same = one is other
    c, d = other[:-1], other[1:]
    for start in range(0, len(one) - 1, chunk):
        a, b = one[:-1][start : start + chunk, None], one[1:][start : start + chunk, None]
        meets = (np.minimum(a, b) <= np.maximum(c, d)).all(-1) & (np.minimum(c, d) <= np.maximum(a, b)).all(-1)
        meets &= (_side(a, b, c) * _side(a, b, d) <= 0) & (_side(c, d, a) * _side(c, d, b) <= 0)
        if same:
            gap = np.abs(np.arange(start, start + a.shape[0])[:, None] - np.arange(len(c)))
            meets &= (gap > 1) & (gap < len(c) - 1)
        if meets.any():
            return True
    return False


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.asarray(
        (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    )


def _inside(point: np.ndarray, ring: np.ndarray) -> bool:
    from skimage import measure

    inside: Any = measure.points_in_poly
    return bool(inside(point[None], ring)[0])


def _points(ring: np.ndarray) -> list[list[float]]:
    points = [[round(float(x), 3), round(float(y), 3)] for x, y in ring]
    points[-1] = points[0]
    return points
