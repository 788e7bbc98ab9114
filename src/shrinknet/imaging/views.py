"""Test-time augmentation: several views of an image are shown to the network, and its answers are averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shrinknet.errors import OptionError

FLIPS: dict[str, tuple[int, ...]] = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (1, 2)}


def flipped_average(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    flips: Sequence[str] = ("none", "horizontal", "vertical", "both"),
) -> np.ndarray:
    """The mean of a network's answers to flipped images; each answer is flipped back first.

    An answer without height and width, such as the probabilities of a classifier, is averaged as it is.

    Args:
        predict: images to answers, shape (images, height, width, channels) or (images, ...).
        images: shape (images, height, width, channels).
        flips: some of "none", "horizontal", "vertical" and "both"; one at least. Each costs one run of the network.

    Raises:
        OptionError: there is no such flip, or none is asked for.
    """
    unknown = [name for name in flips if name not in FLIPS]
    if unknown or not flips:
        raise OptionError(f"Expected flips out of {', '.join(FLIPS)}, one at least; received {list(flips)}.")
    answers = []
    for name in flips:
        answer = np.asarray(predict(np.flip(images, FLIPS[name])))
        answers.append(np.flip(answer, FLIPS[name]) if answer.ndim == 4 else answer)
    return np.asarray(np.mean(answers, axis=0, dtype=np.float64), np.float32)
