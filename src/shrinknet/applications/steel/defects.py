"""Synthetic defects: the four signatures that the report describes, painted onto a surface.

1: clusters of small square specks. 2: a single thin vertical trace. 3: dense vertical traces with a few horizontal
ones. 4: rounded areas anywhere on the plate. The areas follow the report's figure 12, corrected as `published.py`
explains: medians of about 3,400, 2,900, 12,300 and 25,500 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from shrinknet.applications.steel.surfaces import Surface, smooth_noise

Draw = Callable[[np.random.Generator, Surface], np.ndarray]


def paint(number: int, random: np.random.Generator, plate: Surface) -> np.ndarray:
    """Paints defects of one class onto a plate, in place.

    Args:
        number: the class, 1 to 4.
        random: what is painted depends on it and on the plate alone.
        plate: its grey values are changed.

    Returns:
        The defects' mask, shape (height, width), uint8, 0 or 1, with at least one pixel: an outline as a person
        draws it, a little larger than what is seen.
    """
    return _SIGNATURES[number](random, plate)


def _specks(random: np.random.Generator, plate: Surface) -> np.ndarray:
    height, _ = plate.grey.shape
    marks, mask = np.zeros_like(plate.grey), np.zeros(plate.grey.shape, np.uint8)
    count = int(np.clip(random.lognormal(np.log(19), 0.85), 3, 160))
    clusters = 1 + int(random.random() < 0.25)
    strength = _contrast(random, plate, 0.20, 0.6)
    for _ in range(clusters):
        centre = random.uniform([20, plate.left + 10], [height - 20, max(plate.right - 10, plate.left + 11)])
        spread = random.uniform([12, 12], [70, 60]) * np.sqrt(count / 16)
        for row, column in random.normal(centre, spread, (max(count // clusters, 2), 2)):
            side = random.integers(5, 12, 2)
            top, left = _placed(row, column, side, plate)
            depth = strength * random.uniform(0.6, 1.2)
            marks[top : top + side[0], left : left + side[1]] = depth
            marks[top + side[0] : top + side[0] + 1, left : left + side[1]] = -0.5 * depth  # the lit lower rim
            mask[max(top - 3, 0) : top + side[0] + 3, max(left - 3, 0) : left + side[1] + 3] = 1
    _add(plate, cv2.GaussianBlur(marks, (0, 0), 0.8))
    return mask


def _lone_trace(random: np.random.Generator, plate: Surface) -> np.ndarray:
    marks, mask = np.zeros_like(plate.grey), np.zeros(plate.grey.shape, np.uint8)
    strength = _contrast(random, plate, 0.14, 0.45)
    for _ in range(1 + int(random.random() < 0.12)):
        length = int(np.clip(random.lognormal(np.log(170), 0.45), 50, plate.grey.shape[0]))
        line = _vertical(random, plate, length, wander=1.5)
        wide = int(random.integers(2, 6))
        cv2.polylines(marks, [line], False, strength, wide, cv2.LINE_AA)
        cv2.polylines(mask, [line], False, 1, wide + int(random.integers(10, 16)))
    _add(plate, _worn(random, cv2.GaussianBlur(marks, (0, 0), 1.2)))
    return mask


def _dense_traces(random: np.random.Generator, plate: Surface) -> np.ndarray:
    height, _ = plate.grey.shape
    marks, mask = np.zeros_like(plate.grey), np.zeros(plate.grey.shape, np.uint8)
    count = int(np.clip(random.lognormal(np.log(11), 1.15), 3, 250))
    middle = random.uniform(plate.left, plate.right)
    spread = random.uniform(8, 20) * np.sqrt(count) if random.random() < 0.85 else (plate.right - plate.left) / 3
    bright = random.random() < 0.45  # scratches shine, scabs are dark
    strength = _contrast(random, plate, 0.16, 0.65) * (-1 if bright else 1)
    for _ in range(count):
        length = int(np.clip(random.lognormal(np.log(80), 0.6), 15, height))
        line = _vertical(random, plate, length, wander=3.0, column=random.normal(middle, spread))
        if random.random() < 0.12:
            line = _horizontal(random, plate, int(length * 0.6) + 8, line[0])
        wide = int(random.integers(1, 7))
        _taper(marks, line, wide, strength * random.uniform(0.4, 1.2))
        cv2.polylines(mask, [line], False, 1, wide + 9)
    closing = cv2.getStructuringElement(cv2.MORPH_RECT, (19, 9))  # a person outlines the bundle, not each trace
    _add(plate, _worn(random, cv2.GaussianBlur(marks, (0, 0), 0.9)))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, closing))


def _rounded_areas(random: np.random.Generator, plate: Surface) -> np.ndarray:
    height, width = plate.grey.shape
    mask = np.zeros(plate.grey.shape, np.uint8)
    total = float(np.clip(random.lognormal(np.log(30_000), 0.85), 1_500, 190_000))
    count = int(random.integers(1, 4)) + int(total > 60_000)
    for share in random.dirichlet(np.full(count, 4.0)):
        area = max(total * share, 400.0)
        tall = min(np.sqrt(area / np.pi * random.uniform(0.7, 2.2)), height * 0.48)
        broad = area / (np.pi * tall)
        row = random.uniform(0.15, 0.85) * height
        column = random.uniform(plate.left + 0.5 * broad, max(plate.right - 0.5 * broad, plate.left + 0.5 * broad + 1))
        cv2.fillPoly(mask, [_rounded(random, row, column, tall, broad)], 1)
    mask[:, : plate.left] = 0
    mask[:, plate.right :] = 0
    strength = _contrast(random, plate, 0.16, 0.5) * (-1 if random.random() < 0.3 else 1)
    inside = cv2.GaussianBlur(cv2.erode(mask, np.ones((7, 7), np.uint8)).astype(np.float32), (0, 0), 2.0)
    _add(plate, np.float32(strength) * inside * _scale(random, height, width))
    return mask


def _scale(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """How strongly scale shows, 0.1 to about 1: flakes of several sizes, drawn out along the rolling direction."""
    rough = sum(
        weight * smooth_noise(random, height, width, int(height / (1.6 * side)), int(width / side))
        for weight, side in ((0.8, 34), (0.7, 13), (0.6, 5))
    )
    return np.asarray(np.clip(0.45 + 0.55 * rough, 0.1, 1.1), np.float32)


def _worn(random: np.random.Generator, marks: np.ndarray) -> np.ndarray:
    """Marks that fade and come back along their way, as those of a real tool do."""
    height, width = marks.shape
    return np.asarray(
        marks * np.clip(0.85 + 0.35 * smooth_noise(random, height, width, height // 12, width // 12), 0.2, 1.3)
    )


def _taper(marks: np.ndarray, line: np.ndarray, wide: int, strength: float) -> None:
    """Draws a line that is thinner and fainter at its ends."""
    third = max(len(line) // 4, 1)
    cv2.polylines(marks, [line], False, 0.6 * strength, max(wide - 2, 1), cv2.LINE_AA)
    if len(line) > 2 * third:
        cv2.polylines(marks, [line[third:-third]], False, strength, wide, cv2.LINE_AA)


_SIGNATURES: dict[int, Draw] = {1: _specks, 2: _lone_trace, 3: _dense_traces, 4: _rounded_areas}


def _add(plate: Surface, marks: np.ndarray) -> None:
    np.add(plate.grey, marks, out=plate.grey)


def _contrast(random: np.random.Generator, plate: Surface, least: float, most: float) -> float:
    """A difference of grey values, below zero: faint defects are more frequent than strong ones."""
    return -plate.level * float(np.exp(random.uniform(np.log(least), np.log(most))))


def _placed(row: float, column: float, side: np.ndarray, plate: Surface) -> tuple[int, int]:
    """The upper left corner of a speck, kept on the steel."""
    height = plate.grey.shape[0]
    top = int(np.clip(row, 0, height - side[0] - 1))
    return top, int(np.clip(column, plate.left, max(plate.right - side[1] - 1, plate.left)))


def _vertical(
    random: np.random.Generator, plate: Surface, length: int, *, wander: float, column: float | None = None
) -> np.ndarray:
    """Points of a line that goes down and drifts a little, shape (points, 1, column row), int32."""
    height = plate.grey.shape[0]
    column = random.uniform(plate.left + 8, max(plate.right - 8, plate.left + 9)) if column is None else column
    start = random.uniform(-0.15 * length, height - 0.85 * length)
    rows = start + np.linspace(0, length, max(length // 16, 3))
    drift = np.cumsum(random.normal(0, wander * 0.4, len(rows))) + random.normal(0, wander) * np.linspace(
        -1, 1, len(rows)
    )
    columns = np.clip(column + drift, plate.left + 3, max(plate.right - 4, plate.left + 4))
    return np.stack([columns, np.clip(rows, 0, height - 1)], -1).astype(np.int32)[:, None]


def _horizontal(random: np.random.Generator, plate: Surface, length: int, start: np.ndarray) -> np.ndarray:
    """Points of a line that goes to the right from near `start`, shape (points, 1, column row), int32."""
    columns = start[0, 0] + np.linspace(-length / 2, length / 2, 5)
    rows = start[0, 1] + random.uniform(0, 60) + random.normal(0, 1.5, 5)
    inside = np.clip(columns, plate.left + 3, max(plate.right - 4, plate.left + 4))
    return np.stack([inside, np.clip(rows, 0, plate.grey.shape[0] - 1)], -1).astype(np.int32)[:, None]


def _rounded(random: np.random.Generator, row: float, column: float, tall: float, broad: float) -> np.ndarray:
    """Points of a rounded outline: an ellipse with a few slow waves, shape (points, column row), int32."""
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angles)
    for waves in (2, 3, 5):
        radius += random.normal(0, 0.16 / waves) * 2 * np.cos(waves * angles + random.uniform(0, 2 * np.pi))
    points = [column + broad * radius * np.cos(angles), row + tall * radius * np.sin(angles)]
    return np.stack(points, -1).astype(np.int32)
