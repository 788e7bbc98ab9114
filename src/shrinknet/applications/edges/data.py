"""Crops of photographs and of their edge maps, split by photograph into train, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from shrinknet.applications.edges.cache import cached_edges
from shrinknet.applications.edges.photographs import Photograph, photographs
from shrinknet.applications.edges.targets import Target, target_named
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.files import MAX_PIXELS

PARTS = ("train", "validation", "test")
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Part:
    """Crops for one purpose, photograph by photograph.

    Attributes:
        x: grey crops, shape (crops, height, width, 1), float32 in [0, 1].
        y: their edge maps, the same shape, float32 in [0, 1].
        names: the photograph that each crop is from.
    """

    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class EdgeData:
    """Data to train and evaluate an edge network; no photograph is in two parts.

    Attributes:
        train, validation, test: the crops.
        skipped: photographs that were left out: name -> reason.
    """

    train: Part
    validation: Part
    test: Part
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cropping:
    """Where crops are taken from a photograph.

    Attributes:
        size: height and width of a crop in pixels.
        train: crops per training photograph, at random places; a single one is taken from the centre.
        grid: validation and test photographs give grid x grid crops, evenly spread from border to border; 1: the
            centre.
        pad: True: photographs smaller than a crop are mirrored at their borders, with their edge maps; False: they are
            errors.
    """

    size: int = 128
    train: int = 32
    grid: int = 2
    pad: bool = True

    def __post_init__(self) -> None:
        if min(self.size, self.train, self.grid) < 1:
            raise OptionError(f"Cropping expects size, train and grid of at least 1; received {self}.")

    def corners(self, shape: tuple[int, ...], part: str, generator: np.random.Generator) -> list[tuple[int, int]]:
        """The upper left corners, (row, column), of the crops of a photograph of shape (height, width)."""
        rooms = [side - self.size for side in shape]
        if part == "train" and self.train > 1:
            rows, columns = (generator.integers(0, room + 1, self.train) for room in rooms)
            return list(zip(rows.tolist(), columns.tolist(), strict=True))
        grid = 1 if part == "train" else self.grid
        rows, columns = (np.rint(room * _spread(grid)).astype(int) for room in rooms)
        return [(row, column) for row in rows.tolist() for column in columns.tolist()]


def _spread(count: int) -> np.ndarray:
    """`count` numbers evenly spread over [0, 1]; a single one in the middle."""
    return np.linspace(0, 1, count) if count > 1 else np.array([0.5])


def edge_data(
    root: str | Path | Sequence[str | Path] | None = None,
    crop: int | Cropping = 128,
    *,
    target: str | Target = "canny",
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    on_error: Literal["fail", "skip"] = "fail",
    max_pixels: int = MAX_PIXELS,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EdgeData:
    """Photographs and their edge maps, cropped and split by photograph.

    Edge maps are computed on the whole photograph before it is cropped, so that edges at a crop's border are correct.

    Args:
        root: where the photographs are, see `photographs`; None: those of scikit-image.
        crop: height and width of the crops in pixels, or a `Cropping` with more settings.
        target: "canny", "sobel", or a `Canny` or `Sobel` with options.
        shares: train, validation and test as shares of the photographs, each at least one; or, all of them 1 or
            more, as numbers of photographs. The photographs of scikit-image have a fixed assignment instead.
        seed: of the split and of the random crops.
        on_error: "fail" raises at a photograph that cannot be used, "skip" lists it in `skipped`.
        max_pixels: largest height times width that is decoded.
        cache: folder that keeps edge maps as PNG; None: they are computed every time.
        progress: called with the number of photographs done and the total.

    Raises:
        DataError: there is no photograph for one of the parts, or a photograph cannot be used.
        OptionError: an option has an invalid value, or the cache cannot be written.
    """
    if on_error not in ("fail", "skip"):
        raise OptionError(f"Expected on_error to be fail or skip; received {on_error!r}.")
    chosen = split(photographs(root), shares, seed)
    reader = CropReader(
        chosen, Cropping(crop) if isinstance(crop, int) else crop, target_named(target), seed, max_pixels,
        Path(cache) if cache else None,
    )  # fmt: skip
    loaded, skipped = each(chosen, reader, skip=on_error == "skip", progress=progress)
    good = [(chosen[index], crops) for index, crops in loaded.items()]
    train, validation, test = (_part(part, good) for part in PARTS)
    return EdgeData(train, validation, test, skipped)


@dataclass(frozen=True)
class CropReader:
    """Reads the crops of one photograph and of its edge map: `reader(index)`, each (crops, height, width, 1).

    Attributes:
        photographs: each with its part; random crops depend on their order.
        cropping, target, seed, max_pixels, cache: see `edge_data`.
    """

    photographs: tuple[Photograph, ...]
    cropping: Cropping
    target: Target
    seed: int = 0
    max_pixels: int = MAX_PIXELS
    cache: Path | None = None

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The crops of a photograph.

        Raises:
            DataError: it cannot be used.
            OptionError: the cache cannot be written.
        """
        photograph, generator = self.photographs[index], np.random.default_rng([self.seed, index])
        image = photograph.read(self.max_pixels)
        edges = cached_edges(photograph, image, self.target, self.cache) if self.cache else self.target(image)
        return _crops(photograph, image, edges, self.cropping, generator)


