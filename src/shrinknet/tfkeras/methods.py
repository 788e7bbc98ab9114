"""The methods of tensorflow-model-optimization: each trains a copy of the network further, and converts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from shrinknet.tfkeras.pruning import patch_pruning

_MOVED = 0.001  # share of the difference by which a step moves a range
_RANGED, _ROUNDS = 16, 12  # samples from which ranges are set, and how often


@dataclass(frozen=True)
class Training:
    """How a network is trained further.

    Attributes:
        x, y: arrays, a list for several inputs or outputs; weights: of the samples, or None.
        loss: as in `compile`; optimizer: its description for `tf_keras.optimizers.get`.
        epochs, batch_size: whole numbers from 1.
    """

    x: Any
    y: Any
    weights: Any
    loss: Any
    optimizer: Mapping[str, Any]
    epochs: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Number of batches in all epochs."""
        return self.epochs * -(-len(tf.nest.flatten(self.x)[0]) // self.batch_size)

    def run(self, model: Any, callbacks: list[Any] | None = None) -> None:
        """Trains the model in place."""
        model.compile(tf_keras.optimizers.get(dict(self.optimizer)), self.loss)
        model.fit(
            self.x,
            self.y,
            sample_weight=self.weights,
            epochs=self.epochs,
            batch_size=self.batch_size,
            callbacks=callbacks,
            verbose=0,
        )


@dataclass(frozen=True)
class Compressed:
    """The result: the content of a LiteRT file, its inputs and outputs by name and in order, and a description."""

    content: bytes
    inputs: list[str]
    outputs: list[str]
    note: str


def quantization_aware(model: Any, training: Training, settings: Mapping[str, Any]) -> Compressed:
    """Trains with simulated int8 rounding; afterwards weights and activations are int8."""
    quantized = tfmot.quantization.keras.quantize_model(model)
    _set_ranges(quantized, tf.nest.map_structure(lambda array: array[:_RANGED], training.x))
    training.run(quantized)
    content = _converted(quantized, tf.lite.Optimize.DEFAULT)
    return Compressed(content, quantized.input_names, quantized.output_names, "int8, quantization-aware training")


def _set_ranges(quantized: Any, x: Any) -> None:
    """Sets the ranges that activations are rounded in to what they are for some inputs.

    tensorflow-model-optimization starts each at -6 to 6 and moves it by a thousandth of the difference in a step. A
    network with smaller activations would be trained with hardly a bit of them left.
    """
    ranges = [one for one in quantized.non_trainable_weights if one.name.endswith(("_min:0", "_max:0"))
              and "kernel" not in one.name and "quantize_layer" not in one.name]  # fmt: skip
    weights = [one.numpy() for one in quantized.weights]
    for _ in range(_ROUNDS):  # what lies behind a coarse range is seen once that range is right
        old = [one.numpy() for one in ranges]
        quantized(x, training=True)
        new = [one.numpy() for one in ranges]
        for one, value in zip(quantized.weights, weights, strict=True):  # batch statistics move as well
            one.assign(value)
        for one, before, after in zip(ranges, old, new, strict=True):
            exact = before + (after - before) / _MOVED
            one.assign(min(exact, 0.0) if "_min" in one.name else max(exact, 1e-6))


def clustering(model: Any, training: Training, settings: Mapping[str, Any]) -> Compressed:
    """Leaves each kernel with a few different values, which compress well."""
    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
    count = settings["clusters"]
    clustered = tfmot.clustering.keras.cluster_weights(model, count, cluster_centroids_init=start)
    training.run(clustered)
    stripped = tfmot.clustering.keras.strip_clustering(clustered)
    most = max((len(np.unique(kernel)) for kernel in _kernels(stripped)), default=0)
    return _finished(stripped, f"at most {most} different values in a kernel")


def pruning(model: Any, training: Training, settings: Mapping[str, Any]) -> Compressed:
    """Sets the smallest values of each kernel to zero, gradually over the first half of the training."""
    end = max(training.steps // 2, 1)
    every = max(end // 20, 1)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, settings["sparsity"], 0, end, frequency=every)
    return _pruned(model, training, pruning_schedule=schedule)


def pruning_2_4(model: Any, training: Training, settings: Mapping[str, Any]) -> Compressed:
    """Sets two of every four adjacent values along a filter's inputs to zero, a pattern that some hardware supports."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
    return _pruned(model, training, pruning_schedule=schedule, sparsity_m_by_n=(2, 4))


def _pruned(model: Any, training: Training, **options: Any) -> Compressed:
    patch_pruning()
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, **options)
    training.run(wrapped, [tfmot.sparsity.keras.UpdatePruningStep()])
    stripped = tfmot.sparsity.keras.strip_pruning(wrapped)
    kernels = _kernels(stripped)
    zeros = sum(int((kernel == 0).sum()) for kernel in kernels) / max(sum(kernel.size for kernel in kernels), 1)
    return _finished(stripped, f"{zeros:.1%} of the values in kernels are 0")


def _kernels(model: Any) -> list[np.ndarray]:
    """The kernels of a model, without biases and statistics."""
    return [weight.numpy() for weight in model.trainable_weights if len(weight.shape) > 1]


def _finished(model: Any, note: str) -> Compressed:
    return Compressed(_converted(model), model.input_names, model.output_names, note)


def _converted(model: Any, *optimizations: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    return converter.convert()


METHODS: dict[str, Callable[[Any, Training, Mapping[str, Any]], Compressed]] = {
    "quantization-aware": quantization_aware,
    "clustering": clustering,
    "pruning": pruning,
    "pruning-2-4": pruning_2_4,
}
