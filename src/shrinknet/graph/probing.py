"""Probing: finds out what a layer without a rule does with its channels, by calling it on random inputs.

Layers that treat each channel by itself, with one weight per channel or one for all, are common: every model library
has its own layer scale, or its own pooling. Such a layer is called with inputs in which some channels are changed. If
only these channels change in the output, in inference and in training, and if on fewer channels it gives what it gave
for these, it can be cut. The last excludes what depends on the number or the places of its channels, such as numbers
drawn at random.

So are layers that take statistics over their channels, such as a normalization written by hand. If the call can be
recorded, and the record run over some of the channels gives what the layer gives if it has only these, it can be cut.

Meanwhile the weights are moved by random numbers: scales that start as 0 or 1 say nothing of what a layer does.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from shrinknet.comparing import difference
from shrinknet.graph.calls import Call, Registered, registered
from shrinknet.graph.replaying import replay_of
from shrinknet.internals import adds_losses, as_before, layers_of, own_variables

SIZE = 8  # stands in for open sizes
_TRIES = 3
TOLERANCE = 1e-3  # of the scale; half precision too rounds to less than that


def probed(operation: Any, node: Any) -> Registered | None:
    """The rule of a layer that treats each channel by itself, or takes statistics over them; None for any other.

    Args:
        operation: a built layer that has no rule and contains no other layers with weights; node: Keras's record of one
            of its calls.
    """
    tensors, outputs = node.arguments.keras_tensors, node.outputs
    if (
        not isinstance(operation, keras.layers.Layer)
        or isinstance(operation, keras.Model)
        or registered(type(operation)) is not None
        or len(tensors) != 1
        or len(outputs) != 1
        or not operation.built
        or any(layer.variables for layer in layers_of(operation) if layer is not operation)
        or not keras.backend.is_float_dtype(tensors[0].dtype)
        or len(tensors[0].shape) < 2
        or len(outputs[0].shape) < 2
        or tensors[0].shape[-1] != outputs[0].shape[-1]
        or tensors[0].shape[-1] in (None, 1)
    ):
        return None
    channels = int(tensors[0].shape[-1])
    axes = [_axis(variable, channels) for variable in own_variables(operation)]
    if None in axes:
        return None
    probe = _Probe(operation, node, [axis for axis in axes if axis is not None])
    try:
        with _moved(operation):
            entry, averages = probe.by_channel(), False
            if entry is False:
                entry, averages = probe.over_channels(), True
    except Exception:  # a third-party layer may raise anything; it then has no rule
        return None
    if entry is False:
        return None
    found: dict[str, Any] = {"axes": probe.axes, "entry": entry}
    rule = functools.partial(probed_rule, **found, averages=averages)
    return Registered(rule, pointwise=probe.keeps_shape and not averages, found=found)


def probed_rule(call: Call, *, axes: Sequence[int], entry: str | None, averages: bool = False) -> list[np.ndarray]:
    """The rule of a layer that was probed.

    Args:
        axes: for each of its weights, the axis with one entry per channel; -1 for a single number.
        entry: the key of its configuration that holds the number of channels; None if it follows its input.
        averages: whether it takes statistics over its channels.
    """
    labels = call.channels(0)
    for variable, axis in zip(own_variables(call.operation), axes, strict=True):
        if axis >= 0:
            call.owns(variable, axis, labels)
    if entry is not None:
        call.counts(entry, labels)
    if averages:
        call.averages(labels)
    keeps = call.output_shapes[0][1:] == call.shapes[0][1:]
    return [call.labels[0] if keeps else call.spread(labels)]


@contextlib.contextmanager
def _moved(layer: Any) -> Iterator[None]:
    """While the block lasts, random numbers from 0.1 to 0.6 are added to the weights."""
    random = np.random.default_rng(1)
    before = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in own_variables(layer)]
    try:
        for variable, value in before:
            if keras.backend.is_float_dtype(variable.dtype):
                variable.assign(value + random.uniform(0.1, 0.6, value.shape))
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _axis(variable: Any, channels: int) -> int | None:
    """The axis of a variable that has one entry per channel; -1 for a single number; None if it is neither."""
    sizes = [axis for axis, size in enumerate(variable.shape) if size == channels]
    others = [size for size in variable.shape if size not in (1, channels)]
    if len(sizes) == 1 and not others:
        return sizes[0]
    return -1 if all(size == 1 for size in variable.shape) else None


class _Probe:
    """What calls of a layer tell about it.

    Args:
        layer: with one input and no other layers inside; node: Keras's record of a call; axes: as in `probed_rule`.
    """

    def __init__(self, layer: Any, node: Any, axes: Sequence[int]) -> None:
        self.layer, self.node, self.axes = layer, node, axes
        self.tensor = node.arguments.keras_tensors[0]
        self.channels = int(self.tensor.shape[-1])
        self.shape = (2, *(size or SIZE for size in self.tensor.shape[1:]))
        self.keeps_shape = tuple(self.tensor.shape[1:]) == tuple(node.outputs[0].shape[1:])
        self.x = np.random.default_rng(0).normal(size=self.shape).astype("float32")

    def by_channel(self) -> str | Literal[False] | None:
        """If each output channel depends only on the same input channel, the key of the configuration as in `entry`.

        False if not.
        """
        random = np.random.default_rng(0)
        for training in (False, True):
            before = self.call(self.layer, self.x, training)
            if before is None or before.shape[-1] != self.channels or not np.isfinite(before).all():
                return False
            for _ in range(_TRIES):
                changed = random.random(self.channels) < 0.5
                other = np.where(changed, random.normal(0, 4, self.shape), self.x).astype("float32")
                after = self.call(self.layer, other, training)
                if after is None or not np.array_equal(after[..., ~changed], before[..., ~changed]):
                    return False
        whole = self.call(self.layer, self.x, False)
        return self.entry(np.arange(self.channels) > 0, whole)

    def over_channels(self) -> str | Literal[False] | None:
        """If the layer's call can be run over some channels only, the key of the configuration; False if not."""
        arguments = self.node.arguments
        if (
            not self.keeps_shape
            or len(arguments.args) != 1
            or set(arguments.kwargs) - {"training"}
            or self._differs_in_training()
        ):
            return False
        if self.layer.activity_regularizer is not None or adds_losses(self.layer):
            return False
        replay = replay_of(self.layer, tuple(self.tensor.shape), self.tensor.dtype)
        if not replay.averages:
            return False
        random = np.random.default_rng(0)
        found = set()
        for count in {self.channels - 1, max(self.channels // 2, min(2, self.channels - 1))}:
            live = random.permutation(self.channels) < count
            found.add(self.entry(live, self.array(replay(self.given(self.x), ops.convert_to_tensor(live)))))
        return found.pop() if len(found) == 1 else False

    def _differs_in_training(self) -> bool:
        if not self.layer._call_has_training_arg:
            return False
        one, other = (self.call(self.layer, self.x, training) for training in (False, True))
        return one is None or other is None or not np.array_equal(one, other)

    def entry(self, live: np.ndarray, whole: np.ndarray | None) -> str | Literal[False] | None:
        """The key of the configuration that holds the width of the layer; None if the width follows the input.

        False if with neither the layer gives, on live channels alone, what `whole` has there.
        """
        variables = own_variables(self.layer)
        if not variables:
            return None if self.agrees(self.layer, live, whole) else False
        config = self.layer.get_config()
        shape = (self.layer.get_build_config() or {}).get("input_shape")
        if shape is None:
            return False
        width = int(live.sum())
        narrow = (*shape[:-1], width)
        values = [
            value if axis < 0 else np.compress(live, value, axis)
            for axis, value in zip(self.axes, map(ops.convert_to_numpy, variables), strict=True)
        ]
        for name in (None, *(name for name, value in config.items() if value == self.channels)):
            new = type(self.layer).from_config({**config, **({name: width} if name else {})})
            try:
                new.build(narrow)
                new(np.zeros((1, *(size or SIZE for size in narrow[1:])), "float32"))
            except Exception:  # a width that does not fit its input
                continue
            if [tuple(variable.shape) for variable in own_variables(new)] != [value.shape for value in values]:
                continue
            for variable, value in zip(own_variables(new), values, strict=True):
                variable.assign(value)
            return name if self.agrees(new, live, whole) else False
        return False

    def agrees(self, narrow: Any, live: np.ndarray, whole: np.ndarray | None) -> bool:
        """Whether in inference `narrow` gives for the live channels alone what `whole` has there."""
        part = self.call(narrow, self.x[..., live], False)
        if whole is None or part is None or part.shape != whole[..., live].shape:
            return False
        return difference(whole[..., live], part) <= TOLERANCE

    def call(self, layer: Any, x: np.ndarray, training: bool) -> np.ndarray | None:
        """The output for these numbers; the layer's statistics and seeds are restored."""
        arguments, keywords = self.node.arguments.fill_in({id(self.tensor): self.given(x)})
        if layer._call_has_training_arg:
            keywords = {**keywords, "training": training}
        with as_before(layer):
            return self.array(layer(*arguments, **keywords))

    def given(self, x: np.ndarray) -> Any:
        """These numbers in the type of the input."""
        return ops.cast(ops.convert_to_tensor(x), self.tensor.dtype)

    def array(self, output: Any) -> np.ndarray:
        """An output as numbers."""
        return np.asarray(ops.convert_to_numpy(ops.cast(output, "float32")))
