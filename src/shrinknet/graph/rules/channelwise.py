"""Channelwise operations: each channel has its own weights or statistics, which are cut with it."""

from __future__ import annotations

import numpy as np
from keras import layers
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from shrinknet.graph.calls import Call, rule
from shrinknet.graph.rules.common import activated, channel_axis, places


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise_convolution(call: Call) -> list[np.ndarray]:
    """Each channel makes `depth_multiplier` outputs of its own; kernel: (kernel axes, channels, multiplier)."""
    layer, axis = call.operation, channel_axis(call.operation)
    channels = call.channels(0, axis)
    outputs = np.repeat(channels, layer.depth_multiplier)
    call.multiplies(layer.kernel, places(call.output_shapes[0], axis))
    call.owns(layer.kernel, -2, channels)
    call.owns(layer.bias, -1, outputs)
    return activated(call, call.spread(outputs, axis), layer.activation)


@rule(layers.BatchNormalization, pointwise=True)
def batch_normalization(call: Call) -> list[np.ndarray]:
    """One scale, offset and pair of statistics for each channel of its axis; more of them with `renorm`."""
    layer = call.operation
    channels = call.channels(0, layer.axis)
    variables = [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]
    if getattr(layer, "renorm", False):
        variables += [layer.moving_stddev, layer.renorm_mean, layer.renorm_stddev]
    for variable in variables:
        call.owns(variable, 0, channels)
    return [call.labels[0]]


@rule(layers.LayerNormalization)
def layer_normalization(call: Call) -> list[np.ndarray]:
    """Statistics over all channels; the switched layer takes them over the enabled ones, as the slim layer will."""
    layer = call.operation
    axes = [axis % len(call.shapes[0]) for axis in np.atleast_1d(layer.axis)]
    if len(call.shapes[0]) - 1 not in axes or layer.rms_scaling:
        return call.opaque(f"{call.path} normalises in a way for which there is no rule")
    channels = call.channels(0)
    for variable in (layer.gamma, layer.beta):
        call.owns(variable, -1, channels)
    call.averages(channels)
    return [call.labels[0]]


def _last_axis(call: Call) -> bool:
    rank = len(call.shapes[0])
    return [axis % rank for axis in np.atleast_1d(call.operation.axis)] == [rank - 1]


@rule(layers.RMSNormalization)
def rms_normalization(call: Call) -> list[np.ndarray]:
    """Like layer normalisation, but divides by the root mean square."""
    layer = call.operation
    if not _last_axis(call):
        return call.opaque(f"{call.path} normalises in a way for which there is no rule")
    channels = call.channels(0)
    call.owns(layer.scale, 0, channels)
    call.averages(channels)
    return [call.labels[0]]


@rule(layers.UnitNormalization)
def unit_normalization(call: Call) -> list[np.ndarray]:
    """Like layer normalisation, but divides by the root of the sum of squares."""
    if not _last_axis(call):
        return call.opaque(f"{call.path} normalises in a way for which there is no rule")
    call.averages(call.channels(0))
    return [call.labels[0]]


@rule(layers.GroupNormalization)
def group_normalization(call: Call) -> list[np.ndarray]:
    """Loses whole norm groups, or the same position in every group: whichever ties fewer channels together."""
    layer = call.operation
    if not _last_axis(call):
        return call.opaque(f"{call.path} normalises in a way for which there is no rule")
    channels = call.channels(0)
    groups = channels.reshape(layer.groups, -1)
    if layer.groups <= groups.shape[1]:
        call.book.tie(groups, groups[:1])
    else:
        call.book.tie(groups, groups[:, :1])
        call.counts("groups", groups[:, 0])
    for variable in (layer.gamma, layer.beta):
        call.owns(variable, 0, channels)
    call.averages(channels)
    return [call.labels[0]]


@rule(layers.PReLU)
def prelu(call: Call) -> list[np.ndarray]:
    """One slope for each channel; alpha: the input's shape without the batch axis, shared axes of size 1."""
    alpha, labels = call.operation.alpha, call.labels[0]
    for axis, count in enumerate(labels.shape):
        if count > 1 and alpha.shape[axis - 1] > 1:
            call.owns(alpha, axis - 1, call.channels(0, axis))
    return [labels]


@rule(LayerScale, pointwise=True)
def layer_scale(call: Call) -> list[np.ndarray]:
    """One factor for each channel."""
    channels = call.channels(0)
    call.owns(call.operation.gamma, 0, channels)
    call.counts("projection_dim", channels)
    return [call.labels[0]]


@rule(StochasticDepth, pointwise=True)
def stochastic_depth(call: Call) -> list[np.ndarray]:
    """Drops the residual branch of whole samples."""
    return [call.labels[0]]


@rule(CustomScaleLayer)
def custom_scale(call: Call) -> list[np.ndarray]:
    """Adds a scaled residual."""
    return [call.tied()]
