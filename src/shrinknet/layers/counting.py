"""Counting: a layer of the user's own that takes statistics over channels, run over the live channels only.

In the slim network it is the user's layer again, with fewer channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from shrinknet.graph.calls import Call, registered, rule
from shrinknet.graph.probing import probed_rule
from shrinknet.graph.replaying import replay_of
from shrinknet.layers.base import LiveChannels


@keras.saving.register_keras_serializable("shrinknet")
class Counting(LiveChannels, keras.layers.Layer, abstract=True):
    """Runs a layer over the live channels of the last axis of its input; see `Replay`.

    Args:
        layer: the user's layer.
        axes, entry: as in `probed_rule`; axes None: a rule is registered for the layer's class.
    """

    reads, count = (), None

    def __init__(self, layer: Any, axes: Sequence[int] | None, entry: str | None, **arguments: Any) -> None:
        super().__init__(dtype=layer.dtype_policy, autocast=layer.autocast, **arguments)
        self.layer, self.axes, self.entry = layer, axes, entry

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        self.add_switches(input_shape)
        replay = replay_of(self.layer, (None, *input_shape[1:]), self.compute_dtype)
        object.__setattr__(self, "_replay", replay)  # past Keras, which would see the recorded model as a layer of this
        self.built = True

    def call(self, x: Any, training: Any = None) -> Any:
        """The output for the live channels, the same in training."""
        return self._replay(x, self.live)

    def get_config(self) -> Any:
        own = {"layer": keras.saving.serialize_keras_object(self.layer), "axes": self.axes, "entry": self.entry}
        config = super().get_config()
        del config["dtype"]  # it is that of the layer
        return {**config, **own}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**{**config, "layer": keras.saving.deserialize_keras_object(config["layer"])})


@rule(Counting)
def counting(call: Call) -> list[np.ndarray]:
    """As the layer inside, whose statistics are now taken over the live channels."""
    layer, book = call.operation.layer, call.book
    before = len(book.averages)
    inner = replace(call, operation=layer)
    if call.operation.axes is not None:
        labels = probed_rule(inner, axes=call.operation.axes, entry=call.operation.entry, averages=True)
    else:
        labels = list(registered(type(layer)).rule(inner))  # type: ignore[union-attr]
    book.averages[before:] = [(call.operation, channels, needs) for _, channels, needs in book.averages[before:]]
    return labels
