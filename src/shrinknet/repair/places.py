"""Places: which place of its input each tap of a kernel reads for each place of the output.

The layer itself is asked, with kernels of a single one on inputs that hold the numbers of their places. So strides,
dilation, every kind of padding and transposed convolution need no formulas of our own.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.network.assembling import plain_class

TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_DIGIT = 256  # numbers below it survive any format that hardware multiplies in


def places(layer: Any, sizes: tuple[int, ...]) -> np.ndarray:
    """The place that each tap reads, or -1 where it reads padding or nothing.

    Args:
        layer: a convolution, transposed or not.
        sizes: of the input's axes of place, without batch and channels.

    Returns:
        int, shape (places of the output, taps), both in row-major order; entries number the places of the input.
    """
    kind = plain_class(type(layer))
    padding = getattr(layer, "output_padding", None) if kind in TRANSPOSED else None
    return _places(kind, layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate, padding, sizes)


@functools.lru_cache(maxsize=256)
def _places(
    kind: Any, kernel_size: Any, strides: Any, padding: str, dilation: Any, output_padding: Any, sizes: tuple[int, ...]
) -> np.ndarray:
    taps, count = math.prod(kernel_size), math.prod(sizes)
    settings = {"strides": strides, "padding": padding, "dilation_rate": dilation, "use_bias": False}
    settings |= {"data_format": "channels_last", "dtype": "float32"}
    if kind in TRANSPOSED:
        settings["output_padding"] = output_padding
    if kind in (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D):
        probe = kind(kernel_size, depth_multiplier=taps, **settings)
    else:
        probe = kind(taps, kernel_size, **settings)
    numbers = np.arange(1, count + 1).reshape(1, *sizes, 1)  # 0 is what padding reads
    digits = range(math.ceil(math.log(count + 1, _DIGIT)))
    planes = np.concatenate([numbers // _DIGIT**digit % _DIGIT for digit in digits])
    probe.build(planes.shape)
    probe.kernel.assign(np.eye(taps, dtype="float32").reshape(probe.kernel.shape))
    read = np.rint(ops.convert_to_numpy(probe(planes.astype("float32")))).astype(np.int64)
    total = sum(read[digit] * _DIGIT**digit for digit in digits)
    table: np.ndarray = np.asarray(total).reshape(-1, taps) - 1
    table.setflags(write=False)  # it is shared by everyone who asks
    return table
