"""Synthetic photographs of slopes: snow, rock and forest in sun or shade, with an avalanche and what looks like one.

Colour alone must not give the avalanche away: its snow has nearly the tone of the snow around it, which wind-packed
and scoured patches, rubble, gullies and the shade of clouds make lighter, darker, smoother and rougher elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shrinknet.applications.avalanche.releases import Release, release
from shrinknet.applications.avalanche.relief import Relief, fractal, relief, sunlight


@dataclass(frozen=True)
class Light:
    """How a slope is lit.

    Attributes:
        azimuth, elevation: of the sun in radians, see `sunlight`.
        sun, sky: red, green and blue of direct and of scattered light.
    """

    azimuth: float
    elevation: float
    sun: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A synthetic slope.

    Attributes:
        image: shape (height, width, red green blue), uint8.
        outline: around the avalanche, points of x and y in pixels, shape (points, 2).
        area: share of each pixel that the avalanche covers, shape (height, width), float32.
    """

    image: np.ndarray
    outline: np.ndarray
    area: np.ndarray


def scene(random: np.random.Generator, shape: tuple[int, int], sunny: bool) -> Scene:
    """One slope.

    Args:
        random: what it depends on, with the other arguments.
        shape: height and width in pixels, from 64.
        sunny: in the sun, or in the shade of the mountain.
    """
    terrain = relief(random, shape)
    light = _light(random, sunny)
    fallen = release(random, terrain)
    surface, tone = _snow(random, terrain, fallen)
    rock = _rock(random, terrain, fallen)
    lit = _lit(random, surface, light, sunny)
    albedo = _mixed(random, tone, rock, fallen)
    colours = albedo * lit
    _forest(random, colours, terrain, fallen, light, sunny)
    return Scene(_photograph(random, colours, sunny), fallen.outline, fallen.area)


def _light(random: np.random.Generator, sunny: bool) -> Light:
    side = random.uniform(-0.1, 0.3) * np.pi if sunny else random.uniform(-0.4, -0.1) * np.pi
    azimuth = -side if random.random() < 0.5 else np.pi + side  # the slope faces the bottom, as the sun does on it
    elevation = np.deg2rad(random.uniform(28, 50))
    warm = np.array([1.0, 0.965, 0.91], np.float32) ** np.float32(random.uniform(0.5, 1.1))
    blue = np.array([0.66, 0.82, 1.0], np.float32) ** np.float32(random.uniform(0.8, 1.1))
    if sunny:
        return Light(azimuth, elevation, warm * np.float32(0.88), blue * np.float32(random.uniform(0.24, 0.38)))
    return Light(azimuth, elevation, warm * np.float32(random.uniform(0, 0.05)),
                 blue * np.float32(random.uniform(0.5, 0.68)))  # fmt: skip


def _snow(random: np.random.Generator, terrain: Relief, fallen: Release) -> tuple[np.ndarray, np.ndarray]:
    """The surface of the snow in pixels of height, and its tone, about 1; both of shape (height, width)."""
    shape = terrain.height.shape
    size = float(min(shape))
    ripples = _ripples(random, shape)
    rough = random.uniform(0.16, 0.3) * fractal(random, shape, 1.2, 14) + random.uniform(0.1, 0.3) * ripples
    tone = 1 + 0.025 * fractal(random, shape, 1.2, size / 4)
    _patches(random, rough, tone, size)
    inside, along = fallen.area, fallen.along
    deposit = np.clip((along - random.uniform(0.4, 0.6)) / 0.12, 0, 1)
    blocks = np.abs(fractal(random, shape, 1.1, random.uniform(5, 9)))
    streaks = _streaks(random, fallen, shape)
    depth = random.uniform(1.4, 3.0)
    bed = -depth * (1 - deposit) + random.uniform(0.35, 0.5) * streaks + random.uniform(0.1, 0.3) * rough
    heap = random.uniform(0.6, 1.8) + random.uniform(1.0, 1.6) * blocks + 0.5 * rough
    surface = terrain.height + rough * (1 - inside) + inside * ((1 - deposit) * bed + deposit * heap)
    bed_tone = random.uniform(-0.11, -0.04) + 0.03 * streaks
    heap_tone = random.uniform(-0.13, -0.05) + 0.03 * blocks
    tone = tone + inside * ((1 - deposit) * bed_tone + deposit * heap_tone)
    return surface.astype(np.float32), tone.astype(np.float32)


