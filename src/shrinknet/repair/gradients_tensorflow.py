"""Gradients at tensors inside of a network, with TensorFlow's tape."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def differentiated(forward: Any) -> tuple[list[Any], list[Any]]:
    """The tensors that `forward` hands to the function it is given, and the gradients of what it returns at them."""
    watched: list[Any] = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def watch(tensor: Any) -> Any:
            tensor = tf.identity(tensor)  # so that what others read of it does not count
            tape.watch(tensor)
            watched.append(tensor)
            return tensor

        result = forward(watch)
    return watched, tape.gradient(result, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
