"""The report's two-step classifier: whether a plate has a defect and, if so, of which class."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers

from shrinknet.applications.steel.class_metrics import BatchwiseF1, BatchwisePrecision, BatchwiseRecall, WholeF1
from shrinknet.applications.steel.contrast import local_contrast
from shrinknet.applications.steel.layout import CLASSES
from shrinknet.applications.steel.streams import Augmentation, plate_batches
from shrinknet.applications.steel.table import Plates
from shrinknet.errors import DataError, OptionError

STEPS = ("binary", "multiclass")
ACTIVATIONS = ("sigmoid", "softmax")
POOLINGS = ("max", "average")


@dataclass(frozen=True)
class TwoSteps:
    """The two models, compiled.

    Attributes:
        binary: plates to the probability of a defect, shape (images, 1).
        multiclass: plates with a defect to one output for each class, shape (images, 4).
        threshold: probability from which on a plate has a defect, in (0, 1).
    """

    binary: Any
    multiclass: Any
    threshold: float = 0.5

    def classify(self, images: np.ndarray) -> np.ndarray:
        """0 for a clean plate, else its class, shape (images,), int64: what the second says where the first finds one.

        A batch goes through the second model whole, so that it has one size and is compiled once; not at all where the
        first finds nothing.

        Args:
            images: shape (images, height, width, channels), values in [0, 1].
        """
        answers = np.zeros(len(images), np.int64)
        defect = np.asarray(self.binary.predict_on_batch(images)).ravel() > self.threshold
        if defect.any():
            outputs = np.asarray(self.multiclass.predict_on_batch(images))
            answers[defect] = np.array(CLASSES)[outputs.argmax(1)][defect]
        return answers

    def classify_batches(self, batches: Any) -> np.ndarray:
        """As `classify`, for a dataset of (images, anything)."""
        found = [self.classify(np.asarray(images)) for images, _ in batches]
        return np.concatenate(found) if found else np.zeros(0, np.int64)


def two_step_classifier(
    shape: tuple[int, int, int] = (256, 512, 3),
    *,
    widths: Sequence[int] = (8, 16, 32, 64, 64),
    dropout: float = 0.1,
    activation: str = "sigmoid",
    pooling: str = "max",
    normalization: bool = True,
    learning_rate: float = 1e-3,
    seed: int | None = None,
) -> TwoSteps:
    """Both classifiers, compiled and untrained.

    Each takes the local mean away, see `contrast`. Then comes the way down of a U-Net: two convolutions of 3x3, maximum
    pooling and dropout a level, as the report describes it ("many convolutional layers, max pooling layers and
    dropouts"); then pooling over the plate and a dense layer. The first has one sigmoid and binary cross-entropy, the
    second one output for each class and categorical cross-entropy, both Adam.

    With the report's four sigmoids, Keras on TensorFlow does not compute the loss from the sigmoids: it finds their
    logits and takes the softmax of those. Both choices of `activation` therefore train to the same weights and rank the
    classes alike; they differ in which outputs exceed 0.5, and so in precision, recall and F1.

    Args:
        shape: height, width and channels of the plates; the report's are (256, 512, 3).
        widths: filters of each level.
        dropout: share dropped after each level, in [0, 1).
        activation: of the second model, "sigmoid" or "softmax".
        pooling: over the plate, "max" or "average"; a few specks on a large plate hardly move an average.
        normalization: batch normalization after each convolution; the report does not say.
        learning_rate: of Adam, above 0; the report keeps Keras's default, 1e-3.
        seed: of kernels and dropout; None: different every time.

    Raises:
        OptionError: an option is outside of its range.
    """
    if not widths or min(widths) < 1 or not 0 <= dropout < 1 or learning_rate <= 0:
        raise OptionError(
            "A classifier expects widths of at least 1, a dropout in [0, 1) and a learning rate above 0; received "
            f"widths {tuple(widths)}, dropout {dropout} and {learning_rate}."
        )
    for value, known in ((activation, ACTIVATIONS), (pooling, POOLINGS)):
        if value not in known:
            raise OptionError(f"Expected one of {', '.join(known)}; received {value!r}.")
    models = {}
    for step, outputs, last in (("binary", 1, "sigmoid"), ("multiclass", len(CLASSES), activation)):
        inputs, features, seeds = _encoder(shape, widths, dropout, pooling, normalization, _seeds(seed, step))
        # outputs begin near one half: a maximum over the plate is large, and a sigmoid that starts at 0 or 1 stays so
        kernel = keras.initializers.RandomNormal(stddev=0.01, seed=next(seeds))
        answer = layers.Dense(outputs, activation=last, kernel_initializer=kernel, name="answer")(features)
        models[step] = keras.Model(inputs, answer, name=step)
    models["binary"].compile(
        keras.optimizers.Adam(learning_rate), keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy("accuracy"), *_metrics()],
    )  # fmt: skip
    models["multiclass"].compile(
        keras.optimizers.Adam(learning_rate), keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy"), *_metrics()],
    )  # fmt: skip
    return TwoSteps(models["binary"], models["multiclass"])


def step_batches(
    plates: Plates,
    sample: pd.DataFrame,
    step: str,
    part: str,
    *,
    size: tuple[int, int] = (256, 512),
    channels: int = 3,
    batch: int = 16,
    augment: Augmentation | None = None,
    seed: int = 0,
    memory: int = 0,
) -> Any:
    """The plates of one part for one of the two steps, as a tf.data.Dataset of (images, labels).

    Args:
        plates: of `read`; sample: of `balanced_sample`.
        step: "binary", labels of shape (images, 1); "multiclass", plates with a defect, labels of shape (images, 4).
        part: "train", in another order each pass; "validation" or "test", in the sample's order.
        size, channels, batch, seed, memory: see `plate_batches`.
        augment: for the training part; None: nothing.

    Raises:
        OptionError: there is no such step.
        DataError: the part has no plates.
    """
    names, labels = step_labels(sample, step, part)
    training = part == "train"
    return plate_batches(
        plates, names, labels, size=size, channels=channels, batch=batch, shuffle=training,
        augment=augment if training else None, seed=seed, memory=memory,
    )  # fmt: skip


def step_labels(sample: pd.DataFrame, step: str, part: str) -> tuple[list[str], np.ndarray]:
    """Names and labels of one part for one step, in the sample's order; labels as in `step_batches`.

    Raises:
        OptionError: there is no such step.
        DataError: the part has no plates.
    """
    if step not in STEPS:
        raise OptionError(f"Expected a step of {', '.join(STEPS)}; received {step!r}.")
    rows = sample[sample["part"] == part]
    if step == "multiclass":
        rows = rows[rows["ClassId"] > 0]
    if rows.empty:
        raise DataError(f"The sample has no plates for the part {part!r} of the step {step}.")
    numbers = rows["ClassId"].to_numpy()
    if step == "binary":
        return list(rows["ImageId"]), (numbers > 0).astype(np.float32)[:, None]
    return list(rows["ImageId"]), (numbers[:, None] == np.array(CLASSES)).astype(np.float32)


def fit_classifier(
    model: Any,
    train: Any,
    validation: Any,
    epochs: int,
    *,
    tell: Callable[[int, Mapping[str, float]], None] | None = None,
) -> dict[str, list[float]]:
    """Trains one of the two models; its history in plain JSON types: measure -> a number for each epoch.

    Args:
        model: of `two_step_classifier`.
        train, validation: of `step_batches`.
        epochs: passes over the training part; the report makes 30.
        tell: called after each epoch with its number, from 1, and its measures.
    """
    callbacks = []
    if tell is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: tell(epoch + 1, dict(logs))))
    # the dataset shuffles itself
    history = model.fit(
        train, validation_data=validation, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks
    ).history
    return {name: [float(value) for value in values] for name, values in history.items()}


def _encoder(
    shape: tuple[int, int, int],
    widths: Sequence[int],
    dropout: float,
    pooling: str,
    normalization: bool,
    seeds: Any,
) -> tuple[Any, Any, Any]:
    """Input, features of shape (images, last width), and the seeds that are left."""
    if min(shape[:2]) < 2 ** len(widths):
        raise OptionError(
            f"A classifier of {len(widths)} levels halves a plate as often: expected at least {2 ** len(widths)} "
            f"pixels of height and width; received {shape[0]} x {shape[1]}."
        )
    inputs = keras.Input(shape, name="plate")
    x = local_contrast(inputs)
    for level, width in enumerate(widths, 1):
        for number in (1, 2):
            name = f"level{level}_conv{number}"
            x = layers.Conv2D(width, 3, padding="same", use_bias=not normalization, name=name,
                              kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)))(x)  # fmt: skip
            if normalization:
                x = layers.BatchNormalization(momentum=0.9, name=f"level{level}_norm{number}")(x)
            x = layers.ReLU(name=f"level{level}_relu{number}")(x)
        x = layers.MaxPooling2D(name=f"level{level}_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, seed=next(seeds), name=f"level{level}_dropout")(x)
    whole = layers.GlobalMaxPooling2D if pooling == "max" else layers.GlobalAveragePooling2D
    return inputs, whole(name="over_the_plate")(x), seeds


def _metrics() -> list[Any]:
    return [
        WholeF1(), keras.metrics.Precision(name="precision"), keras.metrics.Recall(name="recall"),
        BatchwiseF1(), BatchwisePrecision(), BatchwiseRecall(),
    ]  # fmt: skip


def _seeds(seed: int | None, step: str) -> Any:
    """Seeds without end: the two models start from different ones."""
    return itertools.repeat(None) if seed is None else itertools.count(1_000 * (2 * seed + STEPS.index(step)))
