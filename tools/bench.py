"""Speed, as ratios of interleaved minima from one run: `make bench`, or `python tools/bench.py --only loop`.

The two sides of a comparison run alternately, A B A B ..., and the smallest time of each is taken, so that a machine
that slows down for a while slows both. Absolute times are printed as well; they mean little on another machine.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from clock import training_time
from sklearn.datasets import load_digits

from shrinknet import Checkpoint, Filter, Switches, cost, export, load_strategy, minimize, plan, slim, switched
from shrinknet.applications.avalanche import predict_image, window_classifier
from shrinknet.applications.avalanche.prediction import predictor
from shrinknet.applications.edges.model import edge_network
from shrinknet.compression import compress
from shrinknet.costs import graph_cost
from shrinknet.engine import make_engine
from shrinknet.engine.data import read_data
from shrinknet.loop.view import NetworkView
from shrinknet.repair import Refit
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.reference import Calibration, reference_of
from shrinknet.repair.refitting import repaired

STEPS = 60
Row = tuple[str, float, str]  # what is measured, the ratio or value, the target


def interleaved(*runs: Callable[[], Any], rounds: int = 15) -> list[float]:
    """The smallest time of each in seconds, run alternately after one warm-up round that is not counted."""
    best = [float("inf")] * len(runs)
    for number in range(rounds + 1):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if number:
                best[index] = min(best[index], time.perf_counter() - start)
    return best


def edge_engine(crop: int, switch: bool, frozen: bool = False) -> Any:
    """The thesis network with random crops for one epoch of `STEPS` batches of 3, ready to train."""
    random = np.random.default_rng(0)
    x = random.random((3 * STEPS, crop, crop, 1), np.float32)
    feed = read_data((x, (random.random(x.shape) > 0.9).astype("float32")), 3, "training data")
    net = edge_network(crop, seed=1)
    net = switched(net) if switch else net
    if frozen:
        switches = Switches(net)
        switches.disable(*switches.filters[:4])
        switches.freeze(*switches.filters[:4])
    engine = make_engine(net, feed, feed, 0)
    engine.prepare()
    return engine


def switching() -> list[Row]:
    """A switched network against the plain one, in the same compiled loop."""
    rows = []
    for crop, rounds in ((128, 30), (64, 100)):  # shorter steps are noisier
        engines = [edge_engine(crop, False), edge_engine(crop, True), edge_engine(crop, True, frozen=True)]
        runs = [functools.partial(engine.train, STEPS, 1) for engine in engines]
        plain, switch, frozen = interleaved(*runs, rounds=rounds)
        rows += [
            (f"switched / plain, steps per second, {crop}x{crop}", plain / switch, ">= 0.97"),
            (f"switched and frozen / plain, steps per second, {crop}x{crop}", plain / frozen, ">= 0.93"),
            (f"  plain, steps per second, {crop}x{crop}", STEPS / plain, ""),
        ]
    return rows


def loop() -> list[Row]:
    """The compiled loop against Keras's fit on the same arrays."""
    rows = []
    for crop, wanted in ((128, ">= 1.25"), (64, ">= 1.5")):
        engine, other = edge_engine(crop, False), edge_engine(crop, False)
        x, y = other.feed.arrays

        def fit(net: Any = other.net, x: Any = x, y: Any = y) -> None:
            net.fit(x, y, batch_size=3, shuffle=False, verbose=0)

        ours, keras_fit = interleaved(functools.partial(engine.train, STEPS, 1), fit)
        rows.append((f"compiled loop / fit, steps per second, {crop}x{crop}", keras_fit / ours, wanted))
    return rows


def checkpoint() -> list[Row]:
    """Snapshot and restore of 25 million parameters with Adam, against a plain copy of the same bytes.

    TensorFlow copies on write: part of a snapshot's cost falls on the next training step, which is measured as well.
    """
    layers = [keras.layers.Dense(2500, activation="relu") for _ in range(4)]
    model = keras.Sequential([keras.Input((2500,)), *layers])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    state = Checkpoint.of(model)
    arrays = [np.asarray(value) for value in state.values]
    parameters = model.count_params()
    copy, snapshot, restore = interleaved(
        lambda: [array.copy() for array in arrays], lambda: Checkpoint.of(model), state.restore
    )
    x = np.zeros((32, 2500), np.float32)
    kept: list[Any] = []

    def step(keep: bool) -> None:
        kept[:] = [Checkpoint.of(model)] if keep else []
        model.train_on_batch(x, x)

    plain, after = interleaved(lambda: step(False), lambda: step(True))
    return [
        (f"snapshot / plain copy, {parameters / 1e6:.0f} M parameters with Adam", snapshot / copy, "<= 3"),
        ("restore / plain copy", restore / copy, "<= 3"),
        ("snapshot including the copy in the next step / plain copy", (after - plain) / copy, "<= 3"),
    ]


