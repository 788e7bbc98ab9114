"""Products: the multiply-adds of operations without filters to cut: attention, recurrence, matrix products.

Those of layers with filters come from the rules of the channel graph; the operations here have no such rule. All
numbers are for one sample: the first axis of every tensor is the batch axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import KerasTensor, layers
from keras.src.ops import numpy as operations

from shrinknet.graph.calls import Call, registered
from shrinknet.graph.rules.common import einsum_size

Sizes = tuple[Any, ...]


def multiply_adds(call: Call) -> int | None:
    """Multiply-adds of one call of such an operation; 0 if it multiplies by no matrix, None if that is unknown.

    Raises:
        TypeError: a required size is undefined.
    """
    formula = _FORMULAS.get(getattr(type(call.operation), "plain_class", type(call.operation)))
    if formula is not None:
        return formula(call)
    known = registered(type(call.operation))
    if known is not None and not known.reads and not call.refused:
        return 0
    shapes = [tuple(weight.shape) for weight in getattr(call.operation, "weights", ())]
    return None if any(sum(size > 1 for size in shape) > 1 for shape in shapes) else 0  # (1, 1, channels) is a vector


def _shapes(call: Call) -> list[Sizes]:
    """The shapes of the inputs, tensors and constant arrays, in the order of the arguments."""
    known = {id(tensor): shape for tensor, shape in zip(call.arguments.keras_tensors, call.shapes, strict=True)}
    values = [*call.arguments.args, *call.arguments.kwargs.values()]
    flat = [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]
    return [
        known[id(value)] if isinstance(value, KerasTensor) else tuple(value.shape)
        for value in flat
        if hasattr(value, "shape")
    ]


def _size(sizes: Sizes) -> int:
    return math.prod(sizes, start=1)


def _matmul(call: Call) -> int:
    return _size(call.output_shapes[0][1:]) * _shapes(call)[0][-1]


def _tensordot(call: Call) -> int | None:
    axes = getattr(call.operation, "axes", 2)
    if not isinstance(axes, int):
        return None
    return _size(call.output_shapes[0][1:]) * _size(_shapes(call)[0][-axes:] if axes else ())


def _dot(call: Call) -> int:
    axes = call.operation.axes
    first = axes if isinstance(axes, int) else axes[0]
    return _size(call.output_shapes[0][1:]) * _shapes(call)[0][first]


def _einsum(call: Call) -> int | None:
    return einsum_size(call.operation.subscripts, _shapes(call))


def _einsum_dense(call: Call) -> int | None:
    layer = call.operation
    return einsum_size(layer.equation, [call.shapes[0], tuple(layer.kernel.shape)])


def _attention(call: Call) -> int:
    """Scores between queries and keys, and values weighted by them."""
    query, value, *key = _shapes(call)
    return query[-2] * value[-2] * ((key[0] if key else value)[-1] + value[-1])


def _multi_head(call: Call) -> int:
    layer, (query, value, *key) = call.operation, _shapes(call)[:3]
    heads, width, value_width = layer.num_heads, layer.key_dim, layer.value_dim
    queries, keys = _size(query[1:-1]), _size(value[1:-1])
    read = (key[0] if key else value)[-1] * width + value[-1] * value_width
    projections = queries * query[-1] * width + keys * read
    mixed = queries * keys * (width + value_width)
    return heads * (projections + mixed + queries * value_width * call.output_shapes[0][-1])


_FORMULAS: dict[type, Callable[[Call], int | None]] = {
    operations.Matmul: _matmul,
    operations.Dot: _matmul,
    operations.Tensordot: _tensordot,
    operations.Einsum: _einsum,
    layers.Dot: _dot,
    layers.EinsumDense: _einsum_dense,
    layers.Attention: _attention,
    layers.MultiHeadAttention: _multi_head,
    layers.Embedding: lambda call: 0,  # a lookup
}
