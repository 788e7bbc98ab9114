"""Replaying: the call of a layer that computes with its own weights, recorded once, and run over live channels only.

Normalizations that users write are such layers: their call consists of operations on the input and the weights, among
them means over channels. The call is recorded with symbolic tensors in place of the weights, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from shrinknet.errors import ModelError, first_line
from shrinknet.graph.following import recording
from shrinknet.graph.rules.reducing import NEUTRAL, counts_channels, reduced
from shrinknet.internals import nodes_of, own_variables


@dataclass(frozen=True, eq=False)
class Replay:
    """The recorded call of a layer with one input, whose channels lie on the last axis.

    Attributes:
        layer: whose weights are used, as they are at each call.
        names: of the attributes that hold them.
        functional: takes the input and the weights.
        channels: how many the input has.
        averages: whether any operation runs over the channels.
    """

    layer: Any
    names: tuple[str, ...]
    functional: Any
    channels: int

    def __call__(self, x: Any, live: Any) -> Any:
        """The output, in which only live channels mean anything; `live`: bool, shape (channels,)."""
        values = [x, *(ops.convert_to_tensor(getattr(self.layer, name)) for name in self.names)]
        known = dict(zip(map(id, self.functional.inputs), values, strict=True))
        for node in nodes_of(self.functional):
            arguments, keywords = node.arguments.fill_in(known)
            run = self._over_live(node)
            outputs = node.operation(*arguments, **keywords) if not run else reduced(node.operation, arguments[0], live)
            known.update(zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True))
        return known[id(self.functional.outputs[0])]

    @property
    def averages(self) -> bool:
        return any(map(self._over_live, nodes_of(self.functional)))

    def _over_live(self, node: Any) -> bool:
        tensor = node.arguments.keras_tensors[0]
        kind = type(node.operation)
        return (
            kind in NEUTRAL
            and counts_channels(node.operation, tuple(tensor.shape), tensor.dtype)
            and tensor.shape[-1] == self.channels
        )


def replay_of(layer: Any, shape: Any, dtype: Any) -> Replay:
    """Records the call of a built layer on an input of this shape, batch included, and type.

    Raises:
        ModelError: the call cannot be recorded.
    """
    own = {id(variable) for variable in own_variables(layer)}
    held = {
        name: value for name, value in vars(layer).items() if isinstance(value, keras.Variable) and id(value) in own
    }
    if len({id(value) for value in held.values()}) != len(own) or len(held) != len(own):
        raise ModelError("its weights are not all attributes of their own")
    x = keras.Input(batch_shape=shape, dtype=dtype)
    symbols = {name: keras.Input(batch_shape=value.shape, dtype=value.dtype) for name, value in held.items()}
    with recording(layer):
        vars(layer).update(symbols)
        try:
            functional = keras.Model([x, *symbols.values()], layer.call(x))
        except Exception as error:
            raise ModelError(f"its call cannot be followed with symbolic tensors ({first_line(error)})") from error
        finally:
            vars(layer).update(held)
    return Replay(layer, tuple(symbols), functional, shape[-1])
