"""The switched dense layer."""

from typing import Any

import keras

from shrinknet.layers.base import Switched

_registered: Any = keras.saving.register_keras_serializable("shrinknet")


@_registered
class SwitchedDense(Switched, keras.layers.Dense):
    """Dense with a switch for each unit; kernel: (channels in, units)."""
