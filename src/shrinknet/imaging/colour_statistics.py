"""Colour statistics: histograms of red, green, blue, hue, saturation and brightness, their peaks, and summaries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shrinknet.errors import DataError

RGB = ("red", "green", "blue")
HSV = ("hue", "saturation", "brightness")
_WIDTH = 3.0  # grey values: the deviation of the Gaussian that smooths a histogram before its peaks are looked for


def histograms(image: np.ndarray) -> pd.DataFrame:
    """The share of an image's pixels at each value of each channel: the report's figure 10.

    Args:
        image: shape (height, width, red green blue), uint8.

    Returns:
        A row for each value from 0 to 255: value, red, green, blue, hue, saturation, and brightness, the V of HSV. Hue
        is spread over 0 to 255 like the others; grey pixels have no hue and are left out of it.

    Raises:
        DataError: the image is another array.
    """
    planes = _planes(image)
    table = {"value": np.arange(256)}
    for name, values in planes.items():
        counts = np.bincount(values, minlength=256)
        table[name] = counts / max(counts.sum(), 1)
    return pd.DataFrame(table)


def peaks(shares: np.ndarray, *, around: bool = False, least: float = 0.1) -> list[tuple[int, float]]:
    """The peaks of a histogram, the highest first: value, and its share after smoothing.

    Args:
        shares: one for each value from 0 to 255.
        around: whether 255 is followed by 0, as of hues.
        least: prominence that a peak has at least, as a share of the highest value.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(np.asarray(shares, np.float64), _WIDTH, mode="wrap" if around else "constant")
    if smooth.max() <= 0:
        return []
    ends = 3 * int(_WIDTH)
    edge = np.pad(smooth, ends, mode="wrap" if around else "constant")  # a peak at 0 or 255 is a peak
    places, _ = find_peaks(edge, prominence=least * float(smooth.max()))
    found = {int(place) - ends for place in places}
    kept = [place % 256 for place in found if around or 0 <= place < 256]
    return sorted({(place, float(smooth[place])) for place in kept}, key=lambda one: -one[1])


def colour_summary(image: np.ndarray) -> dict[str, float]:
    """What tells sunny images from shady ones, as numbers.

    Args:
        image: shape (height, width, red green blue), uint8.

    Returns:
        For red, green, blue, hue, saturation and brightness: the value of the highest peak, 0 to 255, and its share;
        separation, the distance between the peaks of red and blue, with its sign; overlap, the share that the
        histograms of red, green and blue have in common, in [0, 1]; mean_brightness and mean_saturation, 0 to 255.
    """
    table = histograms(image)
    summary: dict[str, float] = {}
    for name in (*RGB, *HSV):
        found = peaks(table[name].to_numpy(), around=name == "hue")
        summary[f"{name}_peak"], summary[f"{name}_share"] = found[0] if found else (0, 0.0)
    summary["separation"] = summary["blue_peak"] - summary["red_peak"]
    summary["overlap"] = float(table[list(RGB)].min(axis=1).sum())
    values = np.arange(256)
    summary["mean_brightness"] = float((table["brightness"] * values).sum())
    summary["mean_saturation"] = float((table["saturation"] * values).sum())
    return summary


def colour_table(images: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """`colour_summary` of several images: a row for each, with its name in the column image."""
    return pd.DataFrame([{"image": name, **colour_summary(image)} for name, image in images])


def _planes(image: np.ndarray) -> dict[str, np.ndarray]:
    import cv2

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"Expected an image of uint8 and shape (height, width, 3); received {image.dtype}, shape {image.shape}."
        )
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV_FULL)
    planes = {name: image[..., place].ravel() for place, name in enumerate(RGB)}
    planes |= {name: hsv[..., place].ravel() for place, name in enumerate(HSV)}
    planes["hue"] = planes["hue"][planes["saturation"] > 0]
    return planes
