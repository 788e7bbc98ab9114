"""Cuts every network of keras.applications in half and compares: `python tools/zoo.py --write docs/zoo.md`.

Every variable is redrawn with values of order 1, so that no default (a bias of 0, a scale of 1) hides a bug. Half of
the cuttable filters of each layer are disabled at random, and the result of `slim` is compared with the switched
network. An interrupted run resumes where it stopped: finished rows are kept next to the page until it is written.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from shrinknet import Switches, slim, switched
from shrinknet.cutting.slimmer import verify
from shrinknet.graph import ChannelGraph

FAMILIES: dict[str, tuple[str, ...]] = {  # the smallest of each first
    "ConvNeXt": ("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
    "DenseNet": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "EfficientNet": tuple(f"EfficientNetB{number}" for number in range(8)),
    "EfficientNetV2": tuple(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    "Inception-ResNet": ("InceptionResNetV2",),
    "Inception": ("InceptionV3",),
    "MobileNet": ("MobileNet",),
    "MobileNetV2": ("MobileNetV2",),
    "MobileNetV3": ("MobileNetV3Small", "MobileNetV3Large"),
    "NASNet": ("NASNetMobile", "NASNetLarge"),
    "ResNet": ("ResNet50", "ResNet101", "ResNet152"),
    "ResNetV2": ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
    "VGG": ("VGG16", "VGG19"),
    "Xception": ("Xception",),
}
SIDES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}  # the smallest inputs they accept; others: 64

HEAD = """# The networks of keras.applications, cut in half

Each of the 40 builders, with random weights and a small input (64x64; 71x71 for Xception, 75x75 for the Inceptions),
without the final softmax. Every variable is redrawn with values of order 1; the statistics of batch normalisations are
set to those of random inputs and then perturbed, so that activations stay of order 1 down to the last layer. Half of
the cuttable filters **of each layer** are disabled at random; `slim` cuts them out, and its outputs are compared with
those of the switched network on random inputs.

- *filters*: those of all convolutions; *cuttable*: how many of them can be cut, in percent;
- *parameters left*: of the cut network, in percent;
- *error*: the largest difference between the outputs, as a share of their scale; 1e-5 is allowed;
- *build*, *graph*, *slim*: seconds for building the network, tracing its channels, and cutting and verifying, on
  {machine}; compare them only with each other.

Written by `python tools/zoo.py --write docs/zoo.md`.

