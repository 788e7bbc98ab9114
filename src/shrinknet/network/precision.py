"""Precision: products in full float32 while networks are compared; GPUs use 10 bits of mantissa by default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """While the block lasts, convolutions and products of matrices are computed in float32, not in TF32."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from shrinknet.network.precision_tensorflow import without_tf32

        with without_tf32():
            yield
    elif backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    else:
        yield
