"""A tiny classifier, its data and a run of a few steps, shared by the tests of the loop and of run folders."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from shrinknet import minimize

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(48, 8, 8, 1)).astype("float32")
Y = (X.mean((1, 2)) > 0).astype("float32")
DATA = (X, Y)


def classifier(seed: int = 0, metrics: Any = ("accuracy",), **settings: Any) -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv1"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv2"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2, seed=seed),
            keras.layers.Dense(1, activation="sigmoid", name="out"),
        ],
        name="small",
    )
    settings = {"optimizer": keras.optimizers.Adam(0.01), "loss": "binary_crossentropy", **settings}
    model.compile(metrics=list(metrics), **settings)
    return model


def run(model: Any = None, **options: Any) -> Any:
    options = {"preset": "thesis", "warmup_steps": 20, "steps": 5, "seed": 1, "batch_size": 16, "verbose": 0, **options}
    return minimize(model or classifier(), DATA, DATA, **options)