| family | network | filters | cuttable | parameters left | error | build | graph | slim | never cut, and why |
|---|---|--:|--:|--:|--:|--:|--:|--:|---|
"""


def fan_in(layer: Any, variable: Any) -> int:
    """Fan-in: how many inputs are summed for each output of the layer."""
    shape = variable.shape
    if variable.name == "depthwise_kernel" or isinstance(
        layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    ):
        return math.prod(shape[:-2])
    return math.prod(shape) // shape[-2 if "Transpose" in type(layer).__name__ else -1]


def redraw(model: Any, seed: int = 0) -> None:
    """Redraws every variable with values of order 1, kernels scaled by fan-in; counters and seeds are kept."""
    random = np.random.default_rng(seed)
    for layer in [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]:
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if not keras.backend.is_float_dtype(variable.dtype):
                continue
            value = random.normal(size=variable.shape)
            if "kernel" in variable.name:
                value *= math.sqrt(2 / fan_in(layer, variable))
            if "variance" in variable.name:
                value = np.abs(value) + 0.5
            variable.assign(value.astype("float32"))
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def images(model: Any, batch: int = 4, seed: int = 2) -> np.ndarray:
    """Smooth random images that differ from each other, of order 1, or of order 128 if the model rescales pixels.

    On white noise, or on inputs out of the expected range, a deep random network computes a constant.
    """
    random = np.random.default_rng(seed)
    side = model.input_shape[1]
    image = random.normal(size=(batch, 1, 1, 3)) + random.normal(size=(batch, side // 8 + 1, side // 8 + 1, 3))
    image = np.repeat(np.repeat(image, 8, 1), 8, 2)[:, :side, :side] + random.normal(size=(batch, side, side, 3)) / 4
    rescales = any(isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)) for layer in model.layers)
    return (image * 64 + 128 if rescales else image).astype("float32")


def settle_statistics(model: Any, inputs: Any) -> None:
    """Sets the statistics of batch normalisations to those of these inputs: activations stay of order 1 at any depth.

    With 0.02 instead of 0.1, one unit in the last place of the inputs changes ResNet152's outputs by 2e-5 of their
    scale, too much for a comparison to 1e-5.
    """
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        layer.moving_variance.assign_add(0.1 * keras.ops.ones_like(layer.moving_variance))  # else rounding errors grow


def disable_half(switches: Switches, seed: int = 0) -> int:
    """Disables half of the cuttable filters of each layer, chosen at random; returns how many."""
    random = np.random.default_rng(seed)
    layers: dict[str, list[Any]] = {}
    for filter in switches.filters:
        layers.setdefault(filter.layer, []).append(filter)
    gone = [
        filters[index] for filters in layers.values() for index in random.permutation(len(filters))[: len(filters) // 2]
    ]
    switches.disable(*gone)
    return len(gone)


def answer(outputs: Any) -> float:
    """How much the outputs vary between samples, as a share of their scale: an error must be visible against this."""
    values = np.asarray(keras.ops.convert_to_numpy(outputs))
    return float(values.std(0).mean() / np.abs(values).max())


def convolution_filters(graph: ChannelGraph) -> tuple[int, int]:
    """How many filters the convolutions have, and how many of these can be cut."""
    channels = [channels for path, channels in graph.producers.items() if hasattr(graph.layers[path], "filters")]
    every = np.concatenate(channels)
    return every.size, int((~np.isin(every, list(graph.pins))).sum())


def examine(builder: str) -> dict[str, Any]:
    """Builds one network, cuts it in half and compares; returns one row of the table."""
    keras.utils.clear_session()
    side = SIDES.get(builder, 64)
    start = time.perf_counter()
    model = getattr(keras.applications, builder)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    built = time.perf_counter()
    redraw(model)
    net = switched(model)
    begin = time.perf_counter()
    switches = Switches(net)
    traced = time.perf_counter()
    disable_half(switches)
    sample = images(net)
    settle_statistics(net, sample)
    cutting = time.perf_counter()
    small = slim(net, sample)
    end = time.perf_counter()
    filters, cuttable = convolution_filters(switches.graph)
    return {
        "builder": builder,
        "filters": filters,
        "cuttable": cuttable,
        "left": small.count_params() / model.count_params(),
        "error": verify(net, small, sample),
        "answer": answer(net(sample)),
        "build": built - start,
        "graph": traced - begin,
        "slim": end - cutting,
        "never": {path: why for path, why in switches.unswitchable.items()},
    }


def line(family: str, row: dict[str, Any]) -> str:
    """One row as a line of the table."""
    never = "; ".join(f"`{path}`: {why}" for path, why in row["never"].items())
    percent = math.floor(1000 * row["cuttable"] / row["filters"]) / 10  # 100 only if it is all of them
    return (
        f"| {family} | {row['builder']} | {row['filters']:,} | {percent:g} | {100 * row['left']:.0f} "
        f"| {row['error']:.0e} | {row['build']:.1f} | {row['graph']:.2f} | {row['slim']:.1f} | {never} |\n"
    )


def write(page: Path, builders: Sequence[str]) -> None:
    """Examines the missing networks one by one, then writes the page."""
    part = page.with_suffix(".jsonl")
    rows = {row["builder"]: row for row in map(json.loads, part.read_text().splitlines())} if part.exists() else {}
    for builder in builders:
        if builder not in rows:
            rows[builder] = examine(builder)
            print(json.dumps(rows[builder]), flush=True)
            with part.open("a") as file:
                file.write(json.dumps(rows[builder]) + "\n")
    machine = f"{os.cpu_count()} cores of {platform.machine()}, Keras {keras.__version__} on {keras.backend.backend()}"
    lines = [line(family, rows[name]) for family, names in FAMILIES.items() for name in names if name in builders]
    page.write_text(HEAD.format(machine=machine) + "".join(lines))
    part.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to write; without it, rows are printed")
    parser.add_argument("builders", nargs="*", help="names such as ResNet50; by default all 40")
    options = parser.parse_args()
    builders = options.builders or [name for names in FAMILIES.values() for name in names]
    if options.write:
        write(options.write, builders)
    else:
        for builder in builders:
            print(json.dumps(examine(builder)), flush=True)


if __name__ == "__main__":
    main()
