"""Whether TensorFlow records gradients of variables at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record


def is_recorded(variables: Sequence[Any]) -> bool:
    """Whether a `tf.GradientTape` watches any of these variables of Keras; reading one makes most tapes watch it."""
    if not variables or not record.could_possibly_record():
        return False
    return bool(record.should_record_backprop([tf.convert_to_tensor(variables[0].value)]))


def is_traced(variables: Sequence[Any]) -> bool:
    """Whether a `tf.function` is traced at this moment in which gradients of these variables are recorded."""
    return not tf.executing_eagerly() and is_recorded(variables)
