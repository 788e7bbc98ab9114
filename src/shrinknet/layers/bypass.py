"""Bypass: where the 1 stands in a kernel that hands a layer's input on."""

from __future__ import annotations

from typing import Any

import keras

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def identity_place(layer: Any) -> tuple[int, ...] | None:
    """The kernel's place that meets the number at the output's own place, one index for each kernel axis.

    None where the layer is no convolution or dense layer, or its shape of output never is that of its input.
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
    if any((size - 1) * rate % 2 for size, rate in dilated):  # its middle lies between two numbers
        return None
    return tuple((size - 1) // 2 for size in layer.kernel_size)
