"""Switched reductions: operations such as `ops.mean(x, axis=-1)`, as layers that count live channels only.

In the slim network they are Keras's own operations again.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np

from shrinknet.graph.rules.reducing import NEUTRAL, counts_channels, reduced
from shrinknet.internals import first_input
from shrinknet.layers.base import LiveChannels

_LAYERS: dict[type, type[Reduction]] = {}


class Reduction(LiveChannels, keras.layers.Layer, abstract=True):
    """An operation over the last axis of its input, and perhaps over others.

    Args:
        settings: arguments of the operation.
    """

    plain_class: ClassVar[type]
    reads, count = (), None

    def __init__(self, settings: dict[str, Any], **arguments: Any) -> None:
        super().__init__(autocast=False, **arguments)
        self.settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        self.supports_masking = True

    @classmethod
    def of(cls, operation: Any) -> Reduction:
        """The layer that does what an operation does."""
        return cls(_settings(operation), name=operation.name)

    @property
    def axis(self) -> Any:
        """The axes that it reduces."""
        return self.settings["axis"]

    @property
    def keepdims(self) -> bool:
        """Whether they stay, of size 1."""
        return bool(self.settings["keepdims"])

    def plain(self) -> Any:
        """The operation, on all channels."""
        operation: Any = self.plain_class(**{**self.settings, "axis": tuple(self.axis)})  # JAX wants no list
        operation.name = self.name
        return operation

    def build(self, input_shape: Any) -> None:
        self.add_switches(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        """The result of the live channels."""
        if x.shape[-1] != self.live.shape[0]:  # it is also applied to another number of channels, which are never cut
            return self.plain()(x)
        return reduced(self.plain(), x, self.live)

    def compute_mask(self, *arguments: Any, **keywords: Any) -> None:
        """An operation hands no mask on."""

    def get_config(self) -> Any:
        return {**super().get_config(), "settings": self.settings}


def reduction_of(operation: Any) -> Reduction | None:
    """The layer that takes the place of an operation over channels; None for any other operation."""
    if type(operation) not in _LAYERS:
        return None
    tensor = first_input(operation)
    if not counts_channels(operation, tuple(tensor.shape), tensor.dtype):
        return None
    return _LAYERS[type(operation)].of(operation)


def _settings(operation: Any) -> dict[str, Any]:
    axes = [int(axis) for axis in np.atleast_1d(operation.axis)]
    order = {"ord": operation.ord} if hasattr(operation, "ord") else {}
    return {"axis": axes, "keepdims": bool(operation.keepdims), **order}


def _layer(kind: type) -> type[Reduction]:
    names = {"plain_class": kind, "__module__": __name__, "__doc__": f"{kind.__name__} over the live channels."}
    made = type(f"Switched{kind.__name__}", (Reduction,), names, abstract=True)
    return keras.saving.register_keras_serializable("shrinknet")(made)


_LAYERS.update({kind: _layer(kind) for kind in NEUTRAL})
