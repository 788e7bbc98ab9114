"""Rules of dense networks: what each kind of layer becomes when it is applied to a whole image.

A rule takes an operation and the fields of its inputs. It returns the field of the output and a function that computes
the output from a name for the new layer and the tensors of the whole image. Operations without a rule are refused by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import layers

from shrinknet.applications.avalanche.dense_fields import Field, NotDense, Pair, Sliding, together
from shrinknet.applications.avalanche.dense_layers import SideBySide, SlidingPool

Make = Callable[..., Any]
Rule = Callable[[Any, Sequence[Field], tuple[int, ...]], tuple[Field, Make]]

_IDENTITIES = ("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
               "SpatialDropout1D", "SpatialDropout2D")  # fmt: skip
_ELEMENTWISE = ("ELU", "LeakyReLU", "ReLU")
_MERGES = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
_OPERATIONS = ("Abs", "Absolute", "Add", "Divide", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu",
               "Maximum", "Minimum", "Multiply", "Negative", "Relu", "Relu6", "Sigmoid", "Silu", "Softplus", "Sqrt",
               "Square", "Subtract", "Tanh", "TrueDivide")  # fmt: skip


def rule_for(operation: Any) -> Rule:
    """The rule of a layer or operation.

    Raises:
        NotDense: there is none.
    """
    name = type(operation).__name__
    if not isinstance(operation, layers.Layer):
        if name in _OPERATIONS:
            return _operation
    elif name in _RULES:
        return _RULES[name]
    raise NotDense(f"no rule says what a layer of the kind {name} becomes over a whole image")


def settled(field: Field) -> tuple[Field, Make]:
    """The field with values at several places laid side by side as channels, as the window's tensor has them."""
    if not field.folded:
        return field, _kept
    size = field.extent if field.form == "vector" else (1, field.extent[1])
    found, _ = Sliding(size, (1, 1), (1, 1)).over(field, field.channels * size[0] * size[1], field.form)
    return found, lambda name, tensor: SideBySide(size, field.step)(tensor)


