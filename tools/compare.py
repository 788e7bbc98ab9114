"""Runs `minimize` and what it competes with on several networks and seeds: the tables of docs/which-strategy.md.

    python tools/compare.py --data FOLDER --out FOLDER [--networks resnet] [--seeds 1 2] [--methods default random]
                            [--targets 0.5] [--steps 0.2] [--images 15000] [--jobs 2] [--seconds 500]

The networks learn 15,000 images (--images) of Fashion-MNIST, whose IDX files lie in --data (Debian package
dataset-fashion-mnist; it puts them into /usr/share/datasets/fashion-mnist); 3,000 others decide, and the 10,000 test
images are reported.
--steps is the training after the cut, as shares of the network's own training: 0 measures before any training. Each job
is a row in OUT/rows.jsonl as soon as it is known; what is there is not done again, and after --seconds no job begins.
Settings are chosen with --unseen, which reports training images that nothing else uses in place of the test images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clock import training_time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
EPOCHS, BATCH = 8, 64
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "random": {"strategy": "random"},
    "norm-l1": {"strategy": ("norm-l1", {"relative": True})},
    "taylor": {"strategy": "taylor"},
    "bn-scale": {"strategy": "bn-scale"},
    "geometric-median": {"strategy": "geometric-median"},
    "learned": {"strategy": "learned"},
    "random, no repair": {"strategy": "random", "repair": None},
    "norm-l1, no repair": {"strategy": ("norm-l1", {"relative": True}), "repair": None},
    "taylor, no repair": {"strategy": "taylor", "repair": None},
    "bn-scale, no repair": {"strategy": "bn-scale", "repair": None},
    "by hand": {},  # one cut by norm-l1, then 70 % of the steps at 1e-3 and 30 % at 3e-4
    "scratch": {},  # the shape that the default leaves, from new weights at 3e-3
}
Data = dict[str, tuple[Any, Any]]


LEARNED, MOST = 15_000, 55_000  # training images that networks learn, and that there are


def images(folder: Path, segmented: bool = False, unseen: bool = False, learned: int = LEARNED) -> Data:
    """The images and their classes; or for each pixel the class of what it shows, 10 for the background.

    With `unseen`, the images that are reported are the training images that nothing else uses.
    """
    import numpy as np

    from shrinknet.imaging.idx import read_idx

    def load(name: str) -> Any:
        return read_idx(next(folder.glob(f"{name}*")))

    def part(kind: str, rows: slice) -> tuple[Any, Any]:
        x, y = load(f"{kind}-images")[rows][..., np.newaxis], load(f"{kind}-labels")[rows].astype("int32")
        return x / np.float32(255), np.where(x > 32, y[:, None, None, None], 10)[..., 0] if segmented else y

    return {"train": part("train", slice(learned)), "validation": part("train", slice(MOST, MOST + 3_000)),
            "test": part("train", slice(learned, MOST)) if unseen else part("t10k", slice(None))}  # fmt: skip


def _normalized(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
    from keras import layers

    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)


def resnet(stem: int = 8, widths: tuple[int, ...] = (8, 16, 32), blocks: int = 3, strides: int = 1) -> Any:
    """ResNet-20-like: nine residual blocks."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1))
    x = layers.ReLU()(_normalized(image, stem, strides=strides))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = _normalized(layers.ReLU()(_normalized(x, width, strides=stride)), width)
            x = _normalized(x, width, 1, stride) if stride == 2 else x
            x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mobile() -> Any:
    """MobileNetV2-like: inverted residuals with depthwise convolutions."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1))
    x = layers.ReLU(6.0)(_normalized(image, 16))
    for width, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        y = layers.ReLU(6.0)(_normalized(x, 4 * x.shape[-1], 1))
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
        y = _normalized(layers.ReLU(6.0)(layers.BatchNormalization()(y)), width, 1)
        x = layers.Add()([x, y]) if stride == 1 and x.shape[-1] == width else y
    x = layers.ReLU(6.0)(_normalized(x, 96, 1))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def dense() -> Any:
    """DenseNet-like: every layer of a block reads all those before it."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    for block in range(3):
        for _ in range(4):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same", use_bias=False)(y)])
        if block < 2:
            x = layers.ReLU()(layers.BatchNormalization()(x))
            x = layers.AveragePooling2D(2)(layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False)(x))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def unet() -> Any:
    """A U-Net with two levels; what it learns is the class of each pixel."""
    import keras
    from keras import layers

    def twice(x: Any, width: int) -> Any:
        return layers.ReLU()(_normalized(layers.ReLU()(_normalized(x, width)), width))

    image = keras.Input((28, 28, 1))
    first = twice(image, 8)
    second = twice(layers.MaxPooling2D()(first), 16)
    x = twice(layers.MaxPooling2D()(second), 32)
    for beside, width in ((second, 16), (first, 8)):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = twice(layers.Concatenate()([beside, x]), width)
    return keras.Model(image, layers.Conv2D(11, 1)(x))


