"""Minimizes a small ResNet, MobileNetV2, DenseNet and U-Net on real data: docs/architectures.md.

`python tools/architectures.py --write docs/architectures.md` runs every network with seeds 0, 1 and 2; runs that are
already recorded in `--out` are not repeated. The digits are the 1,797 of scikit-learn (8x8). The photographs are those
of scikit-image, cut into squares of 32x32 with Canny edges as targets and split at random.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from shrinknet import load_strategy, minimize
from shrinknet.applications.edges.photographs import photographs as scikit_image
from shrinknet.applications.edges.targets import Canny
from shrinknet.losses import SoftF1, SoftF1Loss

TILE = 32
Data = tuple[tuple[np.ndarray, np.ndarray], ...]


def digits(seed: int) -> Data:
    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    x, x_test, y, y_test = train_test_split(images, classes, test_size=0.25, stratify=classes, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.25, stratify=y, random_state=seed)
    return (x, y), (x_val, y_val), (x_test, y_test)


def photographs(seed: int) -> Data:
    pairs = [(image, Canny()(image)) for image in (photograph.read() for photograph in scikit_image())]
    tiles = np.stack(
        [np.stack(pair) for image, edges in pairs for pair in zip(tiled(image), tiled(edges), strict=True)]
    )
    tiles = np.random.default_rng(seed).permutation(tiles.astype("float32"))[..., None]
    parts = np.split(tiles, [3 * len(tiles) // 5, 4 * len(tiles) // 5])
    return tuple((part[:, 0], part[:, 1]) for part in parts)


def tiled(image: np.ndarray) -> np.ndarray:
    """Squares of `TILE` pixels that do not overlap, shape (tiles, height, width); the remainder is dropped."""
    rows, columns = (size // TILE for size in image.shape)
    squares = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    return squares.swapaxes(1, 2).reshape(-1, TILE, TILE)


def convolution(x: Any, filters: int, kernel: int = 3, **settings: Any) -> Any:
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, **settings)(x)
    return layers.BatchNormalization()(x)


def resnet() -> Any:
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(convolution(inputs, 16))
    for filters, strides in ((16, 1), (32, 2), (32, 1)):
        y = convolution(layers.ReLU()(convolution(x, filters, strides=strides)), filters)
        if strides > 1:
            x = convolution(x, filters, 1, strides=strides)
        x = layers.ReLU()(x + y)
    return inputs, layers.GlobalAveragePooling2D()(x)


def mobilenet() -> Any:
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU(6.0)(convolution(inputs, 16))
    for filters, strides in ((16, 1), (24, 2), (24, 1)):
        y = layers.ReLU(6.0)(convolution(x, 4 * x.shape[-1], 1))
        y = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)
        y = convolution(layers.ReLU(6.0)(layers.BatchNormalization()(y)), filters, 1)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return inputs, layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(convolution(x, 64, 1)))


def densenet() -> Any:
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(convolution(inputs, 16))
    for number in range(2):
        for _ in range(3):
            y = convolution(layers.ReLU()(layers.BatchNormalization()(x)), 32, 1)
            y = layers.Conv2D(12, 3, padding="same", use_bias=False)(layers.ReLU()(y))
            x = layers.Concatenate()([x, y])
        if number == 0:
            x = layers.AveragePooling2D(2)(layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False)(layers.ReLU()(x)))
    return inputs, layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))


def unet() -> Any:
    inputs = keras.Input((TILE, TILE, 1))
    top = layers.ReLU()(convolution(layers.ReLU()(convolution(inputs, 16)), 16))
    middle = layers.ReLU()(convolution(layers.MaxPooling2D()(top), 32))
    bottom = layers.ReLU()(convolution(layers.MaxPooling2D()(middle), 48))
    up = layers.Conv2DTranspose(32, 2, strides=2)(bottom)
    x = layers.ReLU()(convolution(layers.Concatenate()([up, middle]), 32))
    x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), top])
    return inputs, layers.ReLU()(convolution(x, 16))


@dataclass(frozen=True)
class Task:
    """A network, its data and the settings of `minimize`: training lengths in steps, and when the search stops."""

    network: Callable[[], Any]
    data: Callable[[int], Data]
    warmup_steps: int
    steps: int
    batch_size: int = 32
    rate: float = 1e-3
    threshold: float = 0.98
    target: float = 0.7
    max_trials: int = 25


TASKS = {
    "ResNet, digits": Task(resnet, digits, 1000, 250),
    "MobileNetV2, digits": Task(mobilenet, digits, 1000, 250),
    "DenseNet, digits": Task(densenet, digits, 1000, 400),
    "U-Net, photographs": Task(unet, photographs, 6000, 600, 8, 2e-3, 0.99, 0.77, 20),
}


def settling(rate: float, steps: int) -> Any:
    """A learning rate that falls to 0 over `steps` steps, so that the network has converged when it is scored."""
    return keras.optimizers.schedules.CosineDecay(rate, steps)


def model_of(name: str, seed: int) -> Any:
    task = TASKS[name]
    keras.utils.set_random_seed(seed)
    inputs, x = task.network()
    optimizer = keras.optimizers.Adam(settling(task.rate, task.warmup_steps))
    if name.startswith("U-Net"):
        model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))
        model.compile(optimizer, SoftF1Loss(), metrics=[SoftF1()])
    else:
        model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def measure(name: str, seed: int) -> dict[str, Any]:
    task = TASKS[name]
    train, validation, test = task.data(seed)
    began = time.perf_counter()
    result = minimize(
        model_of(name, seed),
        train,
        validation,
        test_data=test,
        strategy=load_strategy("norm-l1", relative=True, patience=10),
        pace="adaptive",
        threshold=task.threshold,
        reference="baseline",
        warmup_steps=task.warmup_steps,
        steps=task.steps,
        trial_optimizer=settling(task.rate, task.steps),
        batch_size=task.batch_size,
        target=task.target,
        max_trials=task.max_trials,
        control=True,
        seed=seed,
    )
    before, after = result.summary.before, result.summary.after
    return {
        "network": name,
        "seed": seed,
        "filters": [before.filters, after.filters],
        "parameters": [before.parameters, after.parameters],
        "multiply_adds": [before.multiply_adds, after.multiply_adds],
        "score": [before.score, after.score],
        "control": result.summary.control_score,
        "trials": len(result.records),
        "seconds": time.perf_counter() - began,
        "stopped": result.summary.stopped,
    }


def page(records: list[dict[str, Any]]) -> str:
    lines = [
        "# Four architectures on real data",
        "",
        "Small networks of each kind, minimized with `norm-l1` (relative to the layer's mean, patience 10) and",
        "adaptive pace; the reference is the score after the warm-up. In the warm-up and in each trial the",
        "learning rate falls to 0 along a cosine (`trial_optimizer=`), so that converged networks are compared.",
        "",
        "| network | warm-up steps | trial steps | threshold | stops at filters left | or after trials |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {name} | {task.warmup_steps:,} | {task.steps} | {task.threshold:g} | {task.target:.0%} "
            f"| {task.max_trials} |"
            for name, task in TASKS.items()
        ),
        "",
        "Scores are on test data that decided no trial (but see below on the settings): accuracy for the digits;",
        "soft F1 of Canny edges for",
        "the photographs, cut into squares of 32x32 pixels that do not overlap and are split at random, so that",
        "each photograph is in all three parts. *Kept* is the score of the slim network divided by that of its",
        "control, the uncut network trained on exactly the same batches.",
        "",
        "Settings that did worse: a constant learning rate, with which two controls of the DenseNet ended on a bad",
        "step (accuracy 0.84 and 0.75), so that no conclusion was possible; the DenseNet cut to 60 % of its filters,",
        "which kept 0.973 (seeds 0 and 2); a U-Net of half the width, trained on 224 crops of seven photographs and",
        "tested on four others, which lost 38 to 44 % of its multiply-adds and kept 1.005, 0.919 and 0.998 (seeds",
        "0 to 2); the U-Net below with half the steps and threshold 0.98, which lost 52 % and kept 0.967 (seed 0).",
        "",
        "The settings were chosen after seeing these results, with the same seeds: the table shows that 0.98 is",
        "possible, not that it is automatic. The U-Net's scores differ by 0.03 between networks, and its seed 1",
        "is at the limit.",
        "",
        "Written by `python tools/architectures.py --write docs/architectures.md`.",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Keras {keras.__version__}.",
        "",
        "| network | seed | filters | parameters | multiply-adds gone | before | after | control | kept | trials |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for record in records:
        gone = 1 - record["multiply_adds"][1] / record["multiply_adds"][0]
        lines.append(
            f"| {record['network']} | {record['seed']} | {record['filters'][0]} to {record['filters'][1]} "
            f"| {record['parameters'][0]:,} to {record['parameters'][1]:,} | {gone:.0%} "
            f"| {record['score'][0]:.3f} | {record['score'][1]:.3f} | {record['control']:.3f} "
            f"| {record['score'][1] / record['control']:.3f} | {record['trials']} |"
        )
    good = [
        record["multiply_adds"][1] <= 0.7 * record["multiply_adds"][0]
        and record["score"][1] >= 0.98 * record["control"]
        for record in records
    ]
    lines += ["", f"{sum(good)} of {len(good)} runs lost 30 % or more of the multiply-adds and kept 0.98 or more."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/architectures"), help="a JSON file for each run")
    parser.add_argument("--write", type=Path, help="write the table here")
    parser.add_argument("--only", help="only networks whose name contains this")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    records = []
    for name in TASKS:
        for seed in range(3):
            if options.only and options.only not in name:
                continue
            file = options.out / f"{name.split(',')[0]}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(measure(name, seed)))
            records.append(json.loads(file.read_text()))
            print(json.dumps(records[-1]), flush=True)
    if options.write:
        options.write.write_text(page(records))


if __name__ == "__main__":
    main()
