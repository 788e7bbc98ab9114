"""Synthetic avalanches: release, track, deposit, and the outline that a person would draw around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from shrinknet.applications.avalanche.relief import Relief, fractal


@dataclass(frozen=True)
class Release:
    """An avalanche on a terrain; arrays of shape (height, width), float32.

    Attributes:
        area: share of a pixel that it covers, in [0, 1].
        along: 0 at the crown to 1 at the foot of the deposit; of the nearest point of its path.
        across: distance from the path in pixels, with a sign; for streaks that follow the flow.
        outline: as somebody would draw it, points of x and y in pixels, shape (points, 2).
    """

    area: np.ndarray
    along: np.ndarray
    across: np.ndarray
    outline: np.ndarray


def release(random: np.random.Generator, terrain: Relief) -> Release:
    """One avalanche that follows the fall line, about a fifth of the picture.

    Args:
        random: what it depends on, with the terrain.
        terrain: of `relief`.
    """
    shape = terrain.height.shape
    size = float(min(shape))
    path = _path(random, terrain)
    along, across = _coordinates(path, shape)
    half = _half_width(random, size)
    lower = 0.3 + 0.7 * np.clip(along / 0.7, 0, 1)  # the crown breaks along smooth lines, the deposit has fingers
    ragged = (
        size * lower * (0.016 * fractal(random, shape, 1.5, size / 6) + 0.004 * fractal(random, shape, 1, size / 25))
    )
    ends = _beyond_ends(path, shape)
    edge = np.maximum(np.abs(across) - half(along), ends - 0.01 * size) + ragged
    raw = (edge < 0).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(raw, None, None, None, 4)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])) if len(statistics) > 1 else 0
    body = ((labels == largest) & (raw > 0)).astype(np.uint8)
    contours, _ = cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)[:, 0]
    cv2.drawContours(body, [contour[:, None]], -1, 1, -1)  # without islands
    area = cv2.GaussianBlur(body.astype(np.float32), (0, 0), 0.7)
    return Release(area, along, across, by_hand(random, contour, size))


def by_hand(random: np.random.Generator, contour: np.ndarray, size: float) -> np.ndarray:
    """A contour as a hand draws it: without small features, and off by a pixel or two, shape (points, 2)."""
    from scipy.ndimage import gaussian_filter1d

    closed = contour.astype(np.float64)
    smooth = gaussian_filter1d(closed, max(size / 110, 1.0), axis=0, mode="wrap")
    wobble = gaussian_filter1d(random.standard_normal(closed.shape), max(size / 25, 3.0), axis=0, mode="wrap")
    wobble *= 0.0045 * size / max(float(wobble.std()), 1e-9)
    return smooth + np.clip(wobble, -0.012 * size, 0.012 * size)


def _path(random: np.random.Generator, terrain: Relief) -> np.ndarray:
    """Points down the fall line, a pixel apart, shape (points, 2): row and column; with some momentum."""
    height, width = terrain.height.shape
    place = np.array([height * random.uniform(0.1, 0.3), width * random.uniform(0.25, 0.75)])
    heading = np.array([1.0, 0.0])
    points = [place.copy()]
    for _ in range(int(height * random.uniform(0.4, 0.65))):
        row, column = np.clip(np.rint(place).astype(int), 0, (height - 1, width - 1))
        heading = 0.93 * heading + 0.07 * terrain.down[row, column]
        heading[0] = max(heading[0], 0.35)  # it does not run uphill
        heading /= np.linalg.norm(heading)
        place = place + heading
        if not (0 <= place[0] < height - 2 and 2 <= place[1] < width - 2):
            break
        points.append(place.copy())
    return np.array(points)


def _coordinates(path: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel how far along the path its nearest point lies, 0 to 1, and its signed distance from it."""
    from scipy.spatial import KDTree

    rows, columns = np.indices(shape, np.float32)
    pixels = np.stack([rows, columns], -1)
    step = max(1, shape[0] // 256)  # coordinates change slowly: a smaller grid is enough
    coarse = pixels[::step, ::step]
    _, nearest = KDTree(path).query(coarse.reshape(-1, 2))
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    away = coarse.reshape(-1, 2) - path[nearest]
    side = away[:, 1] * tangent[nearest, 0] - away[:, 0] * tangent[nearest, 1]
    across = np.copysign(np.linalg.norm(away, axis=1), side)
    both = [nearest / max(len(path) - 1, 1), across]
    made = [one.reshape(coarse.shape[:2]).astype(np.float32) for one in both]
    if step > 1:
        made = [cv2.resize(one, shape[::-1], interpolation=cv2.INTER_LINEAR) for one in made]
    return made[0], made[1]


def _beyond_ends(path: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How far a pixel lies beyond the crown or the foot of the path, in pixels; negative between them."""
    rows, columns = np.indices(shape, np.float32)
    beyond = []
    for end, inner in ((0, min(8, len(path) - 1)), (-1, -min(9, len(path)))):
        outward = path[end] - path[inner]
        outward /= max(float(np.linalg.norm(outward)), 1e-9)
        beyond.append((rows - path[end][0]) * outward[0] + (columns - path[end][1]) * outward[1])
    crown, foot = beyond
    return np.asarray(np.maximum(crown, foot), np.float32)


def _half_width(random: np.random.Generator, size: float) -> Callable[[np.ndarray], np.ndarray]:
    """Half of the avalanche's width in pixels as a function of `along`: wide above, narrow, and a fan below."""
    crown, track, fan = (size * random.uniform(*limits) for limits in ((0.11, 0.21), (0.065, 0.12), (0.09, 0.18)))
    places = np.array([0.0, 0.08, 0.3, 0.6, 0.85, 1.0])
    widths = np.array([0.8 * crown, crown, 0.8 * crown + 0.2 * track, track, fan, 0.65 * fan])
    return lambda along: np.interp(along, places, widths).astype(np.float32)
