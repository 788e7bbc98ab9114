"""Trains window classifiers, and scores them on whole images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.avalanche.feeds import WindowFeed, window_dataset
from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.prediction import TILE, predict_image, predictor
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.boundary_scores import outline_scores
from shrinknet.imaging.colour_files import as_numbers
from shrinknet.imaging.pyramids import enlarged, reduced

GRID = tuple(round(0.05 * step, 2) for step in range(4, 20))  # thresholds, 0.2 to 0.95


@dataclass(frozen=True)
class Training:
    """A training that is done.

    Attributes:
        history: a row for each epoch: epoch, loss, accuracy, val_loss, val_accuracy.
        seconds: what it took, validation included.
    """

    history: pd.DataFrame
    seconds: float


def train_classifier(
    model: Any,
    feed: WindowFeed,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    epochs: int = 5,
    falling: bool = True,
    distributed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Trains a classifier on a feed of windows.

    Args:
        model: of `window_classifier`, compiled; with its `strategy` where several devices are used.
        feed: windows for training.
        validation: windows and labels, see `window_sample`; None: none.
        epochs: from 1; the report takes 5.
        falling: whether the learning rate falls linearly to a tenth from epoch to epoch; False: it stays, as in the
            report, and the last epoch's weights are as noisy as any.
        distributed: hand the windows over as a tf.data.Dataset, which `tf.distribute` divides among its devices.
        progress: called with epochs done and epochs in all.

    Raises:
        OptionError: `epochs` is below 1.
    """
    import keras

    if epochs < 1:
        raise OptionError(f"Expected at least 1 epoch; received {epochs}.")
    hear = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress(epoch + 1, epochs) if progress is not None else None
    )
    begun = time.perf_counter()
    start = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    rates = [start * (1 - 0.9 * (epoch / max(epochs - 1, 1) if falling else 0)) for epoch in range(epochs)]
    rate = keras.callbacks.LearningRateScheduler(lambda epoch, _: rates[epoch])
    options = {"validation_data": validation, "epochs": epochs, "verbose": 0, "callbacks": [hear, rate]}
    if distributed:
        done = model.fit(window_dataset(feed, epochs), steps_per_epoch=feed.num_batches, **options)
    else:
        done = model.fit(feed, shuffle=False, **options)  # the feed has an order of its own, block by block
    history = pd.DataFrame(done.history)
    history.insert(0, "epoch", range(1, len(history) + 1))
    return Training(history, time.perf_counter() - begun)


def predicted(model: Any, image: np.ndarray, *, levels: int = 0, method: str = "auto", tile: int = TILE) -> np.ndarray:
    """The probability of avalanche for every pixel, by a network that was trained on a level of the Gaussian pyramid.

    Args:
        model, method, tile: see `predict_image`.
        image: shape (height, width, channels), uint8.
        levels: how often images were halved for the training; the answer is enlarged again.
    """
    if not levels:
        return predict_image(model, image, method=method, tile=tile)
    small = predict_image(model, reduced(as_numbers(image), levels).clip(0, 1), method=method, tile=tile)
    return enlarged(small, image.shape[:2])


def image_scores(
    model: Any,
    slopes: Slopes,
    names: Sequence[str],
    *,
    channels: int = 3,
    threshold: float = 0.5,
    levels: int = 0,
    tolerance: float = 2.0,
    clean: Callable[[np.ndarray], np.ndarray] | None = None,
) -> pd.DataFrame:
    """Accuracy, IoU, F1 and boundary F1 of whole images, a row for each; see `imaging.boundary_scores`.

    Args:
        model: see `predict_image`; slopes: of `read`; names: of images.
        channels: that images are read with.
        threshold: a pixel of at least this probability is marked, in (0, 1).
        levels: of the Gaussian pyramid.
        tolerance: pixels that a boundary may be off.
        clean: what is done to a mask before it is scored, such as `imaging.cleaning.cleaned`; None: nothing.

    Raises:
        OptionError: the threshold is outside of its range; DataError: an image cannot be used.
    """
    if not 0 < threshold < 1:
        raise OptionError(f"Expected a threshold between 0 and 1; received {threshold}.")
    ready = predictor(model)
    found, wanted = [], []
    for name in names:
        mask = (predicted(ready, slopes.image(name, channels), levels=levels) >= threshold).astype(np.uint8)
        found.append(clean(mask) if clean is not None else mask)
        wanted.append(slopes.mask(name))
    return outline_scores(found, wanted, names, tolerance)


def best_threshold(
    probability: Callable[[str], np.ndarray],
    slopes: Slopes,
    names: Sequence[str],
    thresholds: Sequence[float] = GRID,
    *,
    clean: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float:
    """The threshold with the highest mean IoU over images; take images that neither trained nor test the network.

    Half of the training windows are marked, but only a small part of an image is, so that 0.5 marks too much.

    Args:
        probability: the prediction for an image by its name, shape (height, width).
        slopes: of `read`; names: of images.
        thresholds: to choose from, in (0, 1).
        clean: what is done to a mask before it is compared, see `image_scores`; None: nothing.

    Raises:
        DataError: there are no images.
    """
    if not len(names):
        raise DataError("Expected images to choose the threshold by; received none.")
    scores = np.zeros((len(names), len(thresholds)))
    for row, name in enumerate(names):
        found, wanted = probability(name), slopes.mask(name) > 0
        for column, threshold in enumerate(thresholds):
            marked = found >= threshold
            marked = clean(marked) > 0 if clean is not None else marked
            union = np.count_nonzero(marked | wanted)
            scores[row, column] = np.count_nonzero(marked & wanted) / union if union else 1
    return float(thresholds[int(np.argmax(scores.mean(0)))])
