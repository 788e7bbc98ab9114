"""Random networks of all kinds: `slim` returns the same function, or raises a clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from keras import layers, ops
from zoo import redraw

from shrinknet import Switches, slim, switched
from shrinknet.errors import ModelError
from shrinknet.unpooling import average_unpooling, bed_of_nails, max_unpooling

Draw = Callable[[Any], Any]
ACTIVATIONS = ["relu", "sigmoid", "gelu", "softplus", "hard_silu", "linear"]


class Builder:
    """Draws a network: a list of image tensors that later pieces read, and one output at the end."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        keras.utils.set_random_seed(0)
        self.inputs = [keras.Input((8, 8, channels)) for channels in draw(st.sampled_from([(1,), (3,), (2, 4)]))]
        self.images = [self.conv(image) for image in self.inputs]

    def any(self) -> Any:
        return self.draw(st.sampled_from(self.images))

    def conv(self, x: Any, filters: int | None = None, kernel: int | None = None) -> Any:
        filters = filters or self.draw(st.sampled_from([2, 4, 6, 8]))
        kernel = kernel or self.draw(st.sampled_from([1, 3]))
        activation = self.draw(st.sampled_from(ACTIVATIONS))
        return layers.Conv2D(filters, kernel, padding="same", activation=activation)(x)

    def like(self, x: Any) -> Any:
        """Another tensor of the same shape as this one."""
        same = [image for image in self.images if image.shape == x.shape]
        return self.draw(st.sampled_from(same)) if self.draw(st.booleans()) else self.conv(x, x.shape[-1])

    def fitting(self, x: Any) -> Any:
        """A tensor of the same height and width as this one."""
        return self.draw(st.sampled_from([image for image in self.images if image.shape[1:3] == x.shape[1:3]]))

    def divisor(self, x: Any) -> int:
        return int(self.draw(st.sampled_from([n for n in (1, 2, 4, x.shape[-1]) if x.shape[-1] % n == 0])))

    def grow(self) -> None:
        piece = self.draw(st.sampled_from(PIECES))
        image = piece(self, self.any())
        assert len(image.shape) == 4
        self.images.append(image)

    def model(self) -> Any:
        for _ in range(self.draw(st.integers(1, 6))):
            self.grow()
        heads = [self.images[-1]] + ([self.any()] if self.draw(st.booleans()) else [])
        return keras.Model(self.inputs, [self.head(head) for head in heads])

    def head(self, x: Any) -> Any:
        end = self.draw(st.sampled_from(["map", "pool", "flatten", "bare"]))
        if end == "map":
            return layers.Conv2D(2, 3)(layers.ZeroPadding2D(1)(x))
        if end == "bare":
            return x
        x = layers.GlobalAveragePooling2D()(x) if end == "pool" else layers.Flatten()(x)
        return layers.Dense(3)(layers.Dense(4, activation="tanh")(x))


def depthwise(b: Builder, x: Any) -> Any:
    return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=b.draw(st.sampled_from([1, 2])))(x)


def grouped(b: Builder, x: Any) -> Any:
    groups = b.divisor(x)
    return layers.Conv2D(groups * b.draw(st.sampled_from([1, 2, 3])), 3, padding="same", groups=groups)(x)


def normalisation(b: Builder, x: Any) -> Any:
    layer = b.draw(st.sampled_from(["batch", "layer", "group", "rms", "unit", "prelu"]))
    if layer == "group":
        return layers.GroupNormalization(b.divisor(x))(x)
    kinds = {"batch": layers.BatchNormalization, "layer": layers.LayerNormalization, "rms": layers.RMSNormalization,
             "unit": layers.UnitNormalization, "prelu": layers.PReLU}  # fmt: skip
    return kinds[layer]()(x)


def merge(b: Builder, x: Any) -> Any:
    kind = b.draw(st.sampled_from(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]))
    return getattr(layers, kind)()([x, b.like(x)])


def residual(b: Builder, x: Any) -> Any:
    return x + b.conv(layers.BatchNormalization()(b.conv(x)), x.shape[-1])


def concatenation(b: Builder, x: Any) -> Any:
    return layers.Concatenate()([x, b.fitting(x)])


def squeeze_excite(b: Builder, x: Any) -> Any:
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return x * b.conv(b.conv(y, kernel=1), x.shape[-1], 1)