def _convolution(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Conv2D, DepthwiseConv2D and SeparableConv2D: no stride, no padding, dilated."""
    _channels_last(layer)
    (field,) = fields
    sliding = Sliding(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
    found, dilation = sliding.over(field, shape[-1])
    return found, _copied(layer, strides=(1, 1), padding="valid", dilation_rate=dilation)


def _convolution_1d(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Conv1D over rows: a kernel as wide as a row of the window."""
    _channels_last(layer)
    (field,) = fields
    if layer.groups != 1 and field.folded:
        raise NotDense("its groups divide rows that are made of several pixels")
    width = field.extent[1]
    sliding = Sliding((layer.kernel_size[0], width), (layer.strides[0], 1), (layer.dilation_rate[0], 1))
    down = Sliding((layer.kernel_size[0], 1), (layer.strides[0], 1), (layer.dilation_rate[0], 1), layer.padding)
    down.over(replace(field, extent=(field.extent[0], 1)), 1)  # where nothing is padded, "same" is "valid"
    found, dilation = sliding.over(field, layer.filters, "rows")
    return found, _as_conv2d(layer, (layer.kernel_size[0], width), field.channels, dilation)


def _dense(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Dense over what was flattened: a convolution as large as the map; over a map's channels: one of 1x1."""
    field, make = fields[0], None
    if field.form != "vector":
        field, make = settled(field)
    size = field.extent if field.form == "vector" else (1, 1)
    found, dilation = Sliding(size, (1, 1), (1, 1)).over(field, layer.units, field.form)
    return found, _after(make, _as_conv2d(layer, size, field.channels, dilation))


def _pooling(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Max and average pooling, in one or two dimensions."""
    _channels_last(layer)
    field, make = settled(fields[0])
    flat = field.form == "rows"
    size, stride = ((layer.pool_size[0], 1), (layer.strides[0], 1)) if flat else (layer.pool_size, layer.strides)
    sliding = Sliding(tuple(size), tuple(stride), (1, 1), layer.padding)
    found, dilation = sliding.over(field, field.channels, field.form)
    kind = "max" if type(layer).__name__.startswith("Max") else "average"
    return found, _after(make, _sliding_pool(tuple(size), dilation, kind))


def _global_pooling(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Global pooling: one as large as the map."""
    _channels_last(layer)
    field, make = settled(fields[0])
    form = field.form if layer.keepdims else "vector"
    found, dilation = Sliding(field.extent, (1, 1), (1, 1)).over(field, field.channels, form)
    kind = "max" if "Max" in type(layer).__name__ else "average"
    return found, _after(make, _sliding_pool(field.extent, dilation, kind))


def _reshape(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Flatten and Reshape between map, rows and vector: the whole image's tensor stays as it is."""
    (field,) = fields
    (height, width), channels = field.extent, field.channels
    forms = {
        (height, width, channels): "map",
        (height, width * channels): "rows",
        (height * width * channels,): "vector",
    }
    wanted = tuple(shape[1:])
    if wanted not in forms:
        raise NotDense(
            f"it makes {wanted} of a window's {height} x {width} pixels with {channels} channels; rules are there for "
            f"{', '.join(map(str, forms))}"
        )
    return replace(field, form=forms[wanted]), _kept


def _identity(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """What does nothing outside of training."""
    return fields[0], _kept


def _elementwise(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """What treats every value alike."""
    return fields[0], _copied(layer)


def _activation(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Activations of single values, and those over channels."""
    name = getattr(layer.activation, "__name__", str(layer.activation))
    known = ("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "leaky_relu", "linear",
             "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh")  # fmt: skip
    if name in known:
        return _elementwise(layer, fields, shape)
    if name in ("softmax", "log_softmax"):
        return _by_channel(layer, fields, shape)
    raise NotDense(f"nothing is known of its activation {name}")


def _by_channel(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """What treats the channels of one pixel: normalization by moving statistics or over channels, softmax, scales."""
    axis = getattr(layer, "axis", -1)
    axes = [one % len(shape) for one in (axis if isinstance(axis, list | tuple) else [axis])]
    if axes != [len(shape) - 1]:
        raise NotDense(f"it works along the axes {axes} of a window's tensor, and over a whole image only channels can")
    field, make = settled(fields[0])
    return field, _after(make, _copied(layer, **({"axis": -1} if hasattr(layer, "axis") else {})))


def _prelu(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """PReLU with one slope a channel."""
    if any(size != 1 for size in layer.alpha.shape[:-1]):
        raise NotDense("it has a slope for each place in a window; share it over the axes 1 and 2")
    field, make = settled(fields[0])
    values = np.asarray(layer.alpha).reshape(1, 1, -1)

    def build(name: str, tensor: Any) -> Any:
        new = layers.PReLU(shared_axes=[1, 2], name=name)
        new.build(tensor.shape)
        new.set_weights([values])
        return new(tensor)

    return field, _after(make, build)


def _scale(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Rescaling by numbers, or by one number a channel."""
    for values in (layer.scale, layer.offset):
        size = np.shape(values)
        if len(size) > 1 and any(one != 1 for one in size[:-1]):
            raise NotDense("its scale differs within a window")
    field, make = settled(fields[0])
    return field, _after(make, _copied(layer))


def _merge(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Sums, products and the like of branches."""
    found, cuts = together(fields)
    return found, lambda name, *tensors: _renewed(layer, name=name)(
        [cut(one, behind) for one, behind in zip(tensors, cuts, strict=True)]
    )


def _concatenate(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Branches side by side along channels."""
    if layer.axis % len(shape) != len(shape) - 1:
        raise NotDense(f"it joins along the axis {layer.axis} of a window's tensor, and only channels can be joined")
    parts = [settled(field) for field in fields]
    found, cuts = together([field for field, _ in parts])

    def build(name: str, *tensors: Any) -> Any:
        laid = [make(name, tensor) for (_, make), tensor in zip(parts, tensors, strict=True)]
        joined = layers.Concatenate(axis=-1, name=name)
        return joined([cut(one, behind) for one, behind in zip(laid, cuts, strict=True)])

    return replace(found, channels=sum(field.channels for field, _ in parts)), build


def _cropping(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Cropping: the window's values begin later, and so does the whole image's tensor."""
    _channels_last(layer)
    (field,) = fields
    lead = [side[0] * step for side, step in zip(layer.cropping, field.step, strict=True)]
    found = replace(field, extent=(shape[1], shape[2]), margin=(field.margin[0] - lead[0], field.margin[1] - lead[1]))
    return found, lambda name, tensor: layers.Cropping2D(((lead[0], 0), (lead[1], 0)), name=name)(tensor)


def _zero_padding(layer: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """Zeros around the window have no form over the whole image."""
    if any(sum(pad) for pad in layer.padding):
        raise NotDense("it puts zeros around every window where the image goes on")
    return fields[0], _kept


def _operation(operation: Any, fields: Sequence[Field], shape: tuple[int, ...]) -> tuple[Field, Make]:
    """keras.ops of single values, on tensors of one kind and plain numbers."""
    found, cuts = together(fields)
    return found, lambda name, *tensors: [cut(one, behind) for one, behind in zip(tensors, cuts, strict=True)]


def _kept(name: str, tensor: Any) -> Any:
    return tensor


def _sliding_pool(size: Pair, step: Pair, pooling: str) -> Make:
    return lambda name, tensor: SlidingPool(size, step, pooling, name=name)(tensor)


def _channels_last(layer: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise NotDense("it has channels first; rules are there for channels last")


def cut(tensor: Any, behind: Pair) -> Any:
    """A tensor without its last rows and columns."""
    return layers.Cropping2D(((0, behind[0]), (0, behind[1])))(tensor) if any(behind) else tensor


def _after(first: Make | None, then: Make) -> Make:
    return then if first is None else lambda name, tensor: then(name, first(name, tensor))


def _renewed(layer: Any, **changes: Any) -> Any:
    return type(layer).from_config({**layer.get_config(), **changes})


def _copied(layer: Any, **changes: Any) -> Make:
    """A function that applies a copy of the layer, with its weights and with changes of its configuration."""

    def build(name: str, tensor: Any) -> Any:
        new = _renewed(layer, name=name, **changes)
        found = new(tensor)
        new.set_weights(layer.get_weights())
        return found

    return build


def _as_conv2d(layer: Any, size: Pair, channels: int, dilation: Pair) -> Make:
    """A function that applies a Conv1D or Dense layer as a Conv2D."""
    config = layer.get_config()
    kept = {key: config[key] for key in ("dtype", "use_bias", "groups") if key in config}
    kept["activation"] = keras.activations.get(layer.activation)
    filters = layer.filters if hasattr(layer, "filters") else layer.units

    def build(name: str, tensor: Any) -> Any:
        new = layers.Conv2D(filters, size, dilation_rate=dilation, name=name, **kept)
        found = new(tensor)
        kernel, *bias = layer.get_weights()
        new.set_weights([kernel.reshape(*size, channels // kept.get("groups", 1), -1), *bias])
        return found

    return build


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D", "SeparableConv2D"), _convolution),
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D", "MaxPooling1D", "AveragePooling1D"), _pooling),
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalMaxPooling1D"),
                    _global_pooling),
    **dict.fromkeys(("Flatten", "Reshape"), _reshape),
    **dict.fromkeys(_IDENTITIES, _identity),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_MERGES, _merge),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "Softmax"), _by_channel),
    "Activation": _activation,
    "Concatenate": _concatenate,
    "Conv1D": _convolution_1d,
    "Cropping2D": _cropping,
    "Dense": _dense,
    "PReLU": _prelu,
    "Rescaling": _scale,
    "ZeroPadding2D": _zero_padding,
}  # fmt: skip
