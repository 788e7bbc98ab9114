"""Scores of exported files: the model's metrics, or the user's function, computed from the outputs of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from shrinknet.compression.data import Samples
from shrinknet.exporters.base import ArrayList
from shrinknet.internals import output_structure
from shrinknet.loop.scoring import Score, Scorer, make_scorer


class Answers:
    """An exported file that can be called like its model: `file(x)` and `file.predict(x)` return arrays.

    Args:
        model: the Keras model; run: maps a list with one array for each input to one for each output.
    """

    def __init__(self, model: Any, run: Callable[[ArrayList], ArrayList]) -> None:
        self.run = run
        self.structure = output_structure(model)

    def __call__(self, x: Any, **_: Any) -> Any:
        arrays = [np.asarray(array, "float32") for array in keras.tree.flatten(x)]
        return keras.tree.pack_sequence_as(self.structure, self.run(arrays))

    predict = __call__


def results(model: Any, answers: ArrayList, samples: Samples) -> dict[str, float]:
    """The compiled metrics and the loss of outputs for samples, by name; resets the model's metrics."""
    structure = output_structure(model)
    y_pred = keras.tree.pack_sequence_as(structure, [keras.ops.convert_to_tensor(array) for array in answers])
    y = keras.tree.pack_sequence_as(structure, samples.y)
    model.reset_metrics()
    found = dict(model.compute_metrics(None, y, y_pred, samples.weights))
    found["loss"] = model.compute_loss(None, y, y_pred, samples.weights, training=False)
    model.reset_metrics()
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in found.items()}


def make_score(
    score: Score, model: Any, samples: Samples, answers: ArrayList
) -> Callable[[ArrayList, Callable[[ArrayList], ArrayList]], float]:
    """A function that scores a file, given its outputs for the samples and the file itself.

    Args:
        score: as in `minimize`: name of a compiled metric, "loss", a function of the model, or None.
        answers: the model's own outputs, from which the names of the scores are known.

    Raises:
        ScoreError: there is no such score.
    """
    scorer: Scorer
    if callable(score):
        scorer = Scorer(getattr(score, "__name__", "score"), True, score)
    else:
        scorer = make_scorer(score, "max", model, results(model, answers, samples))  # any direction will do
    return lambda given, run: scorer(Answers(model, run), lambda: results(model, given, samples))
