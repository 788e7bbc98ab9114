"""The avalanche task: a window classifier, windows of slopes to train and judge it, and overlays for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.classifier import window_classifier
from shrinknet.applications.avalanche.feeds import Augmentation, WindowFeed
from shrinknet.applications.avalanche.folder import Slopes, check
from shrinknet.applications.avalanche.layout import COLOUR
from shrinknet.applications.avalanche.prediction import predictor
from shrinknet.applications.avalanche.sampling import split_images, window_sample
from shrinknet.applications.avalanche.training import best_threshold, predicted
from shrinknet.applications.avalanche.window_metrics import BestIoU
from shrinknet.applications.task import Samples, Task
from shrinknet.errors import DataError
from shrinknet.imaging.cleaning import cleaned
from shrinknet.imaging.overlays import overlay

BATCH_SIZE = 64
SHOWN = 4  # photographs on the page
LARGEST = 512  # pixels of the longer side of a photograph on the page


@dataclass(frozen=True)
class Windowing:
    """How windows are drawn from slopes.

    Attributes:
        shape: height, width and channels of a window.
        each: training windows of each photograph in an epoch, half of them marked; every epoch draws new ones.
        judged: windows of each validation and test photograph, drawn uniformly.
        levels: of the Gaussian pyramid; see `imaging.pyramids`.
    """

    shape: tuple[int, int, int] = (33, 33, 3)
    each: int = 256
    judged: int = 512
    levels: int = 0


def avalanche_task(slopes: Slopes, windowing: Windowing | None = None, *, seed: int = 0, **options: Any) -> Task:
    """An untrained window classifier with its data: photographs are divided, never windows.

    Args:
        slopes: of `read`; a photograph for each part at least.
        windowing: shape and number of the windows; None: the defaults.
        seed: of the kernels, of the division, and of the windows.
        options: of `window_classifier`.

    Raises:
        DataError: an image or mask cannot be used, or the slopes show no avalanche.
        OptionError, ModelError: see `window_classifier`.
    """
    how = windowing or Windowing()
    model = window_classifier(how.shape, seed=seed, **options)
    model.compile(model.optimizer, model.loss, metrics=[BestIoU(), *_metrics(model)])
    parts = split_images(slopes, seed=seed)
    _check_masks(slopes, parts)
    train = WindowFeed(slopes, parts["train"], how.shape, each=how.each, batch=BATCH_SIZE, augment=Augmentation(),
                       levels=how.levels, seed=seed)  # fmt: skip
    judged = {
        part: window_sample(slopes, parts[part], how.shape, how.judged, balanced=False, levels=how.levels, seed=seed)
        for part in ("validation", "test")
    }
    return Task(
        name="avalanche",
        model=model,
        train=train,
        validation=judged["validation"],
        test=judged["test"],
        samples=_samples(slopes, parts, how),
        batch_size=BATCH_SIZE,
        sample=judged["validation"][0][:4],
        facts={"slopes": {part: len(names) for part, names in parts.items()}},
    )


def threshold_of(model: Any, slopes: Slopes, names: Sequence[str], how: Windowing) -> float:
    """The threshold with the highest mean IoU over whole photographs; bodies that pad are approximated."""
    ready = predictor(model, "fast")
    return best_threshold(
        lambda name: predicted(ready, slopes.image(name, how.shape[2]), levels=how.levels), slopes, names
    )


def _metrics(model: Any) -> list[Any]:
    """The metrics that the classifier was compiled with, new ones."""
    import keras

    return [keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)]


def _check_masks(slopes: Slopes, parts: Mapping[str, Sequence[str]]) -> None:
    """Reads everything once, and refuses parts in which nothing is marked: no score could be taken of them."""
    found = check(slopes)
    for part, names in parts.items():
        if not any(found[name][0] for name in names):
            raise DataError(
                f"The masks of all {len(names)} {part} photographs in {str(slopes.folder)!r} are empty; expected an "
                "avalanche in one of them at least: add photographs with avalanches, or choose another --seed."
            )


def _samples(slopes: Slopes, parts: Mapping[str, Sequence[str]], how: Windowing) -> Samples:
    """Test photographs with their true outline, and how any model's outline is drawn on them."""
    names = tuple(parts["test"][:SHOWN])
    step = max(1, *(-(-max(slopes.mask(name).shape) // LARGEST) for name in names))

    def pictures(masks: Sequence[np.ndarray]) -> np.ndarray:
        drawn = [
            overlay(slopes.image(name), mask[..., None], [COLOUR]) for name, mask in zip(names, masks, strict=True)
        ]
        return _same_size([one[::step, ::step] for one in drawn])

    def shown(model: Any) -> np.ndarray:
        ready = predictor(model, "fast")
        limit = threshold_of(ready, slopes, parts["validation"], how)
        found = [predicted(ready, slopes.image(name, how.shape[2]), levels=how.levels) >= limit for name in names]
        return pictures([cleaned(mask.astype(np.uint8), largest=False) for mask in found])

    plain = _same_size([slopes.image(name)[::step, ::step] for name in names])
    return Samples(plain / np.float32(255), pictures([slopes.mask(name) for name in names]), names, shown)


def _same_size(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of several sizes in one array: the smaller ones get a black border at the right and the bottom."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    padded = [np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))) for image in images]
    return np.stack(padded)
