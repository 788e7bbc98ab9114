"""Switched normalisations over channels: they compute statistics over the live channels, as the slim network will.

The formulas are those of Keras 3, against which `slim` compares. Batch normalisation treats each channel by itself and
needs no switches.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shrinknet.graph.rules.reducing import live_mean
from shrinknet.layers.base import LiveChannels

_registered: Any = keras.saving.register_keras_serializable("shrinknet")


class LiveStatistics(LiveChannels, abstract=True):
    """What switched normalisations have in common: a switch for each channel that they average over."""

    @classmethod
    def suits(cls, layer: Any) -> bool:
        """Whether it normalises over the last axis only; for `LayerNormalization`, other axes may be included."""
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        rank = len(layer.get_build_config()["input_shape"]) if layer.built and layer.get_build_config() else None
        last = [axis == -1 or (rank is not None and axis == rank - 1) for axis in axes]
        return (
            len(axes) == 1 and all(last)
            if cls is not SwitchedLayerNormalization
            else (any(last) and not getattr(layer, "rms_scaling", False))
        )

    def live_mean(self: Any, x: Any, axes: Any, split: tuple[int, ...] = ()) -> Any:
        """As the function, of the layer's live channels; `split`: their shape if they were split into groups."""
        return live_mean(x, ops.reshape(self.live, split or (-1,)), axes)


def _precise(x: Any) -> Any:
    """The tensor in float32 or better, as in Keras."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


@_registered
class SwitchedLayerNormalization(LiveStatistics, keras.layers.LayerNormalization):
    """LayerNormalization over the live channels."""

    def call(self: Any, inputs: Any) -> Any:
        x = _precise(inputs)
        axes = sorted(axis % x.ndim for axis in ([self.axis] if isinstance(self.axis, int) else self.axis))
        shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
        x = x - self.live_mean(x, axes)
        x = x * ops.rsqrt(self.live_mean(ops.square(x), axes) + self.epsilon)
        x = x if self.gamma is None else x * ops.reshape(ops.cast(self.gamma, x.dtype), shape)
        x = x if self.beta is None else x + ops.reshape(ops.cast(self.beta, x.dtype), shape)
        return ops.cast(x, self.compute_dtype)


@_registered
class SwitchedRMSNormalization(LiveStatistics, keras.layers.RMSNormalization):
    """RMSNormalization over the live channels."""

    def call(self: Any, x: Any) -> Any:
        precise = _precise(x)
        scaled = precise * ops.rsqrt(self.live_mean(ops.square(precise), (-1,)) + self.epsilon)
        return ops.cast(scaled * ops.cast(self.scale, scaled.dtype), self.compute_dtype)


@_registered
class SwitchedUnitNormalization(LiveStatistics, keras.layers.UnitNormalization):
    """UnitNormalization over the live channels."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.built = False  # the plain layer needs no building; the switches do

    def build(self: Any, input_shape: Any) -> None:
        self.add_switches(input_shape)
        self.built = True

    def call(self: Any, inputs: Any) -> Any:
        live = self.live
        if inputs.shape[-1] != live.shape[0]:  # it is also applied to another number of channels, which are never cut
            return super().call(inputs)
        square = ops.sum(ops.where(live, ops.square(inputs), ops.zeros((), inputs.dtype)), axis=-1, keepdims=True)
        return inputs * ops.minimum(ops.rsqrt(square), 1e12)


@_registered
class SwitchedGroupNormalization(LiveStatistics, keras.layers.GroupNormalization):
    """GroupNormalization over the live channels of each group."""

    def call(self: Any, inputs: Any) -> Any:
        x = _precise(inputs)
        split = (self.groups, x.shape[-1] // self.groups)
        x = ops.reshape(x, (*ops.shape(x)[:-1], *split))
        axes = (*range(1, x.ndim - 2), x.ndim - 1)
        x = x - self.live_mean(x, axes, split)
        x = x * ops.rsqrt(self.live_mean(ops.square(x), axes, split) + self.epsilon)
        x = ops.reshape(x, ops.shape(inputs))
        x = x * ops.cast(self.gamma, x.dtype) if self.scale else x
        x = x + ops.cast(self.beta, x.dtype) if self.center else x
        return ops.cast(x, self.compute_dtype)
