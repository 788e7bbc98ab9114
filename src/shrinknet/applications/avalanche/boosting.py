"""Boosted trees as a head: on a network's output for a window, as in the report, or on its features."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from shrinknet.applications.avalanche.prediction import Predictor, predict_logits, predictor
from shrinknet.errors import DataError, OptionError
from shrinknet.extras import require_extra
from shrinknet.imaging.tiles import Box, Progress, checked_box

INPUTS = ("predictions", "features")
METHODS = ("scikit-learn", "xgboost")
SMALL = 10_000_000  # numbers that the trees are fitted to by one thread
PIXELS = 65_536  # that the trees are asked about at a time


@dataclass(frozen=True)
class BoostedHead:
    """A network with boosted trees on top.

    Attributes:
        network: from windows to what the trees see: the logit, or the features before it.
        trees: a scikit-learn or XGBoost classifier.
    """

    network: Any
    trees: Any

    @functools.cached_property
    def _ready(self) -> Predictor:
        """The network, ready for whole images; making it takes longer than one image."""
        return predictor(self.network)

    def probability(self, windows: np.ndarray) -> np.ndarray:
        """Of avalanche, shape (windows, 1), float32 in [0, 1].

        Args:
            windows: shape (windows, height, width, channels), in [0, 1].
        """
        seen = np.asarray(self.network.predict(windows, verbose=0)).reshape(len(windows), -1)
        return np.asarray(self.trees.predict_proba(seen)[:, 1:], np.float32)

    def image(
        self, image: np.ndarray, box: Box | None = None, *, tile: int = 256, progress: Progress | None = None
    ) -> np.ndarray:
        """Of avalanche for every pixel, shape (height, width), float32; arguments as of `predict_image`.

        What the trees see is computed for the whole image, or box: with features it takes their number times 4 bytes a
        pixel.
        """
        seen = predict_logits(self._ready, image, box, tile=tile, progress=progress)
        left, top, right, bottom = checked_box(box, seen.shape[:2])
        probability = np.zeros(seen.shape[:2], np.float32)
        step = max(1, PIXELS // (right - left))
        for row in range(top, bottom, step):  # the trees turn float32 into wider numbers: some rows at a time
            rows = slice(row, min(row + step, bottom))
            flat = seen[rows, left:right].reshape(-1, seen.shape[2])
            probability[rows, left:right] = self.trees.predict_proba(flat)[:, 1].reshape(-1, right - left)
        return probability


def boosted_head(
    classifier: Any,
    windows: np.ndarray,
    labels: np.ndarray,
    *,
    on: str = "predictions",
    method: str = "scikit-learn",
    iterations: int = 100,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> BoostedHead:
    """Fits boosted trees to a trained classifier's answers.

    Args:
        classifier: of `window_classifier`, trained.
        windows: shape (windows, height, width, channels), in [0, 1]; preferably not its training windows.
        labels: shape (windows,) or (windows, 1), 0 or 1; both occur.
        on: "predictions": its logit, which is all that the report gives to XGBoost; trees can then only bend its
            probabilities. "features": what its last layer reads.
        method: "scikit-learn", its histogram gradient boosting, or "xgboost".
        iterations: trees, from 1; learning_rate: of the boosting, above 0.
        seed: of the trees.

    Raises:
        DataError: the labels do not fit, or are all the same.
        OptionError: an option is outside of its range.
        MissingExtraError: the package is not installed.
    """
    if on not in INPUTS or method not in METHODS or iterations < 1 or learning_rate <= 0:
        raise OptionError(
            f"Expected `on` out of {', '.join(INPUTS)}, a method out of {', '.join(METHODS)}, at least 1 iteration and "
            f"a learning rate above 0; received {on!r}, {method!r}, {iterations} and {learning_rate}."
        )
    truth = np.asarray(labels).reshape(-1) > 0.5
    if len(truth) != len(windows) or truth.all() or not truth.any():
        raise DataError(
            f"Expected a label for each window, and both kinds; received {len(windows)} windows and {len(truth)} "
            f"labels, {int(truth.sum())} of them marked."
        )
    network = keras.Model(classifier.input, classifier.output) if on == "predictions" else features_of(classifier)
    trees = _trees(method, iterations, learning_rate, seed)
    seen = np.asarray(network.predict(windows, verbose=0)).reshape(len(windows), -1)
    # threads synchronize thousands of times, which takes minutes on a busy machine
    with threadpool_limits(1 if seen.size < SMALL else None, user_api="openmp"):
        return BoostedHead(network, trees.fit(seen, truth.astype(int)))


def features_of(classifier: Any) -> Any:
    """The classifier without its last layer: a model from windows to features, shape (windows, features)."""
    return keras.Model(classifier.input, classifier.layers[-1].input, name=f"{classifier.name}_features")


def _trees(method: str, iterations: int, learning_rate: float, seed: int) -> Any:
    if method == "xgboost":
        require_extra("xgboost", "xgboost")
        from xgboost import XGBClassifier  # type: ignore[import-not-found, unused-ignore]

        return XGBClassifier(n_estimators=iterations, learning_rate=learning_rate, random_state=seed)
    require_extra("avalanche", "sklearn")
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=iterations, learning_rate=learning_rate, random_state=seed)