def shuffle(b: Builder, x: Any) -> Any:
    (_, height, width, channels), groups = x.shape, b.divisor(x)
    x = layers.Reshape((height, width, groups, channels // groups))(x)
    return layers.Reshape((height, width, channels))(layers.Permute((1, 2, 4, 3))(x))


def pixel_shuffle(b: Builder, x: Any) -> Any:
    if x.shape[-1] % 4 or x.shape[1] > 8:
        return x
    _, height, width, channels = x.shape
    x = layers.Reshape((height, width, 2, 2, channels // 4))(x)
    return layers.Reshape((2 * height, 2 * width, channels // 4))(layers.Permute((1, 3, 2, 4, 5))(x))


def pieces_of(b: Builder, x: Any) -> Any:
    if x.shape[-1] % 2:
        return x
    first, second = ops.split(x, 2, axis=-1)
    return b.draw(st.sampled_from([first + second, layers.Concatenate()([second, ops.tanh(first)]), second]))


def slices(b: Builder, x: Any) -> Any:
    start, step = b.draw(st.integers(0, x.shape[-1] - 1)), b.draw(st.sampled_from([1, 2]))
    return b.draw(st.sampled_from([x[..., start::step], x[..., ::-1], ops.roll(x, 1, axis=-1)]))


def constants(b: Builder, x: Any) -> Any:
    constant = np.random.default_rng(3).normal(size=x.shape[-1]).astype("float32")
    return b.draw(st.sampled_from([x + constant, x * constant, layers.Rescaling(0.5, 0.1)(x)]))


def spatial(b: Builder, x: Any) -> Any:
    pooled = layers.MaxPooling2D(2, padding="same")(x)
    choices = [layers.UpSampling2D(interpolation="bilinear")(pooled), pooled, layers.AveragePooling2D(3, 1, "same")(x)]
    choices += [
        layers.Permute((2, 1, 3))(x),
        layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x)),
        average_unpooling(pooled),
    ]
    if x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0:
        choices += [bed_of_nails(pooled), max_unpooling(pooled, x)]
    return b.draw(st.sampled_from(choices))


def transposed(b: Builder, x: Any) -> Any:
    strides = 2 if x.shape[1] <= 8 else 1
    return layers.Conv2DTranspose(b.draw(st.sampled_from([2, 4])), 3, strides=strides, padding="same")(x)


def separable(b: Builder, x: Any) -> Any:
    return layers.SeparableConv2D(b.draw(st.sampled_from([2, 4])), 3, padding="same")(x)


def refused(b: Builder, x: Any) -> Any:
    return b.draw(
        st.sampled_from([ops.cumsum(x, axis=1), layers.Softmax()(x), x / (1 + ops.sum(x * x, -1, keepdims=True))])
    )


def nested(b: Builder, x: Any) -> Any:
    inner = keras.Input(x.shape[1:])
    model = keras.Model(inner, b.conv(b.conv(inner), x.shape[-1]))
    return model(x) + model(b.like(x)) if b.draw(st.booleans()) else model(x)


def shared(b: Builder, x: Any) -> Any:
    layer = layers.Conv2D(x.shape[-1], 3, padding="same")
    return layer(layers.ReLU()(layer(x)))


PIECES: list[Callable[[Builder, Any], Any]] = [
    lambda b, x: b.conv(x), depthwise, grouped, normalisation, merge, residual, concatenation, squeeze_excite, shuffle,
    pixel_shuffle, pieces_of, slices, constants, spatial, transposed, separable, refused, nested, shared,
]  # fmt: skip


def check(data: Any, share: float) -> None:
    model = Builder(data.draw).model()
    redraw(model, data.draw(st.integers(0, 9)))
    net = switched(model)
    switches = Switches(net)
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    switches.disable(*(filter for filter in switches.filters if random.random() < share))
    x = [random.normal(size=(2, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    wanted = [np.asarray(output) for output in keras.tree.flatten(net(x))]
    try:
        small = slim(net)
    except ModelError as error:
        assert "\n" not in str(error) and share > 0.5, error  # only if whole layers are emptied
        return
    for want, got in zip(wanted, keras.tree.flatten(small(x)), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max(initial=1e-30))
    for layer in switches.graph.producers:
        assert switches.graph.unswitchable.get(layer, "a reason")
    emptied = {filter.layer for filter in switches.disabled} - {filter.layer for filter in switches.enabled}
    smaller = small.count_params() < model.count_params()
    assert smaller or not switches.disabled or emptied  # an emptied layer keeps a filter that nothing reads


ANY = settings(max_examples=9, suppress_health_check=list(HealthCheck))
MANY = settings(ANY, max_examples=150)


@given(st.data())
@ANY
def test_a_random_network_is_cut_exactly(data: Any) -> None:
    check(data, 0.5)


@given(st.data())
@settings(ANY, max_examples=4)
def test_a_random_network_is_emptied_exactly_or_with_a_sentence(data: Any) -> None:
    check(data, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_many_random_networks(share: float) -> None:
    MANY(given(st.data())(lambda data: check(data, share)))()