def resnet() -> list[Row]:
    """ResNet50 at 224x224 with half of its filters removed: graph, plan, slim, latency."""

    def build() -> Any:
        return keras.applications.ResNet50(weights=None, classifier_activation=None)

    building, model = interleaved(build, rounds=3)[0], build()
    net = switched(model)
    switches = Switches(net)
    layers: dict[str, list[Any]] = {}
    for filter in switches.filters:
        layers.setdefault(filter.layer, []).append(filter)
    switches.disable(*(filter for filters in layers.values() for filter in filters[::2]))
    tracing, slimming = interleaved(lambda: plan(net), lambda: slim(net), rounds=3)
    small = slim(net)
    fewer = cost(model).multiply_adds / cost(small).multiply_adds
    rows = [
        ("ResNet50, graph and plan, seconds", tracing, "<= 0.1"),
        ("ResNet50, slim with verification / building it", slimming / building, "<= 3"),
        ("ResNet50 at half width, multiply-adds saved", fewer, ""),
    ]
    sample = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        pairs = zip(
            *(export(each, folder, ("litert", "onnx"), sample, threads=1) for each in (model, small)), strict=True
        )
    for old, new in pairs:
        before, after = old.latency_ms or math.nan, new.latency_ms or math.nan
        rows += [
            (f"  {old.format}, one thread, ms before", before, ""),
            (f"  {old.format}, one thread, ms after", after, ""),
            (f"{old.format}: latency saved / multiply-adds saved", before / after / fewer, ">= 0.8"),
        ]
    return rows


def images(count: int = 2_000) -> Any:
    """Random grey images of 28x28 in ten classes."""
    random = np.random.default_rng(0)
    return random.random((count, 28, 28, 1), np.float32), random.integers(0, 10, count)


