"""Switched convolutions."""

from typing import Any

import keras

from shrinknet.layers.base import Switched

_registered: Any = keras.saving.register_keras_serializable("shrinknet")


@_registered
class SwitchedConv1D(Switched, keras.layers.Conv1D):
    """Conv1D with a switch for each filter; kernel: (length, channels in, filters)."""


@_registered
class SwitchedConv2D(Switched, keras.layers.Conv2D):
    """Conv2D with a switch for each filter; kernel: (height, width, channels in, filters)."""


@_registered
class SwitchedConv3D(Switched, keras.layers.Conv3D):
    """Conv3D with a switch for each filter; kernel: (depth, height, width, channels in, filters)."""


@_registered
class SwitchedConv1DTranspose(Switched, keras.layers.Conv1DTranspose):
    """Conv1DTranspose with a switch for each filter; kernel: (length, filters, channels in)."""

    own_axis = -2


@_registered
class SwitchedConv2DTranspose(Switched, keras.layers.Conv2DTranspose):
    """Conv2DTranspose with a switch for each filter; kernel: (height, width, filters, channels in)."""

    own_axis = -2


@_registered
class SwitchedConv3DTranspose(Switched, keras.layers.Conv3DTranspose):
    """Conv3DTranspose with a switch for each filter; kernel: (depth, height, width, filters, channels in)."""

    own_axis = -2


@_registered
class SwitchedSeparableConv1D(Switched, keras.layers.SeparableConv1D):
    """SeparableConv1D with a switch for each filter; pointwise kernel: (1, channels in x multiplier, filters)."""


@_registered
class SwitchedSeparableConv2D(Switched, keras.layers.SeparableConv2D):
    """SeparableConv2D with a switch for each filter; pointwise kernel: (1, 1, channels in x multiplier, filters)."""