def mobilenet() -> Any:
    """MobileNetV2 of keras.applications at a width of 0.35, for 32x32 pixels, with weights of its own training."""
    import keras

    image = keras.Input((28, 28, 1))
    body = keras.applications.MobileNetV2(
        input_tensor=keras.layers.ZeroPadding2D(2)(image), alpha=0.35, weights=None, classes=10,
        classifier_activation=None,
    )  # fmt: skip
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # its 0.999 needs ten times as many steps as there are
    return keras.Model(image, body.outputs[0])


NETWORKS: Mapping[str, Callable[[], Any]] = {
    "resnet20": resnet,
    "newcomer": lambda: resnet(16, (16, 32, 64), 1, 2),  # 78,000 parameters
    "mobile": mobile,
    "dense": dense,
    "unet": unet,
    "MobileNetV2": mobilenet,
}


def trained(network: str, seed: int, data: Data, folder: Path) -> Any:
    """The network that is cut: 8 epochs, batches of 64, from 3e-3 falling to 0 as a cosine; made once."""
    import keras

    path = folder / f"{network}-{seed}{_learned(data)}.keras"
    if not path.exists():
        keras.utils.set_random_seed(seed)
        model = NETWORKS[network]()
        fit(model, data, own_steps(data), 3e-3, seed)
        model.save(path.with_suffix(f".{os.getpid()}.keras"))
        path.with_suffix(f".{os.getpid()}.keras").replace(path)
    model = keras.models.load_model(path)
    model.compile(keras.optimizers.Adam(), model.loss, metrics=["accuracy"])
    return model


def _learned(data: Data) -> str:
    """What file names say about the number of training images."""
    return "" if (count := len(data["train"][0])) == LEARNED else f"-{count}"


def own_steps(data: Data) -> int:
    """Steps of the network's own training."""
    return int(EPOCHS * math.ceil(len(data["train"][0]) / BATCH))


