"""Computes the edge maps of many photographs once and in parallel, before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shrinknet.applications.edges.cache import cached_edges, edge_map_file
from shrinknet.applications.edges.data import each
from shrinknet.applications.edges.photographs import photographs
from shrinknet.applications.edges.targets import Canny, Sobel, Target
from shrinknet.imaging.files import MAX_PIXELS


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare_edges`.

    Attributes:
        photographs: their number; made, found: numbers of edge maps that were computed, and that already existed.
        skipped: photographs that cannot be used, and why.
        share: edge strength averaged over all pixels, in [0, 1]; None if no photograph could be used.
        smallest, largest: height x width of the photographs with the fewest and the most pixels.
        folder: the cache.
    """

    photographs: int
    made: int
    found: int
    skipped: dict[str, str]
    share: float | None
    smallest: str
    largest: str
    folder: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def prepare_edges(
    images: str | Path | Sequence[str | Path] | None = None,
    cache: str | Path = "runs/edge-maps",
    *,
    kind: str = "canny",
    low: float = 100.0,
    high: float = 200.0,
    sigma: float = 0.0,
    jobs: int | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Computes the edge maps of whole photographs and stores them as PNG; existing ones are not computed again.

    Args:
        images: where the photographs are, see `photographs`.
        cache: folder for the edge maps, the `cache` of `edge_data`.
        kind: "canny" or "sobel"; low, high, sigma: see `Canny`.
        jobs: threads; None: Python's default.
        strict: raise at a photograph that cannot be used, instead of listing it.
        max_pixels: largest height times width that is decoded.
        progress: called with the number of photographs done and the total.

    Raises:
        DataError: there are no photographs or, if strict, one cannot be used.
        OptionError: an option has an invalid value, or the cache cannot be written.
    """
    target: Target = Canny(low, high, sigma) if kind == "canny" else Sobel(sigma)
    chosen, folder = photographs(images), Path(cache)

    def prepare(index: int) -> tuple[bool, tuple[int, ...], float]:
        photograph = chosen[index]
        file = edge_map_file(photograph, target, folder)
        before = file.stat().st_ino if file.exists() else None  # a rewritten file has a new inode
        edges = cached_edges(photograph, photograph.read(max_pixels), target, folder)
        return file.stat().st_ino != before, edges.shape, float(edges.sum(dtype="float64"))

    done, skipped = each(chosen, prepare, skip=not strict, jobs=jobs, progress=progress)
    good = list(done.values())
    sizes = sorted((shape for _, shape, _ in good), key=lambda shape: shape[0] * shape[1])
    pixels = sum(shape[0] * shape[1] for shape in sizes)
    made = sum(new for new, _, _ in good)
    return Prepared(
        photographs=len(chosen),
        made=made,
        found=len(good) - made,
        skipped=skipped,
        share=sum(edges for _, _, edges in good) / pixels if pixels else None,
        smallest=" x ".join(map(str, sizes[0])) if sizes else "",
        largest=" x ".join(map(str, sizes[-1])) if sizes else "",
        folder=str(folder),
    )
