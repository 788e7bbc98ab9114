"""Gaussian pyramids: an image at half its size, again and again, each time smoothed first.

The kernel is the 5x5 binomial one: the outer product of (1, 4, 6, 4, 1) with itself, whose sum is 256, the number to
divide by. The avalanche report divides by 16, which would brighten an image sixteenfold at every level.
"""

from __future__ import annotations

import numpy as np

from shrinknet.errors import DataError, OptionError

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def reduced(image: np.ndarray, levels: int = 1) -> np.ndarray:
    """The image smoothed by `BINOMIAL` and halved, `levels` times; OpenCV's pyrDown.

    Args:
        image: shape (height, width) or (height, width, channels), uint8 or float32; borders by reflection.
        levels: how often, from 0; a side of n pixels becomes (n + 1) // 2.

    Returns:
        The smaller image, of the same type.

    Raises:
        DataError: nothing would be left; OptionError: `levels` is negative.
    """
    import cv2

    if levels < 0:
        raise OptionError(f"Expected a number of levels of 0 or more; received {levels}.")
    values = np.ascontiguousarray(image)
    for _ in range(levels):
        if min(values.shape[:2]) < 2:
            raise DataError(
                f"An image of {image.shape[0]} x {image.shape[1]} pixels cannot be halved {levels} times: take fewer "
                "levels or a larger image."
            )
        values = np.asarray(cv2.pyrDown(values)).reshape((values.shape[0] + 1) // 2, (values.shape[1] + 1) // 2,
                                                         *image.shape[2:])  # fmt: skip
    return values


def reduced_mask(mask: np.ndarray, levels: int = 1) -> np.ndarray:
    """A mask of 0 and 1 in the size of the image of `reduced`; a pixel is marked where at least half of it is."""
    return (reduced(np.asarray(mask, np.float32), levels) >= 0.5).astype(np.uint8)


def enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values of a reduced image, shape (height, width), interpolated to the size of the whole one, float32.

    Pixel (i, j) of a reduced image lies at pixel (2 i, 2 j) of the image it came from, not at the middle of four.
    """
    import cv2

    values = np.asarray(values, np.float32)
    step = 2 ** max(round(np.log2(max(shape[0] / values.shape[0], 1))), 0)
    move = np.array([[1 / step, 0, 0], [0, 1 / step, 0]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(values, move, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
