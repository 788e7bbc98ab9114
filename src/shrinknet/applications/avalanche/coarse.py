"""Approximate dense networks, for classifiers that pad: applied to a whole image with their own strides, then enlarged.

A body that pads every window with zeros has no exact dense form (see `dense`). The usual substitute is to apply it to
the whole image, where only the image is padded, and to interpolate the coarse output (arXiv:1411.4038). That is fast,
but the result is not what the body gives for each window; `difference` measures by how much it is off.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from shrinknet.applications.avalanche.dense import input_name, window_shape
from shrinknet.applications.avalanche.dense_layers import ReflectedBorders
from shrinknet.errors import ModelError
from shrinknet.imaging.windows import reach, windows
from shrinknet.internals import functional_of, nodes_of

_AVERAGES = ("GlobalAveragePooling2D", "GlobalMaxPooling2D")
_AS_THEY_ARE = (
    "Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Cropping2D",
    "CustomScaleLayer", "DepthwiseConv2D", "Dropout", "ELU", "LeakyReLU", "MaxPooling2D", "Maximum", "Multiply", "ReLU",
    "Rescaling", "SeparableConv2D", "ZeroPadding2D",
)  # fmt: skip


@keras.saving.register_keras_serializable(package="shrinknet")
class Enlarged(keras.layers.Layer):
    """Coarse answers interpolated to every pixel: answer i belongs to pixel i * stride.

    Args:
        stride: pixels from one coarse answer to the next, rows and columns.
    """

    def __init__(self, stride: tuple[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.stride = tuple(stride)

    def call(self, coarse: Any, images: Any) -> Any:
        """Answers of shape (images, rows, columns, outputs) in the height and width of the images."""
        for axis in (1, 2):
            last = ops.cast(ops.shape(coarse)[axis] - 1, "float32")
            places = ops.cast(ops.arange(ops.shape(images)[axis]), "float32") / self.stride[axis - 1]
            places = ops.minimum(places, last)
            low = ops.floor(places)
            share = ops.cast(places - low, coarse.dtype)
            share = ops.reshape(share, (-1, 1, 1) if axis == 1 else (-1, 1))
            above = ops.take(coarse, ops.cast(low, "int32"), axis=axis)
            below = ops.take(coarse, ops.cast(ops.minimum(low + 1, last), "int32"), axis=axis)
            coarse = above + share * (below - above)
        return coarse

    def compute_output_spec(self, coarse: Any, images: Any) -> Any:
        return keras.KerasTensor((*images.shape[:3], coarse.shape[3]), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}


def approximate_network(classifier: Any) -> Any:
    """A fast approximation of a classifier that pads, for whole images; it differs from the classifier on each window.

    Args:
        classifier: from windows, shape (windows, height, width, channels), to numbers, shape (windows, outputs): layers
            of a convolutional network, then `Flatten` or global pooling, then dense layers.

    Returns:
        A Keras model from images of any size, shape (images, height, width, channels), to shape (images, height,
        width, outputs).

    Raises:
        ModelError: a layer is of another kind; the sentence names it.
    """
    shape = window_shape(classifier)
    functional = functional_of(classifier)
    before, behind = ((reach(shape[0])[side], reach(shape[1])[side]) for side in (0, 1))
    stride = _stride(functional)
    # padding at the border of a tile affects pixels far inside; multiples of the stride keep the output grid aligned
    halo = (-(-2 * shape[0] // stride[0]) * stride[0], -(-2 * shape[1] // stride[1]) * stride[1])
    image = keras.Input((None, None, shape[2]), name=input_name(halo, halo))
    tensors = {id(functional.inputs[0]): ReflectedBorders(before, behind, name="borders")(image)}
    _Grid().follow(functional, tensors, "")
    coarse = tensors[id(functional.outputs[0])]
    made = Enlarged(stride, name="enlarged")(coarse, image)
    return keras.Model(image, made, name=f"{classifier.name}_approximate")


def difference(classifier: Any, network: Any, image: np.ndarray, count: int = 200, seed: int = 0) -> dict[str, float]:
    """How far a network for whole images is from the classifier, at pixels drawn at random.

    Args:
        classifier: for windows; network: for whole images.
        image: shape (height, width, channels), in [0, 1] or uint8.
        count: pixels; seed: of the choice.

    Returns:
        largest and mean absolute difference of the logits; scale, the classifier's largest absolute logit; correlation
        between the two; agreement, the share of pixels that get the same answer.
    """
    found = windows(image, None, window_shape(classifier)[:2])
    places = found.sample(count, np.random.default_rng(seed))
    wanted = np.concatenate([np.asarray(classifier.predict_on_batch(found.at(part)[0]))[:, 0]
                             for part in np.array_split(places, max(1, count // 128))])  # fmt: skip
    scaled = image[None].astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    given = np.asarray(network.predict_on_batch(scaled))[0, places[:, 0], places[:, 1], 0]
    away = np.abs(wanted - given)
    steady = float(wanted.std()) == 0 or float(given.std()) == 0
    return {
        "largest": float(away.max()),
        "mean": float(away.mean()),
        "scale": float(np.abs(wanted).max()),
        "correlation": float("nan") if steady else float(np.corrcoef(wanted, given)[0, 1]),
        "agreement": float(((wanted > 0) == (given > 0)).mean()),
    }


class _Grid:
    """Follows a recorded network over a whole image."""

    def __init__(self) -> None:
        self._size = (1, 1)  # height and width of the window's map where it was flattened

    def follow(self, functional: Any, tensors: dict[int, Any], path: str) -> None:
        """Makes the tensors of the whole image, one operation after the other."""
        for node in nodes_of(functional):
            operation, name = node.operation, path + node.operation.name
            read = [tensors[id(tensor)] for tensor in node.arguments.keras_tensors]
            if isinstance(operation, keras.Model):
                inner = functional_of(operation)
                within = {id(inner.inputs[0]): read[0]}
                self.follow(inner, within, name + "/")
                tensors[id(node.outputs[0])] = within[id(inner.outputs[0])]
                continue
            shape = tuple(node.arguments.keras_tensors[0].shape[1:])
            tensors[id(node.outputs[0])] = self._applied(operation, name, read, shape)

    def _applied(self, layer: Any, name: str, read: list[Any], shape: tuple[int, ...]) -> Any:
        kind = type(layer).__name__
        if kind == "Flatten":
            self._size = (shape[0], shape[1])
            return read[0]
        if kind in _AVERAGES:
            pool = layers.MaxPooling2D if "Max" in kind else layers.AveragePooling2D
            return pool(shape[:2], strides=1, name=layer.name)(read[0])
        if kind == "Dense":
            return self._dense(layer, read[0])
        if kind not in _AS_THEY_ARE:
            raise ModelError(f"The layer {name} ({kind}) has no form over whole images; predict window by window.")
        new = type(layer).from_config(layer.get_config())
        found = new(read if len(read) > 1 else read[0])
        new.set_weights(layer.get_weights())
        return found

    def _dense(self, layer: Any, tensor: Any) -> Any:
        size, self._size = self._size, (1, 1)
        made = layers.Conv2D(layer.units, size, use_bias=layer.use_bias, activation=layer.activation, name=layer.name)
        found = made(tensor)
        kernel, *bias = layer.get_weights()
        made.set_weights([kernel.reshape(*size, tensor.shape[-1], layer.units), *bias])
        return found


def _stride(functional: Any) -> tuple[int, int]:
    """Pixels from one answer to the next: the product of the strides on the way from the input to the output."""
    strides = {id(functional.inputs[0]): (1, 1)}
    for node in nodes_of(functional):
        before = max(strides[id(tensor)] for tensor in node.arguments.keras_tensors)
        own = (1, 1)
        if isinstance(node.operation, keras.Model):
            own = _stride(functional_of(node.operation))
        elif hasattr(node.operation, "strides"):
            own = tuple(node.operation.strides)
        strides[id(node.outputs[0])] = (before[0] * own[0], before[1] * own[1])
    return strides[id(functional.outputs[0])]