def _ripples(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Dunes of the wind across its direction, stronger in some places."""
    rows, columns = np.indices(shape, np.float32)
    angle, length = random.uniform(0, np.pi), random.uniform(6, 14)
    phase = 2 * np.pi / length * (np.cos(angle) * columns + np.sin(angle) * rows)
    bent = phase + 1.6 * fractal(random, shape, 1.6, 60)
    return np.asarray(np.sin(bent) * np.clip(fractal(random, shape, 1.6, 90), 0, 1.5), np.float32)


def _patches(random: np.random.Generator, rough: np.ndarray, tone: np.ndarray, size: float) -> None:
    """What looks like an avalanche here and there: scoured smooth snow, rubble, and streaks of old slides."""
    shape = rough.shape
    for _ in range(int(random.integers(2, 5))):
        where = _blob(random, shape, size)
        kind = random.choice(["scoured", "rubble", "old"])
        if kind == "scoured":
            rough *= 1 - np.float32(0.8) * where
            tone += where * np.float32(random.uniform(-0.09, 0.04))
        elif kind == "rubble":
            blocks = np.abs(fractal(random, shape, 0.9, random.uniform(5, 12)))
            rough += where * np.float32(random.uniform(0.4, 0.9)) * blocks
            tone += where * np.float32(random.uniform(-0.08, 0.03))
        else:
            rough += where * np.float32(0.5) * _sheared(random, shape)
            tone += where * np.float32(random.uniform(-0.06, 0.02))


def _blob(random: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """An irregular patch with soft or sharp borders, shape (height, width), in [0, 1]."""
    rows, columns = np.indices(shape, np.float32)
    centre = (random.uniform(0, shape[0]), random.uniform(0, shape[1]))
    axes = size * random.uniform(0.06, 0.2), size * random.uniform(0.05, 0.16)
    angle = random.uniform(-0.6, 0.6)
    down, right = rows - centre[0], columns - centre[1]
    long, broad = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    distance = np.hypot(long / axes[0], broad / axes[1]) + 0.3 * fractal(random, shape, 1.4, size / 6)
    sharpness = size / 100 * random.uniform(2, 12)
    return np.asarray(np.clip((1 - distance) * sharpness + 0.5, 0, 1), np.float32)


def _sheared(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Streaks that run down the picture."""
    coarse = random.standard_normal((max(shape[0] // 24, 2), shape[1]), np.float32)
    return np.asarray(cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 0.8), shape[::-1], interpolation=cv2.INTER_CUBIC))


def _streaks(random: np.random.Generator, fallen: Release, shape: tuple[int, int]) -> np.ndarray:
    """Streaks along the flow: noise in the coordinates of the avalanche."""
    noise = np.asarray(cv2.GaussianBlur(random.standard_normal((16, 512), np.float32), (0, 0), 1.2))
    noise = noise / noise.std()
    columns = np.mod(fallen.across * 1.5 + 256, 511).astype(np.float32)
    return np.asarray(cv2.remap(noise, columns, (fallen.along * 15).astype(np.float32), cv2.INTER_LINEAR))


def _rock(random: np.random.Generator, terrain: Relief, fallen: Release) -> np.ndarray:
    """Share of bare rock, shape (height, width), in [0, 1]: on the steepest parts, and where the snow is thin."""
    shape = terrain.height.shape
    steep = terrain.steepness + 0.1 * fractal(random, shape, 1.2, 40) + 0.04 * fractal(random, shape, 0.7, 6)
    share = np.clip((steep - np.quantile(steep, random.uniform(0.9, 0.985))) / 0.05, 0, 1)
    return np.asarray(share * (1 - 0.85 * fallen.area), np.float32)


def _mixed(random: np.random.Generator, tone: np.ndarray, rock: np.ndarray, fallen: Release) -> np.ndarray:
    """The reflectance of snow and rock, shape (height, width, 3)."""
    shape = tone.shape
    brown = np.array([0.36, 0.33, 0.30], np.float32) * np.float32(random.uniform(0.7, 1.1))
    grain = 1 + 0.25 * fractal(random, shape, 0.9, 15)
    stone = brown * np.clip(grain, 0.4, 1.7)[..., None]
    dirt = fallen.area * np.float32(random.uniform(0.01, 0.05)) + 0.012 * fractal(random, shape, 1.3, min(shape) / 3)
    snow = np.array([0.97, 0.975, 0.98], np.float32) * tone[..., None]
    snow = snow * (1 + dirt[..., None] * np.array([0.2, -0.1, -1.0], np.float32))  # an avalanche carries some earth
    return np.asarray(snow + rock[..., None] * (stone - snow), np.float32)


def _lit(random: np.random.Generator, surface: np.ndarray, light: Light, sunny: bool) -> np.ndarray:
    """The light on each pixel, shape (height, width, 3)."""
    shape = surface.shape
    cosine, unhidden = sunlight(surface, light.azimuth, light.elevation)
    flat = np.sin(light.elevation)
    shaded = np.clip(1 + (0.8 if sunny else 0.9) * (cosine / flat - 1), 0.25, 1.8)  # snow scatters: half as hard
    clouds = 1 - np.float32(random.uniform(0, 0.3)) * np.clip(fractal(random, shape, 1.8, max(shape)) - 0.3, 0, 1)
    direct = (unhidden * shaded * clouds)[..., None] * light.sun
    near = 0.25 if sunny else 0.5  # in the shade, the bright side of the sky makes the relief
    open_sky = (1 - near + near * np.clip(shaded, 0, 1.6))[..., None] * light.sky
    return np.asarray(direct + open_sky * (1.0 if sunny else clouds[..., None]), np.float32)


def _forest(random: np.random.Generator, colours: np.ndarray, terrain: Relief, fallen: Release, light: Light,
            sunny: bool) -> None:  # fmt: skip
    """Draws conifers below the tree line, each with its shadow; hardly any in the avalanche."""
    height, width = terrain.height.shape
    line = random.uniform(0.45, 1.0)
    below = (np.arange(height, dtype=np.float32)[:, None] / height - line) / 0.15
    density = np.clip(below, 0, 1) * np.clip(0.6 + fractal(random, (height, width), 1.5, 70), 0, 1.5)
    density *= 1 - 0.97 * (fallen.area > 0.3)
    count = int(height * width / 160 * random.uniform(0.4, 1.0))
    rows, columns = random.uniform(0, height, count), random.uniform(0, width, count)
    grows = random.uniform(0, 1.5, count) < density[rows.astype(int), columns.astype(int)]
    radii = random.uniform(1.2, 3.2, count)
    tones = random.uniform(0.6, 1.3, count)
    green = np.array([0.20, 0.26, 0.19], np.float32) * (light.sun * np.float32(0.5) + light.sky)
    away = np.array([-np.cos(light.azimuth), np.sin(light.azimuth)])  # right, down
    layer = np.ascontiguousarray(colours)
    if sunny:
        shade = np.ones((height, width), np.float32)
        for place in np.flatnonzero(grows):
            tip = np.array([columns[place], rows[place]]) + away * radii[place] * 2 / np.tan(light.elevation)
            cv2.line(
                shade, _point(columns[place], rows[place]), _point(*tip), 0.5, max(1, int(radii[place])), cv2.LINE_AA
            )
        layer *= cv2.GaussianBlur(shade, (0, 0), 0.6)[..., None]
    for place in np.flatnonzero(grows):
        colour = (green * np.float32(tones[place])).tolist()
        cv2.circle(layer, _point(columns[place], rows[place]), max(1, round(radii[place])), colour, -1, cv2.LINE_AA)
    colours[...] = layer


def _point(column: float, row: float) -> tuple[int, int]:
    return round(float(column)), round(float(row))


def _photograph(random: np.random.Generator, colours: np.ndarray, sunny: bool) -> np.ndarray:
    """What a camera makes of it: exposure, soft highlights, blur and noise; shape (height, width, 3), uint8."""
    target = random.uniform(0.70, 0.80) if sunny else random.uniform(0.46, 0.56)
    bright = float(np.median(colours))
    values = np.clip(colours * np.float32(target / max(bright, 1e-6)), 0, None)
    values = np.where(values > 0.75, 0.75 + 0.25 * np.tanh((values - 0.75) / 0.3), values)
    values = np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), random.uniform(0.4, 0.7)))
    noise = random.standard_normal(values.shape, np.float32) * np.float32(random.uniform(0.004, 0.012))
    return np.clip(np.rint(255 * (values + noise)), 0, 255).astype(np.uint8)
