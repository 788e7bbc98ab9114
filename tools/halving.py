"""Cutting a network in half to compare: random weights, inputs, and what can be cut; for tools/zoo.py and others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet import Switches
from shrinknet.drawing import drawn_inputs
from shrinknet.graph import ChannelGraph
from shrinknet.graph.following import is_recorded
from shrinknet.internals import functional_of, input_structure, layers_of

Row = dict[str, Any]
CONVOLUTIONS = tuple(
    getattr(keras.layers, kind.format(rank))
    for kind in ("Conv{}D", "Conv{}DTranspose", "SeparableConv{}D")
    for rank in (1, 2, 3)
    if hasattr(keras.layers, kind.format(rank))
)
OUTPUT = "it reaches the model's output"


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


def inputs_for(model: Any, batch: int = 4, seed: int = 2, open_size: int | None = None) -> Any:
    """Inputs as the model takes them: images where it takes one batch of square ones, else drawn numbers.

    Args:
        open_size: for sizes that the model leaves open, as the number of words; None: several are tried.
    """
    taken = keras.tree.flatten(input_structure(functional_of(model)) if is_recorded(model) else None)
    shape: tuple[Any, ...] = tuple(taken[0].shape) if len(taken) == 1 else ()
    if len(shape) == 4 and shape[1] and shape[1:] == (shape[1], shape[1], 3):
        return images(model, shape[1], batch, seed)
    if open_size is None:
        return drawn_inputs(model, batch, seed)
    shapes = [(one.shape[0], *(size or open_size for size in one.shape[1:])) for one in taken]
    return drawn_inputs(model, 1, seed, shapes)


def images(model: Any, side: int, batch: int = 4, seed: int = 2) -> np.ndarray:
    """Smooth random images that differ from each other, of order 1, or of order 128 if the model rescales pixels.

    On white noise, or on inputs out of the expected range, a deep random network computes a constant.
    """
    random = np.random.default_rng(seed)
    image = random.normal(size=(batch, 1, 1, 3)) + random.normal(size=(batch, side // 8 + 1, side // 8 + 1, 3))
    image = np.repeat(np.repeat(image, 8, 1), 8, 2)[:, :side, :side] + random.normal(size=(batch, side, side, 3)) / 4
    rescales = any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers)
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
    """How much the outputs vary between samples, as a share of their scale: an error must be visible against this.

    Of several outputs, the least; but those that never vary, as anchors, count only if there are no others.
    """
    arrays = [np.asarray(keras.ops.convert_to_numpy(one), "float64") for one in keras.tree.flatten(outputs)]
    shares = [float(values.std(0).mean() / max(np.abs(values).max(), 1e-30)) for values in arrays]
    return min([share for share in shares if share] or [0.0])


def convolution_filters(model: Any, graph: ChannelGraph) -> tuple[int, int, int]:
    """How many filters the convolutions of a model have, how many can be cut, and how many reach its output.

    Filters that the graph does not know, inside of layers that are not followed, count as well.
    """
    every = sum(layer.filters for layer in layers_of(model) if isinstance(layer, CONVOLUTIONS))
    known = [channels for path, channels in graph.producers.items() if isinstance(graph.layers[path], CONVOLUTIONS)]
    channels = np.concatenate([*known, np.zeros(0, int)])
    out = [channel for channel, reason in graph.pins.items() if reason == OUTPUT]
    return every, int((~np.isin(channels, list(graph.pins))).sum()), int(np.isin(channels, out).sum())


def percent(part: float, whole: float) -> str:
    """A share in percent, rounded down to tenths: 100 only if it is all; a dash where there is nothing."""
    return f"{math.floor(1000 * part / whole) / 10:g}" if whole else "-"


def resumed(part: Path | None, names: Iterable[str], examine: Callable[[str], Row]) -> dict[str, Row]:
    """The rows of these networks: those that an interrupted run left in a file, and the others, examined now."""
    lines = part.read_text().splitlines() if part is not None and part.exists() else []
    rows = {row["builder"]: row for row in map(json.loads, lines)}
    for name in names:
        if name not in rows:
            rows[name] = examine(name)
            print(json.dumps(rows[name]), flush=True)
            if part is not None:
                with part.open("a") as file:
                    file.write(json.dumps(rows[name]) + "\n")
    return rows
