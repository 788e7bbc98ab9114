"""Small regions: marks that are too small to be a defect are left out, since a single speck on a clean plate counts as
much as a defect that was missed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from shrinknet.errors import DataError
from shrinknet.imaging.mask_scores import mask_scores

SIZES = tuple(2**power for power in range(13))  # to 4,096 pixels


def without_small(masks: np.ndarray, least: int | Sequence[int]) -> np.ndarray:
    """Masks without small connected regions.

    Args:
        masks: shape (height, width, classes), 0 or 1.
        least: regions of fewer pixels are left out; one number, or one for each class.

    Returns:
        uint8, of the same shape.
    """
    import cv2

    sizes = np.broadcast_to(np.asarray(least), masks.shape[2])
    kept = np.zeros(masks.shape, np.uint8)
    for place, size in enumerate(sizes.tolist()):
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(
            np.ascontiguousarray(masks[..., place], np.uint8), None, None, None, 8
        )
        large = statistics[:, cv2.CC_STAT_AREA] >= size
        large[0] = False  # the background
        kept[..., place] = large[labels]
    return kept


def least_regions(output: ArrayLike, truth: ArrayLike, sizes: Sequence[int] = SIZES) -> tuple[int, ...]:
    """For each class, the size of the smallest region that is worth keeping: with it, the mean Dice is best.

    Use plates that the network did not learn from, and others than those that it is judged by. The mean counts a
    blank mask that is found blank as 1, as the competition does; of equally good sizes the smallest is taken.

    Args:
        output: predicted masks, shape (plates, height, width, classes), 0 or 1.
        truth: true masks of the same shape.
        sizes: sizes in pixels that are tried, from 1.

    Returns:
        What `Outlining(least=...)` takes, for masks of this height and width.

    Raises:
        DataError: the shapes differ, a value is neither 0 nor 1, or there are no sizes.
    """
    if not len(sizes) or min(sizes) < 1:
        raise DataError(f"Expected sizes of at least 1 pixel; received {list(sizes)}.")
    found, tried = np.asarray(output), sorted(set(sizes))
    dice = [
        mask_scores(np.stack([without_small(mask, size) for mask in found]), truth)
        .groupby("class", sort=False)["dice"]
        .mean()
        for size in tried
    ]
    return tuple(tried[place] for place in np.argmax(np.stack(dice), axis=0).tolist())
