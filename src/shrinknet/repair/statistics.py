"""Statistics: the moving mean and variance of batch normalizations, estimated anew on calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.network.assembling import plain_class
from shrinknet.repair.program import Step, record
from shrinknet.repair.settings import Refit
from shrinknet.repair.walk import Activations, Inputs, walk


def recalibrate(net: Any, data: Any, *, settings: Refit | None = None) -> tuple[str, ...]:
    """Estimates the moving statistics of batch normalizations anew, in network order, each on what those before give.

    After a refit this changes little, because the means are right already. After a cut without repair, or after
    training steps that were few for the momentum of the statistics, it can be worth much. Layers that are called
    several times take the samples of all calls; those with `trainable=False` are left alone unless `settings.frozen`
    is "move".

    Args:
        net: a Functional or Sequential model, switched or not.
        data: inputs as `net.predict` takes them, arrays without targets.
        settings: which samples are taken; `positions` and `ridge` do not matter here. None: `Refit()`.

    Returns:
        Paths of the layers whose statistics were estimated.

    Raises:
        ModelError: the model's operations are not recorded.
        DataError: the data are empty, not finite, or not what the network takes.
    """
    settings = settings or Refit()
    program = record(net)
    inputs = Inputs(program, data, settings)
    done: dict[str, None] = {}

    def visit(station: tuple[Step, ...], tensors: Activations) -> None:
        layer = station[0].operation
        if plain_class(type(layer)) is not keras.layers.BatchNormalization:
            return
        if layer.trainable or settings.frozen == "move":
            _estimate(layer, lambda: _rows(layer, station, tensors, inputs))
            done[station[0].path] = None

    shared = {step.path for step in program.steps if step.number}
    walk(program, inputs, visit, together=shared, budget=settings.memory)
    return tuple(done)


def _rows(layer: Any, station: tuple[Step, ...], tensors: Activations, inputs: Inputs) -> Iterator[np.ndarray]:
    """What the calls of a layer take, chunk by chunk, shape (rows, channels)."""
    for step in station:
        for chunk, tensor in enumerate(tensors.chunks(step.takes[0])):
            array = ops.convert_to_numpy(ops.cast(tensor, "float32"))
            array = array[: inputs.real(chunk, len(array))]
            yield np.moveaxis(array, layer.axis, -1).reshape(-1, array.shape[layer.axis])


def _estimate(layer: Any, rows: Callable[[], Iterator[np.ndarray]]) -> None:
    """Two passes, because the mean of squares less the square of the mean loses digits."""
    count, total = 0, np.zeros(layer.moving_mean.shape)
    for block in rows():
        count += len(block)
        total += block.sum(axis=0, dtype=np.float64)
    mean = total / count
    variance = sum(np.square(block - mean).sum(axis=0) for block in rows()) / count
    layer.moving_mean.assign(mean.astype("float32"))
    layer.moving_variance.assign(np.asarray(variance, "float32"))
    if getattr(layer, "renorm", False):
        layer.moving_stddev.assign(np.sqrt(np.asarray(variance) + layer.epsilon).astype("float32"))