def fit(model: Any, data: Data, steps: int, rate: Any, seed: int) -> None:
    """Trains with Adam; a rate that is a number falls to 0 as a cosine."""
    import keras
    import numpy as np

    schedule = keras.optimizers.schedules.CosineDecay(rate, steps) if isinstance(rate, float) else rate
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss, metrics=["accuracy"])
    x, y = data["train"]
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(x)) for _ in range(1 + steps * BATCH // len(x))])[: steps * BATCH]
    model.fit(x[order], y[order], batch_size=BATCH, shuffle=False, verbose=0)


def accuracy(model: Any, data: Data, part: str) -> float:
    """Share of the images, or of the pixels, whose class is right."""
    return round(float(model.evaluate(*data[part], batch_size=500, verbose=0, return_dict=True)["accuracy"]), 5)


def by_hand(model: Any, data: Data, target: float, steps: int, seed: int) -> Any:
    """What a user would write: cut by the mean absolute weight of each filter, then train at two rates."""
    import keras
    import numpy as np

    from shrinknet import Switches, cost, slim, switched

    net = switched(model)
    switches, full, norms = Switches(net), cost(model).multiply_adds, {}
    for group in switches.groups:
        each = []
        for filter in group.filters:
            kernel = np.abs(np.asarray(net.get_layer(filter.layer).kernel))
            norm = kernel.sum(tuple(range(kernel.ndim - 1)))
            each.append(norm[filter.index] / norm.mean() if norm.size > filter.index else 1.0)
        norms[group.name] = float(np.mean(each))
    for name in sorted(norms, key=norms.__getitem__):
        if cost(net).multiply_adds <= target * full:
            break
        switches.disable(name)
    small = slim(net)
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([int(0.7 * steps)], [1e-3, 3e-4])
    if steps:
        fit(small, data, steps, rates, seed)
    return small


def shape(model: Any, data: Data, target: float, seed: int, path: Path) -> Any:
    """The network that the default leaves, before training; made once."""
    import keras

    from shrinknet import minimize

    if not path.exists():
        result = minimize(model, data["train"], data["validation"], target={"multiply_adds": target}, seed=seed,
                          batch_size=BATCH, verbose=0, final_steps=0)  # fmt: skip
        result.model.save(path)
    keras.utils.set_random_seed(seed)
    return keras.models.load_model(path)


def run(job: Mapping[str, Any], data: Data, folder: Path) -> dict[str, Any]:
    """One row."""
    import keras

    from shrinknet import cost, minimize

    keras.backend.clear_session()
    seed, method, target = job["seed"], job["method"], job["target"]
    model = trained(job["network"], seed, data, folder)
    base, steps = accuracy(model, data, "test"), round(job["steps"] * own_steps(data))
    began = time.perf_counter()
    row = {"own_steps": own_steps(data), "base": base, "training_steps": steps}
    if method == "by hand":
        small = by_hand(model, data, target, steps, seed)
        model.compile(keras.optimizers.Adam(), small.loss, metrics=["accuracy"])
        return {**row, "left": round(cost(small).multiply_adds / cost(model).multiply_adds, 4),
                "test": accuracy(small, data, "test"), "validation": accuracy(small, data, "validation"),
                "spent": steps, "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip
    options = {"final_steps": steps, **METHODS[method], **job.get("options", {})}
    path = folder / f"{job['network']}-{seed}-{target}{_learned(data)}.keras"
    if method == "scratch":
        small = keras.models.clone_model(shape(model, data, target, seed, path))
        fit(small, data, max(steps, 1), 3e-3, seed)
        return {**row, "left": round(cost(small).multiply_adds / cost(model).multiply_adds, 4),
                "test": accuracy(small, data, "test"), "validation": accuracy(small, data, "validation"),
                "spent": steps, "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip
    with training_time() as training:
        result = minimize(
            model, data["train"], data["validation"], target={"multiply_adds": target}, seed=seed, batch_size=BATCH,
            verbose=0, control=bool(job.get("control")), test_data=data["test"], **options,
        )  # fmt: skip
    minimizing = time.perf_counter() - began
    summary, small = result.summary, result.model
    if method == "default" and not steps and not job.get("options"):
        small.save(path)
    return {**row, "left": round(summary.after.multiply_adds / summary.before.multiply_adds, 4),
            "test": accuracy(small, data, "test"), "validation": accuracy(small, data, "validation"),
            "control_score": summary.control_score, "trials": len(result.records), "spent": summary.spent,
            "untrained": result.records[-1].untrained, "filters": summary.before.filters,
            "outside": round(1 - sum(training) / minimizing, 3),
            "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip


_DATA: dict[bool, Data] = {}


def work(job: Mapping[str, Any], folder: Path, images_in: Path) -> dict[str, Any]:
    """A row for a job, in a process of its own."""
    segmented = job["network"] == "unet"
    if segmented not in _DATA:
        _DATA[segmented] = images(images_in, segmented, bool(job.get("unseen")), job.get("images", LEARNED))
    try:
        return {**job, **run(job, _DATA[segmented], folder)}
    except Exception as error:  # one job that fails must not end the others
        return {**job, "error": repr(error)[:500]}


def _init(stop: float) -> None:
    globals()["_STOP"] = stop


def _guarded(arguments: tuple[Any, ...]) -> dict[str, Any] | None:
    return work(*arguments) if time.time() < globals()["_STOP"] else None


def answers(row: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Whether a row is what the job would give; one with a control answers a job without."""
    keys = ("network", "seed", "method", "target", "steps", "options", "unseen", "images")
    return all(row.get(key) == job.get(key) for key in keys) and bool(row.get("control") or not job.get("control"))


def main() -> None:
    """Runs what is asked for and not known yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["resnet20"], choices=NETWORKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--methods", nargs="+", default=["default"], choices=METHODS)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.5])
    parser.add_argument("--steps", type=float, nargs="+", default=[0.2])
    parser.add_argument("--options", type=json.loads, nargs="*", default=[{}], help="further arguments of minimize")
    parser.add_argument("--images", type=int, default=LEARNED, help=f"training images that are learned, to {MOST:,}")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--unseen", action="store_true", help="report 40,000 other images: to choose settings by")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "rows.jsonl"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    jobs = []
    for options, steps, target, method, network, seed in itertools.product(
        given.options, given.steps, given.targets, given.methods, given.networks, given.seeds
    ):
        job = {"network": network, "seed": seed, "method": method, "target": target, "steps": steps}
        job |= {"options": options} if options else {}
        job |= {"control": True} if given.control else {}
        job |= {"unseen": True} if given.unseen else {}
        job |= {"images": given.images} if given.images != LEARNED else {}
        if not any(answers(row, job) for row in known):
            jobs.append((job, given.out, given.data))
    context = multiprocessing.get_context("spawn")
    with context.Pool(given.jobs, _init, (time.time() + given.seconds,)) as pool, log.open("a") as file:
        for row in pool.imap_unordered(_guarded, jobs):
            if row is not None:
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
