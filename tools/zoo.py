"""Cuts every network of keras.applications in half and compares: `python tools/zoo.py --write docs/zoo.md`.

With `--foreign`, small networks of kimm and keras-hub: `python tools/zoo.py --foreign --write docs/zoo-foreign.md`.

Every variable is redrawn with values of order 1, so that no default (a bias of 0, a scale of 1) hides a bug. Half of
the cuttable filters of each layer are disabled at random, and the result of `slim` is compared with the switched
network. An interrupted run resumes where it stopped: finished rows are kept next to the page until it is written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from halving import (
    answer,
    convolution_filters,
    disable_half,
    inputs_for,
    percent,
    redraw,
    resumed,
    settle_statistics,
)

from shrinknet import Switches, slim, switched
from shrinknet.cutting.slimmer import verify

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
set to those of random inputs and then perturbed, so that activations stay of order 1 down to the last layer. The
outputs of `switched(model)` are compared with those of the model. Then half of the cuttable filters **of each layer**
are disabled at random; `slim` cuts them out, and its outputs are compared with those of the switched network on random
inputs.

- *filters*: those of all convolutions; *cuttable*: how many of them can be cut, in percent;
- *parameters left*: of the cut network, in percent;
- *copy*: the largest difference between the outputs of the switched network and those of the model, as a share of
  their scale; *error*: the same between the slim and the switched network; 1e-5 is allowed;
- *build*, *graph*, *slim*: seconds for building the network, tracing its channels, and cutting and verifying, on
  {machine}; compare them only with each other.

Written by `python tools/zoo.py --write docs/zoo.md`.

| family | network | filters | cuttable | parameters left | copy | error | build | graph | slim | never cut, and why |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|
"""


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
    sample = inputs_for(model)
    settle_statistics(model, sample)
    net = switched(model, sample)
    copy = verify(model, net, sample)
    begin = time.perf_counter()
    switches = Switches(net)
    traced = time.perf_counter()
    disable_half(switches)
    settle_statistics(net, sample)
    cutting = time.perf_counter()
    small = slim(net, sample)
    end = time.perf_counter()
    filters, cuttable, _ = convolution_filters(model, switches.graph)
    return {
        "builder": builder,
        "filters": filters,
        "cuttable": cuttable,
        "left": small.count_params() / model.count_params(),
        "copy": copy,
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
    return (
        f"| {family} | {row['builder']} | {row['filters']:,} | {percent(row['cuttable'], row['filters'])} "
        f"| {100 * row['left']:.0f} | {row['copy']:.0e} | {row['error']:.0e} "
        f"| {row['build']:.1f} | {row['graph']:.2f} | {row['slim']:.1f} | {never} |\n"
    )


def write(page: Path, builders: Sequence[str]) -> None:
    """Examines the missing networks one by one, then writes the page."""
    part = page.with_suffix(".jsonl")
    rows = resumed(part, builders, examine)
    machine = f"{os.cpu_count()} cores of {platform.machine()}, Keras {keras.__version__} on {keras.backend.backend()}"
    lines = [line(family, rows[name]) for family, names in FAMILIES.items() for name in names if name in builders]
    page.write_text(HEAD.format(machine=machine) + "".join(lines))
    part.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to write; without it, rows are printed")
    parser.add_argument("--foreign", action="store_true", help="the networks of kimm and keras-hub instead")
    parser.add_argument(
        "--packages", type=Path, metavar="FOLDER", help="where kimm and keras-hub are; by default they are installed"
    )
    parser.add_argument("builders", nargs="*", help="names such as ResNet50; by default all")
    options = parser.parse_args()
    if options.foreign:
        import foreign

        foreign.run(options.write, options.builders, options.packages)
        return
    builders = options.builders or [name for names in FAMILIES.values() for name in names]
    if options.write:
        write(options.write, builders)
    else:
        for builder in builders:
            print(json.dumps(examine(builder)), flush=True)


if __name__ == "__main__":
    main()
