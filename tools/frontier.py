"""Score against multiply-adds for every way of cutting, before and after training: the table that repair is judged by.

    python tools/frontier.py --data FOLDER --out FOLDER [--seeds 0 1] [--methods refit+refit random] [--steps 100 300]

A ResNet-20-like network (8, 16 and 32 filters) learns 15,000 images of Fashion-MNIST, whose IDX files lie in --data
(Debian package dataset-fashion-mnist; it puts them into /usr/share/datasets/fashion-mnist). Each method cuts it to
three quarters, half, 0.35 and a quarter of its multiply-adds, eight filters at a time, and is measured there without
any training; at half it is then trained, with a rate that falls from 1e-3 to 0. Every row is written to
OUT/rows.jsonl as soon as it is known; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet import Checkpoint, cost, load_strategy, slim, switched
from shrinknet.imaging.idx import read_idx
from shrinknet.loop.view import NetworkView
from shrinknet.repair import Refit, fold
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.reference import Calibration, reference_of
from shrinknet.repair.refitting import repaired

TARGETS = (0.75, 0.5, 0.35, 0.25)
TRAINED = 0.5
METHODS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    # strategy, its parameters, repair
    "random": ("random", {"trials": None}, None),
    "norm-l1": ("norm-l1", {"relative": True}, None),
    "norm-l1-raw": ("norm-l1", {}, None),
    "random+refit": ("random", {"trials": None}, "refit"),
    "norm-l1+refit": ("norm-l1", {"relative": True}, "refit"),
    "norm-l1-raw+refit": ("norm-l1", {}, "refit"),
    "norm-l1+fold": ("norm-l1", {"relative": True}, "fold"),
    "refit": ("refit", {}, None),
    "refit+refit": ("refit", {}, "refit"),
    "taylor+refit": ("taylor", {}, "refit"),
    "bn-scale+refit": ("bn-scale", {}, "refit"),
    "activation+refit": ("activation", {}, "refit"),
    "zeros+refit": ("zeros", {}, "refit"),
    "geometric-median+refit": ("geometric-median", {}, "refit"),
}
Data = dict[str, tuple[np.ndarray, np.ndarray]]


def images(folder: Path) -> Data:
    """Fashion-MNIST: 15,000 images to learn from, 3,000 to choose by, 10,000 to report."""

    def load(name: str) -> np.ndarray:
        return read_idx(next(folder.glob(f"{name}*")))

    x, y = load("train-images")[..., np.newaxis] / np.float32(255), load("train-labels").astype("int32")
    test = load("t10k-images")[..., np.newaxis] / np.float32(255), load("t10k-labels").astype("int32")
    return {"train": (x[:15_000], y[:15_000]), "validation": (x[55_000:58_000], y[55_000:58_000]), "test": test}


def network(seed: int) -> Any:
    """A residual network of nine blocks, 8, 16 and 32 filters wide."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)

    def normalized(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((28, 28, 1))
    x = layers.ReLU()(normalized(image, 8))
    for width in (8, 16, 32):
        for block in range(3):
            strides = 2 if width > 8 and not block else 1
            y = normalized(layers.ReLU()(normalized(x, width, strides=strides)), width)
            x = normalized(x, width, 1, 2) if strides == 2 else x
            x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def train(model: Any, data: Data, steps: int, rate: float, seed: int) -> None:
    """Trains with Adam, batches of 64, a rate that falls to 0 as a cosine."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    x, y = data["train"]
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(x)) for _ in range(1 + steps * 64 // len(x))])[: steps * 64]
    model.fit(x[order], y[order], batch_size=64, shuffle=False, verbose=0)


def accuracy(model: Any, data: Data, part: str) -> float:
    return float(model.evaluate(*data[part], batch_size=500, verbose=0, return_dict=True)["accuracy"])


class Cutter:
    """One trained network, cut anew by each method."""

    def __init__(self, model: Any, data: Data, settings: Refit) -> None:
        self.data = data
        self.net = switched(model)
        calibration = Calibration(self.net, data["train"][0], settings)
        self.switches = calibration.switches
        self.evidence = Evidence(calibration, data["train"][1])
        self.reference = reference_of(calibration)
        self.start = Checkpoint.of(self.net)
        self.full = cost(self.net).multiply_adds

    def left(self) -> float:
        return cost(self.net).multiply_adds / self.full

    def frontier(self, method: str, seed: int, count: int) -> Iterator[dict[str, Any]]:
        """The network at each of TARGETS, one after the other."""
        name, parameters, repair = METHODS[method]
        strategy = load_strategy(
            name, seed=seed, **{"patience": None, **parameters} if name != "random" else parameters
        )
        self.start.restore()
        self.switches.refresh()
        view = NetworkView(
            self.switches,
            calibration=lambda: self.data["train"][0][:256],
            measure=lambda: 0.0,
            higher_is_better=True,
            evidence=lambda: self.evidence,
        )
        seconds = 0.0
        for target in TARGETS:
            began = time.perf_counter()
            while self.left() > target:
                for filter in strategy.ask(view, count):
                    self.switches.disable(filter)
                    if self.left() <= target:
                        break
                if repair == "refit":
                    repaired(self.evidence.calibration, self.reference)
                elif repair == "fold":
                    fold(self.net)
            seconds += time.perf_counter() - began
            yield {"target": target, "left": round(self.left(), 4), "filters": len(self.switches.disabled),
                   "validation": accuracy(self.net, self.data, "validation"),
                   "test": accuracy(self.net, self.data, "test"),
                   "seconds": round(seconds, 1)}  # fmt: skip


def trained_network(path: Path, data: Data, seed: int) -> Any:
    """The network that is cut: 8 epochs from 3e-3; made once."""
    if not path.exists():
        model = network(seed)
        train(model, data, 8 * 15_000 // 64, 3e-3, seed)
        model.save(path)
    return keras.models.load_model(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--positions", type=int, default=Refit.positions)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "rows.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    data = images(options.data)

    def write(**row: Any) -> None:
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def done(**wanted: Any) -> bool:
        return any(wanted.items() <= row.items() for row in known)

    for seed in options.seeds:
        model = trained_network(options.out / f"net-{seed}.keras", data, seed)
        if not done(seed=seed, method="uncut"):
            scores = {part: accuracy(model, data, part) for part in ("validation", "test")}
            write(seed=seed, method="uncut", steps=0, **scores)
        settings = Refit(samples=options.samples, positions=options.positions)
        cutter = Cutter(model, data, settings)
        for method in options.methods:
            if done(seed=seed, method=method, target=TARGETS[-1], steps=options.steps[-1] if options.steps else 0):
                continue
            for row in cutter.frontier(method, seed, options.count):
                steps_at = [0, *options.steps] if row["target"] == TRAINED else [0]
                for steps in steps_at:
                    if steps:
                        small = slim(cutter.net)
                        train(small, data, steps, 1e-3, seed)
                        row |= {part: accuracy(small, data, part) for part in ("validation", "test")}
                    write(seed=seed, method=method, steps=steps, **row)


if __name__ == "__main__":
    main()
