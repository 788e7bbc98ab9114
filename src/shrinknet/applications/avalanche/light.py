"""Sunny or shady: tells the two apart by the histograms of an image, as the report proposes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.layout import LIGHTS
from shrinknet.errors import DataError
from shrinknet.extras import require_extra
from shrinknet.imaging.colour_statistics import colour_summary, colour_table

FEATURES = ("red_peak", "green_peak", "blue_peak", "hue_peak", "saturation_peak", "separation", "overlap",
            "mean_brightness", "mean_saturation")  # fmt: skip
SHOWN = 4  # images of each kind in the report


@dataclass(frozen=True)
class LightClassifier:
    """Tells sunny images from shady ones.

    Attributes:
        model: a scikit-learn pipeline, standardization and logistic regression, on `FEATURES`.
    """

    model: Any

    def probability(self, image: np.ndarray) -> float:
        """Of being sunny, in [0, 1].

        Args:
            image: shape (height, width, red green blue), uint8.
        """
        summary = colour_summary(image)
        return float(self.model.predict_proba([[summary[name] for name in FEATURES]])[0, 1])

    def __call__(self, image: np.ndarray) -> str:
        """The kind of an image: "sunny" or "shady"."""
        return LIGHTS[0] if self.probability(image) >= 0.5 else LIGHTS[1]

    def weights(self) -> pd.DataFrame:
        """What it looks at: feature and weight, of standardized features; above 0 speaks for the sun."""
        table = pd.DataFrame({"feature": FEATURES, "weight": self.model[-1].coef_[0]})
        return table.sort_values("weight", key=np.abs, ascending=False, ignore_index=True)


def light_classifier(images: Sequence[np.ndarray], lights: Sequence[str]) -> LightClassifier:
    """Learns from labelled images.

    Args:
        images: shape (height, width, red green blue) each, uint8.
        lights: "sunny" or "shady" for each; both kinds occur.

    Raises:
        DataError: the labels are others, or of one kind only.
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("avalanche", "sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(images) != len(lights) or set(lights) != set(LIGHTS):
        raise DataError(
            f"Expected a label for each image, and images of both kinds, {' and '.join(LIGHTS)}; received "
            f"{len(images)} images and the labels {sorted(set(lights))}."
        )
    table = colour_table([("", image) for image in images])
    sunny = np.array([light == LIGHTS[0] for light in lights])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return LightClassifier(model.fit(table[list(FEATURES)].to_numpy(), sunny))


def light_scores(
    classifier: LightClassifier, images: Sequence[np.ndarray], lights: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """What a classifier says of images: image, light, found, sunny (its probability) and right."""
    rows = []
    for image, light, name in zip(images, lights, names, strict=True):
        probability = classifier.probability(image)
        found = LIGHTS[0] if probability >= 0.5 else LIGHTS[1]
        rows.append((name, light, found, probability, found == light))
    return pd.DataFrame(rows, columns=["image", "light", "found", "sunny", "right"])


def shown(slopes: Slopes, count: int = SHOWN) -> Mapping[str, tuple[str, ...]]:
    """The first `count` images of each kind, as the report shows four of each.

    Raises:
        DataError: `light.csv` does not name images of both kinds.
    """
    chosen = {
        light: tuple(name for name in slopes.names if slopes.light.get(name) == light)[:count] for light in LIGHTS
    }
    if not all(chosen.values()):
        raise DataError(
            f"Expected images of both kinds, {' and '.join(LIGHTS)}, in light.csv in {str(slopes.folder)!r}: give it a "
            "line for each image, with the columns image and light."
        )
    return chosen
