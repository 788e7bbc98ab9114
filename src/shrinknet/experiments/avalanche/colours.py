"""What colour tells: histograms of sunny and shady photographs, a classifier of them, and components of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.components import components_for, explained_variance
from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.layout import LIGHTS
from shrinknet.applications.avalanche.light import light_classifier, light_scores, shown
from shrinknet.applications.avalanche.published import COMPONENTS, VARIANCE
from shrinknet.applications.avalanche.sampling import window_sample
from shrinknet.experiments.avalanche.settings import Avalanche
from shrinknet.experiments.avalanche.training import Parts
from shrinknet.imaging.colour_statistics import colour_summary, histograms

CHANNELS = ("red", "green", "blue", "hue", "saturation", "brightness")
WINDOWS = ((17, 17, 1), (17, 17, 3), (33, 33, 3))


def lights(slopes: Slopes) -> list[dict[str, Any]]:
    """The peaks of every photograph whose light is known."""
    rows = []
    for name in slopes.names:
        if name in slopes.light:
            summary = colour_summary(slopes.image(name))
            rows.append({"image": name, "light": slopes.light[name], **summary})
    return rows


def figure_10(slopes: Slopes) -> list[dict[str, Any]]:
    """The histograms of four sunny and four shady photographs; nothing where the light is not known of both kinds."""
    if set(LIGHTS) - set(slopes.light.values()):
        return []
    rows = []
    for light, names in shown(slopes).items():
        for name in names:
            table = histograms(slopes.image(name))
            rows += [{"image": name, "light": light, "channel": channel, "value": int(value), "share": float(share)}
                     for channel in CHANNELS
                     for value, share in zip(table["value"], table[channel], strict=True) if share > 0]  # fmt: skip
    return rows


def sunny_or_shady(slopes: Slopes, parts: Parts) -> list[dict[str, Any]]:
    """What a classifier that learnt from the other photographs says of the test photographs."""
    known = [name for part in ("train", "validation") for name in parts[part] if name in slopes.light]
    tested = [name for name in parts["test"] if name in slopes.light]

    def labels(names: Sequence[str]) -> list[str]:
        return [slopes.light[name] for name in names]

    if len(set(labels(known))) < 2 or not tested:
        return []
    classifier = light_classifier([slopes.image(name) for name in known], labels(known))
    scores = light_scores(classifier, [slopes.image(name) for name in tested], labels(tested), tested)
    found: list[dict[str, Any]] = scores.to_dict("records")  # type: ignore[assignment, unused-ignore]
    return found


def principal_components(settings: Avalanche, slopes: Slopes, parts: Parts, seed: int) -> list[dict[str, Any]]:
    """How much of the variance the first components of windows explain, plain and standardized."""
    rows = []
    each = max(2, settings.components // len(parts["train"]))
    for shape in WINDOWS:
        windows, _ = window_sample(slopes, parts["train"], shape, each, balanced=False, seed=seed)
        for standardized in (False, True):
            curve = explained_variance(windows, standardized=standardized)
            enough = components_for(curve, VARIANCE)
            rows.append({
                "window": str(shape), "standardized": standardized, "windows": len(windows),
                "of nine": float(curve["cumulative"].iloc[min(COMPONENTS, len(curve)) - 1]),
                "for 99 %": len(curve) if enough is None else enough,
                "curve": [round(float(value), 5) for value in curve["cumulative"].iloc[: 4 * COMPONENTS]],
            })  # fmt: skip
    return rows


def published_peaks(rows: Sequence[dict[str, Any]], light: str, low: int, high: int) -> float:
    """The share of photographs of one light whose red, green and blue peak lies in the report's range, on average."""
    found = [low <= row[f"{channel}_peak"] <= high for row in rows if row["light"] == light
             for channel in CHANNELS[:3]]  # fmt: skip
    return float(np.mean(found)) if found else float("nan")
