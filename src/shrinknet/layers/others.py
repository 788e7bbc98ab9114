"""Switched layers that only produce channels, or only read them and produce none that can be cut."""

from typing import Any

import keras

from shrinknet.graph.rules.readers import CELLS, input_cells
from shrinknet.layers.base import Switched

_registered: Any = keras.saving.register_keras_serializable("shrinknet")


@_registered
class SwitchedEmbedding(Switched, keras.layers.Embedding):
    """Embedding with a switch for each dimension of its vectors; embeddings: (tokens, dimensions)."""


@_registered
class SwitchedEinsumDense(Switched, keras.layers.EinsumDense):
    """EinsumDense whose kernel reads the last axis of its input."""


class _Recurrent(Switched, abstract=True):
    """Recurrent layers read the channels of their inputs with a cell's input kernel: (channels in, units x gates)."""

    @classmethod
    def suits(cls, layer: Any) -> bool:
        """Whether its cells are Keras's own."""
        return all(type(cell) in CELLS for cell in input_cells(layer))

    @property
    def input_kernel(self: Any) -> Any:
        """The kernel that multiplies the inputs."""
        return input_cells(self)[0].kernel


@_registered
class SwitchedLSTM(_Recurrent, keras.layers.LSTM):
    """LSTM that does not read disabled channels."""


@_registered
class SwitchedGRU(_Recurrent, keras.layers.GRU):
    """GRU that does not read disabled channels."""


@_registered
class SwitchedSimpleRNN(_Recurrent, keras.layers.SimpleRNN):
    """SimpleRNN that does not read disabled channels."""


@_registered
class SwitchedRNN(_Recurrent, keras.layers.RNN):
    """RNN of one or several of Keras's cells that does not read disabled channels."""


@_registered
class SwitchedBidirectional(_Recurrent, keras.layers.Bidirectional):
    """Bidirectional recurrent layer that does not read disabled channels, in neither direction."""

    @property
    def backward_kernel(self: Any) -> Any:
        """The kernel that multiplies the inputs from the end."""
        return input_cells(self)[1].kernel


class _Convolving(_Recurrent, abstract=True):
    """The input kernel of a convolutional cell: (kernel axes, channels in, filters x gates)."""

    @classmethod
    def suits(cls, layer: Any) -> bool:
        return True


@_registered
class SwitchedConvLSTM1D(_Convolving, keras.layers.ConvLSTM1D):
    """ConvLSTM1D that does not read disabled channels."""


@_registered
class SwitchedConvLSTM2D(_Convolving, keras.layers.ConvLSTM2D):
    """ConvLSTM2D that does not read disabled channels."""


@_registered
class SwitchedConvLSTM3D(_Convolving, keras.layers.ConvLSTM3D):
    """ConvLSTM3D that does not read disabled channels."""
