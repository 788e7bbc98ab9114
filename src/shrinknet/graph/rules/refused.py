"""Refused: operations that mix channels so that nothing can be cut out of them exactly; each with its reason."""

from __future__ import annotations

import numpy as np
from keras import layers

from shrinknet.graph.calls import Call, rule


def unknown(call: Call) -> list[np.ndarray]:
    """An operation without a rule stops everything that goes in or comes out."""
    return call.opaque(f"it meets {call.kind} {call.path}, which has no rule")


@rule(layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
def attention(call: Call) -> list[np.ndarray]:
    """Products between channels decide where to look."""
    return call.opaque(f"the attention {call.path} mixes its channels")


@rule(layers.SpectralNormalization)
def spectral_normalization(call: Call) -> list[np.ndarray]:
    """In training it divides its layer's kernel by a norm of the whole kernel."""
    return call.opaque(f"{call.path} normalises by a norm of the whole kernel, which would change with a filter")


@rule(
    layers.RNN, layers.Bidirectional, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D,
)  # fmt: skip
def recurrent(call: Call) -> list[np.ndarray]:
    """Feeds its own channels back into itself."""
    return call.opaque(f"the recurrent layer {call.path} feeds its channels back into itself")
