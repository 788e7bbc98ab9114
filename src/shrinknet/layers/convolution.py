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
