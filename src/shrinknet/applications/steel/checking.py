"""Checks every image before training, so that a bad file is reported before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from shrinknet.applications.steel.table import Plates


def check_images(
    plates: Plates,
    names: Sequence[str] | None = None,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Decodes every image once, and returns the number of images.

    Args:
        plates: of `read`.
        names: the images that will be used; None: all.
        jobs: threads; None: Python's default.
        progress: called with images done and images in all.

    Raises:
        DataError: an image is missing, truncated, damaged, or of another size.
    """
    names = plates.images if names is None else names
    pool = ThreadPoolExecutor(jobs)
    try:
        for number, _ in enumerate(pool.map(lambda name: plates.image(name).shape, names), 1):
            if progress is not None:
                progress(number, len(names))
    finally:
        pool.shutdown(cancel_futures=True)
    return len(names)
