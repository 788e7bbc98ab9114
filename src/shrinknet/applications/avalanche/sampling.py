"""The split of slopes into training, validation and test, by image and never by window; and samples of windows.

Neighbouring windows share nearly all of their pixels: if windows of one image were in two parts, the test would be on
training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.pyramids import reduced, reduced_mask
from shrinknet.imaging.windows import Windows, windows

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)


def split_images(slopes: Slopes, shares: Sequence[float] = SHARES, seed: int = 0) -> Mapping[str, tuple[str, ...]]:
    """Names of images for train, validation and test, at least one each; sunny and shady ones to about equal shares.

    Args:
        slopes: of `read`.
        shares: of the images, with a sum of 1.
        seed: of the split.

    Raises:
        OptionError: the shares do not add up; DataError: there are fewer than three images.
    """
    if len(shares) != len(PARTS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise OptionError(f"Expected three shares above 0 with a sum of 1; received {tuple(shares)}.")
    if len(slopes.names) < len(PARTS):
        raise DataError(f"Expected at least three images, one for each part; received {len(slopes.names)}.")
    mixed = np.random.default_rng(seed).permutation(np.array(slopes.names, object))
    ordered = sorted(mixed, key=lambda name: slopes.light.get(name, ""))  # stable: random within each light
    counts = np.maximum(1, np.rint(np.array(shares) * len(ordered)).astype(int))
    counts[0] = len(ordered) - counts[1:].sum()
    # each image goes to the part that is furthest behind its share
    dealt: dict[str, list[str]] = {part: [] for part in PARTS}
    for number, name in enumerate(ordered, 1):
        lag = [count * number / len(ordered) - len(dealt[part]) for part, count in zip(PARTS, counts, strict=True)]
        open_parts = [lag[k] if len(dealt[PARTS[k]]) < counts[k] else -np.inf for k in range(len(PARTS))]
        dealt[PARTS[int(np.argmax(open_parts))]].append(str(name))
    return {part: tuple(sorted(names)) for part, names in dealt.items()}


def slope_windows(slopes: Slopes, name: str, shape: tuple[int, int, int], levels: int = 0) -> Windows:
    """The windows of one slope that a classifier of this input shape takes.

    Args:
        slopes: of `read`; name: of an image.
        shape: height, width and channels of a window.
        levels: of the Gaussian pyramid: how often image and mask are halved first.
    """
    image, mask = slopes.image(name, shape[2]), slopes.mask(name)
    if levels:
        image, mask = reduced(image, levels), reduced_mask(mask, levels)
    return windows(image, mask, shape[:2])


def window_sample(
    slopes: Slopes,
    names: Sequence[str],
    shape: tuple[int, int, int],
    each: int,
    *,
    balanced: bool = True,
    levels: int = 0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Windows in memory, for small sets and for what takes arrays alone.

    Args:
        slopes: of `read`; names: of images.
        shape: height, width and channels of a window.
        each: windows of each image, from 1.
        balanced: half of them at marked pixels; False: anywhere.
        levels: of the Gaussian pyramid.
        seed: of the choice.

    Returns:
        Windows, shape (windows, height, width, channels), float32 in [0, 1], and the mask at their centres, shape
        (windows, 1), float32, 0 or 1; image after image.

    Raises:
        DataError: there is no image, or one cannot be used; OptionError: `each` is below 1.
    """
    if each < 1:
        raise OptionError(f"Expected at least 1 window of each image; received {each}.")
    if not len(names):
        raise DataError("Expected images to draw windows from; received none.")
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for number, name in enumerate(names):
        found = slope_windows(slopes, name, shape, levels)
        parts.append(found.at(found.sample(each, np.random.default_rng([seed, number]), balanced=balanced)))
    x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    return x, y


def balance(labels: Any) -> float:
    """The share of marked windows in labels of 0 and 1."""
    return float(np.mean(np.asarray(labels) > 0.5))