def each(
    chosen: Sequence[Photograph],
    use: Callable[[int], Kept],
    *,
    skip: bool,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[int, Kept], dict[str, str]]:
    """The result of `use(index)` for each photograph, computed in parallel.

    Args:
        chosen: the photographs; skip: list those that cannot be used instead of raising.
        jobs: threads; None: Python's default.
        progress: called with the number of photographs done and the total.

    Returns:
        index -> result, in order; name -> why the photograph was skipped.
    """

    def attempt(index: int) -> Kept | DataError:
        try:
            return use(index)
        except DataError as error:
            if not skip:
                raise
            return error

    kept: dict[int, Kept] = {}
    skipped: dict[str, str] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        for index, result in enumerate(pool.map(attempt, range(len(chosen)))):
            if isinstance(result, DataError):
                skipped[chosen[index].name] = str(result)
            else:
                kept[index] = result
            if progress is not None:
                progress(index + 1, len(chosen))
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure, do not process the remaining photographs
    return kept, skipped


def split(
    found: Sequence[Photograph], shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> tuple[Photograph, ...]:
    """The photographs to use, each with its part; an existing assignment is kept.

    Args:
        found: photographs, in a fixed order.
        shares: train, validation and test as shares or, if all of them are 1 or more, as numbers of photographs.
        seed: of the random assignment.

    Raises:
        OptionError: the shares are negative or exceed 1, or require more photographs than there are.
    """
    if all(photograph.part for photograph in found):
        return tuple(found)
    numbers = list(shares)
    if min(shares) < 1:
        if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
            raise OptionError(f"Expected three shares above 0 with a sum of at most 1; received {shares}.")
        numbers = [max(1, round(share * len(found))) for share in shares]
        numbers[0] = min(numbers[0], len(found) - numbers[1] - numbers[2])
    counts = [int(number) for number in numbers]
    if counts[0] < 1 or sum(counts) > len(found):
        raise OptionError(f"Expected photographs for train, validation and test, {shares}; there are {len(found)}.")
    dealt = [found[index] for index in np.random.default_rng(seed).permutation(len(found))]
    parts = [part for part, count in zip(PARTS, counts, strict=True) for _ in range(count)]
    return tuple(Photograph(one.name, one.path, part) for one, part in zip(dealt, parts, strict=False))


def _crops(
    photograph: Photograph, image: np.ndarray, edges: np.ndarray, cropping: Cropping, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Crops of a photograph and of its edge map, each (crops, height, width, 1)."""
    size = cropping.size
    missing = [max(0, size - side) for side in image.shape]
    if any(missing):
        if not cropping.pad:
            raise DataError(
                f"Photograph {photograph.name!r} has {image.shape[0]} x {image.shape[1]} pixels; expected at least "
                f"{size} x {size}: pad or skip small photographs, or take smaller crops."
            )
        margins = [(gap // 2, gap - gap // 2) for gap in missing]
        image, edges = (np.pad(array, margins, mode="symmetric") for array in (image, edges))
    corners = cropping.corners(image.shape, photograph.part, generator)
    x, y = (
        np.stack([array[row : row + size, column : column + size, None] for row, column in corners])
        for array in (image, edges)
    )
    return x, y


def _part(part: str, loaded: Sequence[tuple[Photograph, tuple[np.ndarray, np.ndarray]]]) -> Part:
    mine = [(photograph, crops) for photograph, crops in loaded if photograph.part == part]
    if not mine:
        raise DataError(f"No photograph is left for {part}: add photographs, or repair those that were skipped.")
    x, y = (np.concatenate([crops[which] for _, crops in mine]) for which in (0, 1))
    return Part(x, y, tuple(photograph.name for photograph, (crops, _) in mine for _ in range(len(crops))))
