"""Gradients at tensors inside of a network, with JAX: by what is added to them."""

from __future__ import annotations

from typing import Any


def differentiated(forward: Any) -> tuple[list[Any], list[Any]]:
    """The tensors that `forward` hands to the function it is given, and the gradients of what it returns at them."""
    import jax  # an extra: this file is read where it is not installed, too
    import jax.numpy as jnp

    shapes: list[Any] = []

    def measure(tensor: Any) -> Any:
        shapes.append(jnp.zeros_like(tensor))
        return tensor

    forward(measure)

    def perturbed(added: list[Any]) -> tuple[Any, list[Any]]:
        watched: list[Any] = []

        def watch(tensor: Any) -> Any:
            watched.append(tensor + added[len(watched)])
            return watched[-1]

        return forward(watch), watched

    gradients, watched = jax.grad(perturbed, has_aux=True)(shapes)
    return watched, gradients
