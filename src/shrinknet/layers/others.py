"""Switched layers that only produce channels, or only read them and produce none that can be cut."""

from typing import Any

import keras

from shrinknet.layers.base import Switched

_registered: Any = keras.saving.register_keras_serializable("shrinknet")


@_registered
class SwitchedEmbedding(Switched, keras.layers.Embedding):
    """Embedding with a switch for each dimension of its vectors; embeddings: (tokens, dimensions)."""


@_registered
class SwitchedEinsumDense(Switched, keras.layers.EinsumDense):
    """EinsumDense whose kernel reads the last axis of its input."""


class _Recurrent(Switched, abstract=True):
    """Recurrent layers read the channels of their inputs with the cell's input kernel: (channels in, units x gates)."""

    @property
    def input_kernel(self: Any) -> Any:
        """The kernel that multiplies the inputs."""
        return self.cell.kernel


@_registered
class SwitchedLSTM(_Recurrent, keras.layers.LSTM):
    """LSTM that does not read disabled channels."""


@_registered
class SwitchedGRU(_Recurrent, keras.layers.GRU):
    """GRU that does not read disabled channels."""


@_registered
class SwitchedSimpleRNN(_Recurrent, keras.layers.SimpleRNN):
    """SimpleRNN that does not read disabled channels."""
