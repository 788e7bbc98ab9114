"""Shrinks a small ResNet, MobileNetV2, DenseNet and U-Net on real data to half of their multiply-adds.

    python tools/architectures.py --write docs/architectures.md

runs every network with seeds 0, 1 and 2, each as a task with a run folder of its own in `--out`, where its page lies;
interrupted runs continue, finished ones are read. The digits are the 1,797 of scikit-learn (8x8). The photographs are
those of scikit-image, cut into squares of 32x32 with Canny edges as targets and split at random.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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

from shrinknet.applications.edges.photographs import photographs as scikit_image
from shrinknet.applications.edges.targets import Canny
from shrinknet.applications.running import run_task
from shrinknet.applications.task import Samples, Task
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
class Network:
    """A network and its data.

    Attributes:
        body: its inputs and its last features.
        data: for a seed: training, validation and test data.
        steps: of its own training, with a rate that falls from `rate` to 0.
        segments: whether it says something about every pixel, not about the image.
    """

    body: Callable[[], Any]
    data: Callable[[int], Data]
    steps: int
    batch_size: int = 32
    rate: float = 1e-3
    segments: bool = False


NETWORKS = {
    "ResNet, digits": Network(resnet, digits, 1000),
    "MobileNetV2, digits": Network(mobilenet, digits, 1000),
    "DenseNet, digits": Network(densenet, digits, 1000),
    "U-Net, photographs": Network(unet, photographs, 6000, 8, 2e-3, segments=True),
}
SEEDS = range(3)
TARGET = {"multiply_adds": 0.5}


def task_of(name: str, seed: int) -> Task:
    """The network, not trained yet, with its data."""
    network = NETWORKS[name]
    keras.utils.set_random_seed(seed)
    inputs, x = network.body()
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(network.rate, network.steps))
    if network.segments:
        model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))
        model.compile(optimizer, SoftF1Loss(), metrics=[SoftF1()])
    else:
        model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    train, validation, test = network.data(seed)
    samples = Samples(test[0][:4], test[1][:4])
    return Task(name, model, train, validation, test, samples, network.batch_size)


def measure(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Shrinks a network with nothing said but the target; its own training is the warm-up of the run."""
    done = run_task(
        lambda number: task_of(name, number), folder, seed=seed, formats=("keras",), target=TARGET,
        warmup_steps=NETWORKS[name].steps, verbose=0,
    )  # fmt: skip
    summary = done.result.summary
    before, after = summary.before, summary.after
    return {
        "network": name,
        "seed": seed,
        "filters": [before.filters, after.filters],
        "parameters": [before.parameters, after.parameters],
        "multiply_adds": [before.multiply_adds, after.multiply_adds],
        "score": [before.score, after.score],
        "control": summary.control_score,
        "steps": summary.spent,
    }


def page(records: list[dict[str, Any]]) -> str:
    """docs/architectures.md."""
    lines = [
        "# Four architectures on real data",
        "",
        "Small networks of each kind are trained and then cut to half of their multiply-adds by the default of",
        "`minimize`: no argument says more than the target and the length of the network's own training.",
        "",
        "Scores are on test data that no decision saw: accuracy for the digits; soft F1 of Canny edges for the",
        "photographs, cut into squares of 32x32 pixels that do not overlap and are split at random, so that each",
        "photograph is in all three parts. *Before* is the trained network; *control* is the same network, uncut, with",
        "the same training afterwards; *kept* is the score of the slim network divided by that of its control. *Steps*",
        "are those of the whole run; the network's own training took 1,000 of them (digits) or 6,000.",
        "",
        "```sh",
        "python tools/architectures.py --write docs/architectures.md",
        "```",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Keras {keras.__version__}.",
        "",
        "| network | seed | filters | parameters | multiply-adds left | before | slim | control | kept | steps |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for record in records:
        left = record["multiply_adds"][1] / record["multiply_adds"][0]
        lines.append(
            f"| {record['network']} | {record['seed']} | {record['filters'][0]} to {record['filters'][1]} "
            f"| {record['parameters'][0]:,} to {record['parameters'][1]:,} | {left:.0%} "
            f"| {record['score'][0]:.3f} | {record['score'][1]:.3f} | {record['control']:.3f} "
            f"| {record['score'][1] / record['control']:.3f} | {record['steps']:,} |"
        )
    kept = sum(record["score"][1] >= 0.98 * record["control"] for record in records)
    lines += ["", f"{kept} of {len(records)} runs kept 0.98 or more of their control's score."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is asked for, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/architectures"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="write the table here")
    parser.add_argument("--only", default="", help="only networks whose name contains this")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    records = []
    for name in (name for name in NETWORKS if options.only in name):
        for seed in SEEDS:
            folder = options.out / f"{name.split(',')[0].lower()}-{seed}"
            known = folder.with_suffix(".json")
            if not known.exists():
                known.write_text(json.dumps(measure(name, seed, folder)))
            records.append(json.loads(known.read_text()))
            print(json.dumps(records[-1]), flush=True)
    if options.write:
        options.write.write_text(page(records))


if __name__ == "__main__":
    main()
