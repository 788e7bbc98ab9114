"""Synthetic steel: the surface of a plate without defects.

Illumination by rows of lamps, streaks along the direction of rolling (vertical here, as in the competition's images),
grain, the dark margin beside the strip, and harmless marks that a network must learn to ignore.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shrinknet.applications.steel.layout import SHAPE

MARGIN = 0.22  # share of plates that show the strip's edge


@dataclass(frozen=True)
class Surface:
    """A plate without defects.

    Attributes:
        grey: shape (height, width), float32, about 0 to 255.
        left, right: the first column of steel, and the first column after it: defects lie between them.
        level: the typical grey value of the steel.
    """

    grey: np.ndarray
    left: int
    right: int
    level: float


def surface(random: np.random.Generator, shape: tuple[int, int] = SHAPE) -> Surface:
    """A clean plate.

    Args:
        random: the plate depends on nothing else.
        shape: height and width in pixels.
    """
    height, width = shape
    level = float(np.clip(random.normal(95, 22), 50, 165))
    grey = np.full(shape, level, np.float32)
    grey *= _illumination(random, height, width)
    grey += _streaks(random, height, width, level)
    grey += _grain(random, height, width)
    _harmless(random, grey)
    left, right = _margin(random, grey)
    return Surface(grey, left, right, level)


def smooth_noise(random: np.random.Generator, height: int, width: int, rows: int, columns: int) -> np.ndarray:
    """Noise of unit deviation that changes slowly: `rows` x `columns` random values, blown up to (height, width)."""
    coarse = random.standard_normal((max(rows, 2), max(columns, 2)), np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _illumination(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Brighter and darker parts, as factors of about 1: lamps overlap along the width, and fall off at the ends."""
    across = 1 + 0.13 * smooth_noise(random, 1, width, 1, int(random.integers(3, 7)))[:1]
    down = 1 + random.normal(0, 0.08) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return np.asarray(np.clip(across, 0.55, 1.6) * down, np.float32)


def _streaks(random: np.random.Generator, height: int, width: int, level: float) -> np.ndarray:
    """The texture of rolling: faint vertical lines that change a little on their way down."""
    strength = level * random.uniform(0.015, 0.05)
    fine = random.standard_normal((4, width), np.float32)
    broad = smooth_noise(random, 4, width, 2, width // 12)
    lines = np.float32(strength) * (np.float32(0.8) * fine + broad)
    return np.asarray(cv2.resize(lines, (width, height), interpolation=cv2.INTER_LINEAR))


def _grain(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The camera's noise and the grain of the steel."""
    # the difference of two bytes is near enough to a normal distribution, and six times as fast to draw
    bytes_ = random.integers(0, 256, (2, height, width), np.uint8)
    noise = cv2.subtract(bytes_[0], bytes_[1], dtype=cv2.CV_32F)
    noise *= np.float32(random.uniform(3.0, 7.0) / 104.5)  # its deviation is 104.5
    if random.random() < 0.5:  # grain that is longer than it is wide
        noise = cv2.blur(noise, (1, 3)) * np.float32(1.5)
    return np.asarray(noise)


def _harmless(random: np.random.Generator, grey: np.ndarray) -> None:
    """Marks that are no defects: grains of dust, stains with soft rims, broad bands and hair lines of rolling."""
    height, width = grey.shape
    for _ in range(random.poisson(1.5)):  # dust: lone, round, small
        row, column = int(random.integers(height)), int(random.integers(width))
        cv2.circle(grey, (column, row), int(random.integers(1, 4)), float(random.uniform(30, 190)), -1, cv2.LINE_AA)
    if random.random() < 0.3:  # a stain: large like the rounded areas, but smooth and faint
        soft = np.zeros((height // 8, width // 8), np.float32)
        centre = (int(random.integers(soft.shape[1])), int(random.integers(soft.shape[0])))
        axes = (int(random.integers(5, 16)), int(random.integers(4, 10)))
        cv2.ellipse(soft, centre, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1)
        soft = cv2.resize(cv2.GaussianBlur(soft, (0, 0), 3), (width, height), interpolation=cv2.INTER_LINEAR)
        grey += soft * np.float32(random.choice([-1, 1]) * random.uniform(8, 20))
    if random.random() < 0.35:  # bands: vertical like traces, but wide, soft, and from border to border
        profile = np.zeros((1, width), np.float32)
        for _ in range(int(random.integers(1, 4))):
            place, wide = int(random.integers(width)), int(random.integers(8, 40))
            profile[:, place : place + wide] += np.clip(random.normal(0, 0.12), -0.25, 0.25) * grey[0, place]
        grey += cv2.GaussianBlur(profile, (0, 0), 4)
    if random.random() < 0.4:  # hair lines: thin like traces, but faint, straight, and from border to border
        for _ in range(int(random.integers(1, 6))):
            place = int(random.integers(width - 2))
            grey[:, place : place + int(random.integers(1, 3))] *= np.float32(1 + random.normal(0, 0.08))


def _margin(random: np.random.Generator, grey: np.ndarray) -> tuple[int, int]:
    """Darkens what lies beside the strip, and returns the columns of steel."""
    height, width = grey.shape
    if random.random() >= MARGIN:
        return 0, width
    share = float(np.clip(random.exponential(0.25), 0.03, 0.7))
    slant = random.normal(0, 6)
    border = share * width + slant * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    steel = np.clip((columns - border) / 3 + 0.5, 0, 1)  # three pixels from dark to bright
    dark = np.float32(random.uniform(2, 9))
    grey *= steel
    grey += (1 - steel) * dark
    first = min(int(np.ceil(border.max())) + 4, width - 1)
    if random.random() < 0.5:
        return first, width
    grey[:] = grey[:, ::-1].copy()
    return 0, width - first