def stack(widths: Sequence[int], name: str = "stack") -> Any:
    """Convolutions of 3x3 with BatchNormalization, and a classifier."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = image = keras.Input((28, 28, 1))
    for place, width in enumerate(widths):
        x = layers.Conv2D(width, 3, strides=2 if place in (1, 3) else 1, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)), name=name)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def method() -> list[Row]:
    """The default on a network of 448 filters, halved: time outside of training, a refit, and small trials."""
    data, widths = images(), (32, 64, 64, 96, 96, 96)

    def run(compact: str) -> tuple[float, float]:
        start = time.perf_counter()
        with training_time() as seconds:
            minimize(stack(widths), data, data, target={"multiply_adds": 0.5}, steps=100, train="always",
                     compact=compact, batch_size=64, seed=0, verbose=0)  # fmt: skip
        return time.perf_counter() - start, sum(seconds)

    (small_one, _), (switched_one, trained) = run("always"), run("never")
    outside = 1 - trained / switched_one
    net = switched(stack(widths))
    feed = read_data(data, 64, "training data")
    engine = make_engine(net, feed, feed, 0)
    engine.prepare()
    reference = reference_of(Calibration(net, data[0][:256], Refit(), Switches(net)))
    Switches(net).disable(*Switches(net).filters[::2])

    def mend() -> None:
        repaired(Calibration(net, data[0][:256], Refit(), Switches(net)), reference)

    epoch, refit = interleaved(lambda: engine.train(len(data[0]) // 64, 1), mend, rounds=3)
    return [
        ("share of the time outside of training, compiling included", outside, "<= 0.25"),
        ("one refit of all readers / one epoch of training", refit / epoch, ""),
        ("trials on small networks / on switched ones, time of the run", small_one / switched_one, ""),
    ]


def ranking() -> list[Row]:
    """ResNet50 at 224x224 and 64 images: half of the multiply-adds ranked by refit, cut and refitted."""
    keras.utils.set_random_seed(0)
    net = switched(keras.applications.ResNet50(weights=None, classifier_activation=None))
    switches, samples = Switches(net), np.random.default_rng(0).random((64, 224, 224, 3), np.float32)
    start = time.perf_counter()
    calibration = Calibration(net, samples, Refit(samples=64), switches)
    reference = reference_of(calibration)
    evidence = Evidence(calibration)
    view = NetworkView(
        switches, calibration=lambda: samples, measure=lambda: 0.0, higher_is_better=True, evidence=lambda: evidence
    )
    strategy, graph, gone = load_strategy("refit"), switches.graph, switches.read("disabled")
    channels = {group.name: channel for channel, group in graph.cuttable.items()}
    whole, ranked = cost(net).multiply_adds, tuple[Filter, ...]()
    while graph_cost(graph, gone).multiply_adds > 0.5 * whole:
        ranked = tuple(strategy.ask(view, len(ranked) + 500))
        gone[[channels[filter] for filter in ranked]] = True
    known = time.perf_counter()
    switches.disable(*ranked)
    repaired(calibration, reference)
    end = time.perf_counter()
    return [
        ("filters cut, of those that can be", len(ranked) / len(channels), ""),
        ("ranking, seconds", known - start, ""),
        ("ranking and refit, seconds", end - start, "<= 300"),
        ("peak memory of the process, GiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "<= 8"),
    ]


def share_left(whole: float, net: Any) -> float:
    """The share of the multiply-adds that is left, as a score."""
    return float(cost(net).multiply_adds / whole)


def trials() -> list[Row]:
    """Trials against the number of filters, where the score is the share of multiply-adds left and 0.5 has to stay.

    The search ends as the default's does, after five rejections in a row.
    """
    rows: list[Row] = []
    for count in (10, 100, 1_000, 4_000):
        model = stack((count // 2, count - count // 2), f"of{count}")
        result = minimize(
            model, images(64), images(64), score=functools.partial(share_left, cost(model).multiply_adds), mode="max",
            threshold=0.5, strategy=load_strategy("norm-l1", patience=5), repair=None, steps=0, final_steps=0, seed=0,
            verbose=0,
        )  # fmt: skip
        rows.append((f"trials for {count:,} filters", len(result.records), "<= 60"))
    return rows


def compression() -> list[Row]:
    """A slim classifier of digits after quantization-aware training for int8: LiteRT files, scored on test data."""
    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    train, validation, test = ((images[part], classes[part]) for part in np.split(np.arange(len(images)), (1000, 1400)))
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(48, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(48, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    result = minimize(
        model, train, validation, strategy="norm-l1", pace=8, threshold=0.97, warmup_steps=1000, steps=100,
        max_trials=8, seed=0, verbose=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = compress(result.model, folder, train, ("quantization-aware",), test_data=test, epochs=10, threads=1)
    plain, quantized = files
    return [
        ("digits, filters left after slimming", result.summary.after.filters / result.summary.before.filters, ""),
        ("digits, slim float32 in LiteRT, accuracy", plain.score or 0, ""),
        ("digits, slim int8 in LiteRT, quantization-aware, accuracy", quantized.score or 0, ""),
        ("  int8 - float32", (quantized.score or 0) - (plain.score or 0), ">= -0.01"),
        ("  bytes, int8 / float32", quantized.bytes / plain.bytes, ""),
    ]


def avalanche() -> list[Row]:
    """A window classifier on every pixel of a 512x512 image: as a dense network, and window by window."""
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    model = window_classifier((33, 33, 3), seed=0)
    ways = {method: predictor(model, method) for method in ("dense", "windows")}
    found = {}

    def run(method: str, box: Any = None) -> None:
        found[method] = predict_image(ways[method], image, box)

    for method in ways:  # compiles; of windows, a strip will do
        run(method, (0, 0, 512, 32))
    dense = interleaved(lambda: run("dense"), rounds=3)[0]
    start = time.perf_counter()
    run("windows")
    windows = time.perf_counter() - start
    away = float(np.abs(found["dense"] - found["windows"]).max())
    return [
        ("dense / window by window, pixels per second, 33x33 windows", windows / dense, ">= 50"),
        ("  dense, megapixels per second", 512 * 512 / 1e6 / dense, ""),
        ("  largest difference of the probabilities", away, "<= 1e-5"),
    ]


def runlengths() -> list[Row]:
    """Masks of plates of steel, 256x1600, to run lengths and back."""
    from shrinknet.applications.steel import mask2rle, rle2mask
    from shrinknet.applications.steel.generation import plate

    def round_trip(mask: np.ndarray) -> np.ndarray:
        return rle2mask(mask2rle(mask))

    rows: list[Row] = []
    for number, what in ((1, "specks"), (3, "dense traces"), (4, "rounded areas")):
        mask = plate((number,), np.random.default_rng(number))[1][..., number - 1]
        text = mask2rle(mask)
        both, there, back = interleaved(
            functools.partial(round_trip, mask), functools.partial(mask2rle, mask),
            functools.partial(rle2mask, text), rounds=50,
        )  # fmt: skip
        rows += [
            (f"mask2rle and back, ms, {what}", 1000 * both, "<= 2"),
            (f"  mask2rle alone, ms, {what}", 1000 * there, ""),
            (f"  rle2mask alone, ms, {what}", 1000 * back, ""),
        ]
    return rows


SECTIONS = {
    "switching": switching,
    "loop": loop,
    "checkpoint": checkpoint,
    "resnet": resnet,
    "method": method,
    "ranking": ranking,
    "trials": trials,
    "compression": compression,
    "avalanche": avalanche,
    "runlengths": runlengths,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(SECTIONS), help="one section")
    chosen = parser.parse_args().only
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Keras {keras.__version__}"
    )
    for name, section in SECTIONS.items():
        if chosen in (None, name):
            print(f"\n{name}: {(section.__doc__ or '').splitlines()[0]}")
            for what, value, wanted in section():
                print(f"  {what:62} {value:8.3g}  {wanted}", flush=True)


if __name__ == "__main__":
    main()
