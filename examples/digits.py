"""Removes 40 % or more of the parameters of a three-layer digit classifier: `python examples/digits.py`.

The data are the 1,797 digits of 8x8 pixels that ship with scikit-learn. The network, its loss and its optimizer are
the user's; shrinknet only sees a compiled Keras model and arrays.
"""

from __future__ import annotations

import json

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from shrinknet import minimize


def data(seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training, validation and test digits: images (samples, 8, 8, 1) in [0, 1], and classes."""
    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, classes, test_size=0.2, stratify=classes, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
    return [(x, y), (x_val, y_val), (x_test, y_test)]


def classifier(seed: int = 0) -> keras.Model:
    """Two convolutions and a dense layer, compiled as usual."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(seed: int = 0) -> dict[str, float]:
    """Trains, minimizes, and compares on the test digits."""
    train, validation, test = data(seed)
    result = minimize(
        classifier(seed),
        train,
        validation,
        test_data=test,
        strategy="norm-l1",
        pace="adaptive",
        threshold=0.99,
        reference="baseline",
        warmup_steps=600,
        steps=100,
        max_trials=25,
        seed=seed,
        control=True,
    )
    print(result.summary)
    before, after = result.summary.before, result.summary.after
    return {
        "parameters_before": before.parameters,
        "parameters_after": after.parameters,
        "accuracy_before": before.score or 0.0,
        "accuracy_after": after.score or 0.0,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
