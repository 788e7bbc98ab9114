"""Refused operations: they mix channels so that none can be cut exactly; each gives its reason."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.ops import numpy as numpy_ops

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import classes


def unknown(call: Call) -> list[np.ndarray]:
    """Nothing that goes into or comes out of an operation without a rule can be cut."""
    return call.opaque(f"it is connected to {call.kind} {call.path}, which has no rule")


@rule(layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
def attention(call: Call) -> list[np.ndarray]:
    """Attention scores are products summed over channels."""
    return call.opaque(f"the attention {call.path} mixes its channels")


@rule(*classes(numpy_ops, "Matmul Dot Tensordot Vdot Inner Outer Kron Cross Einsum"))
def product(call: Call) -> list[np.ndarray]:
    """Each number of one tensor meets many of the other, as in an attention that is written out."""
    return call.opaque(f"the product {call.path} mixes its channels with those of another tensor")


@rule(layers.SpectralNormalization)
def spectral_normalization(call: Call) -> list[np.ndarray]:
    """In training it divides the kernel of its layer by a norm of the whole kernel."""
    return call.opaque(f"{call.path} divides by a norm of the whole kernel, which would change with every cut")
