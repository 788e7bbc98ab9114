"""Bodies of keras.applications for window classifiers, with the inputs and the minimum sizes that they require."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
from keras import layers

from shrinknet.errors import ModelError, OptionError

LEAST = {"vgg16": 32, "resnet50": 32, "inception_resnet_v2": 75}  # pixels a side
_BODIES = {
    "vgg16": keras.applications.VGG16,
    "resnet50": keras.applications.ResNet50,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
}
_MEANS = (103.939, 116.779, 123.68)  # of blue, green and red over ImageNet: VGG16's and ResNet50's published weights


def body(inputs: Any, kind: str, weights: str | None, frozen: bool, seed: int | None) -> Any:
    """The averaged features of a body for windows in [0, 1], shape (windows, features).

    Raises:
        OptionError: the window is too small or not in colour.
        ModelError: the file of weights cannot be used.
    """
    height, width, channels = inputs.shape[1:]
    if min(height, width) < LEAST[kind] or channels != 3:
        raise OptionError(
            f"The body {kind} expects windows in colour of at least {LEAST[kind]} x {LEAST[kind]} pixels; received "
            f"{height} x {width} with {channels} channel{'s' if channels > 1 else ''}."
        )
    network = _BODIES[kind](include_top=False, weights=None, input_shape=(height, width, 3), name=kind)
    if weights is not None:
        _load(network, weights, kind)
    elif seed is not None:
        _draw(network, seed)
    network.trainable = not frozen
    x = _as_published(kind)(inputs)
    return layers.GlobalAveragePooling2D(name="features")(network(x))


def _draw(network: Any, seed: int) -> None:
    """Draws the kernels again, each with a seed of its own: keras.applications takes none."""
    for number, layer in enumerate(layer for layer in network.layers if hasattr(layer, "kernel")):
        start = layer.kernel_initializer
        again = type(start).from_config({**start.get_config(), "seed": 1_000 * seed + number})
        layer.kernel.assign(again(layer.kernel.shape))


def _as_published(kind: str) -> Any:
    """A fixed 1x1 convolution from [0, 1] to the numbers that the published weights expect."""
    if kind == "inception_resnet_v2":  # -1 to 1
        kernel, bias = 2 * np.eye(3), -np.ones(3)
    else:  # blue, green and red from 0 to 255, less their means
        kernel, bias = 255 * np.eye(3)[::-1], -np.array(_MEANS)
    layer = layers.Conv2D(3, 1, trainable=False, name="as_published")
    layer.build((None, None, None, 3))
    layer.set_weights([kernel[None, None].astype(np.float32), bias.astype(np.float32)])
    return layer


def _load(network: Any, weights: str, kind: str) -> None:
    if not os.path.isfile(weights):
        raise ModelError(
            f"The file of weights {weights!r} is not there; expected one for {kind} without its top, on this machine: "
            "nothing is downloaded."
        )
    try:
        network.load_weights(weights)
    except Exception as error:  # h5py and Keras raise almost anything on files of another kind
        raise ModelError(
            f"The file {weights!r} does not hold the weights of {kind} without its top ({str(error)[:200]})."
        ) from error
