"""Terrain for synthetic slopes: a fractal relief, the sunlight on it, and where water and snow would run down."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Relief:
    """A terrain seen from above; up is the top of the picture.

    Attributes:
        height: in pixels, so that a slope of 1 is 45 degrees; shape (height, width), float32.
        steepness: the gradient of the height without its small features, 1 at 45 degrees.
        down: unit vectors downhill, (rows, columns, 2) with the row first, of the height without small features.
    """

    height: np.ndarray
    steepness: np.ndarray
    down: np.ndarray


def fractal(random: np.random.Generator, shape: tuple[int, int], exponent: float, longest: float) -> np.ndarray:
    """Noise whose power falls with the frequency, of mean 0 and deviation 1, shape (height, width), float32.

    Args:
        random: what it depends on.
        shape: height and width in pixels.
        exponent: amplitudes fall with the frequency to this power; about 2 looks like mountains, 1 like clouds.
        longest: wavelength in pixels above which they do not grow any more.
    """
    side = max(shape)  # a square of noise, so that features are as long as they are wide
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / longest)
    spectrum = np.fft.rfft2(random.standard_normal((side, side), np.float32)) * frequency**-exponent
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (side, side))[: shape[0], : shape[1]].astype(np.float32)
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-9), np.float32)


def relief(random: np.random.Generator, shape: tuple[int, int]) -> Relief:
    """A mountain side: it falls from the top of the picture to its bottom, with ridges and gullies."""
    height, width = shape
    fall = np.linspace(1, 0, height, dtype=np.float32)[:, None] * np.float32(height * random.uniform(0.5, 0.75))
    lean = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(random.normal(0, 0.06) * width)
    # steeper spectra than those of bare rock: deep snow fills the small hollows, or nobody could see the avalanche
    rough = fractal(random, shape, 2.9, max(shape) / 2)
    ridges = np.abs(fractal(random, shape, 2.7, max(shape) / 2.5))  # folded, so that valleys get sharp lines
    size = np.float32(min(shape))
    total = fall + lean + size * np.float32(0.03) * rough - size * np.float32(random.uniform(0.02, 0.05)) * ridges
    smooth = cv2.GaussianBlur(total, (0, 0), max(min(shape) / 60, 1.5))
    rows, columns = np.gradient(smooth)
    steepness = np.hypot(rows, columns)
    down = -np.stack([rows, columns], -1) / np.maximum(steepness, 1e-6)[..., None]
    return Relief(total.astype(np.float32), steepness.astype(np.float32), down.astype(np.float32))


def sunlight(height: np.ndarray, azimuth: float, elevation: float) -> tuple[np.ndarray, np.ndarray]:
    """How the sun lights a surface.

    Args:
        height: shape (height, width), in pixels.
        azimuth: of the sun in radians, 0 at the right of the picture, a quarter turn at its top.
        elevation: of the sun above the horizon in radians.

    Returns:
        The cosine of the angle between the sun and the surface, not below 0; and the share of the sun that no mountain
        hides, in [0, 1]. Both of shape (height, width), float32.
    """
    rows, columns = np.gradient(height)
    direction = (np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    norm = np.sqrt(rows**2 + columns**2 + 1)
    cosine = (-columns * direction[0] - rows * direction[1] + direction[2]) / norm
    return np.maximum(cosine, 0).astype(np.float32), _unhidden(height, azimuth, elevation)


def _unhidden(height: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """Where the ray to the sun meets no higher ground, softened; marched over a smaller copy, in growing steps."""
    factor = max(1, min(height.shape) // 256)
    smooth = cv2.GaussianBlur(height, (0, 0), 1.5 * factor)  # lumps of snow cast no long shadows
    small = cv2.resize(smooth, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA) / np.float32(factor)
    toward = np.array([np.cos(azimuth), -np.sin(azimuth)])  # right, down
    rise, hidden = np.tan(elevation), np.zeros_like(small)
    distance = 1.5
    while distance < max(small.shape):
        move = np.array([[1, 0, toward[0] * distance], [0, 1, toward[1] * distance]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        there = cv2.warpAffine(small, move, small.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        hidden = np.maximum(hidden, there - small - np.float32(rise * distance))
        distance *= 1.15
    soft = np.clip(1 - hidden / 3, 0, 1).astype(np.float32)
    blurred = cv2.GaussianBlur(soft, (0, 0), 0.8)
    return np.asarray(cv2.resize(blurred, height.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
