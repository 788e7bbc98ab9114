"""Bypass: the position of the ones in an identity kernel."""

from __future__ import annotations

from typing import Any

import keras

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def identity_place(layer: Any) -> tuple[int, ...] | None:
    """The kernel position that reads the input at the position of the output, one index for each kernel axis.

    None if the layer is neither a convolution nor a dense layer, or cannot preserve the shape of its input.
    """
    kind = getattr(type(layer), "plain_class", type(layer))
    if kind is keras.layers.Dense:
        return ()
    if kind not in _CONVOLUTIONS or layer.groups != 1 or set(layer.strides) != {1}:
        return None
    if layer.padding == "causal":
        return (layer.kernel_size[0] - 1,)
    if layer.padding != "same" and set(layer.kernel_size) != {1}:
        return None
    dilated = zip(layer.kernel_size, layer.dilation_rate, strict=True)
    if any((size - 1) * rate % 2 for size, rate in dilated):  # the center lies between two positions
        return None
    return tuple((size - 1) // 2 for size in layer.kernel_size)
