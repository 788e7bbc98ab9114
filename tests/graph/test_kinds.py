"""Every kind of layer and operation in a tiny network: cut exactly, or refused with the reason.

The layer or operation stands between two convolutions. All variables are redrawn with values of order 1, half of the
cuttable filters of each layer are disabled at random, and the result of `slim` is compared with the switched network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from zoo import disable_half, redraw

from shrinknet import Filter, Switches, slim, switched
from shrinknet.errors import FilterError, ModelError
from shrinknet.unpooling import average_unpooling, bed_of_nails, max_unpooling

Kind = Callable[[Any], Any]
CONSTANT = np.random.default_rng(5).normal(size=8).astype("float32")


def conv(filters: int = 8, kernel: int = 3, **settings: Any) -> Any:
    return layers.Conv2D(filters, kernel, padding="same", **settings)


def network(kind: Kind, shape: tuple[int, ...] = (8, 8, 3), first: Any = None) -> Any:
    """First convolution - the kind - reader: a convolution or dense layer with 5 filters that reach the output."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    rank = len(shape) - 1
    kinds = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
    first = first or (kinds[rank](8, 3, padding="same", name="first") if rank else layers.Dense(8, name="first"))
    x = kind(first(inputs))
    rank = len(x.shape) - 2
    outputs = kinds[rank](5, 1, name="last")(x) if rank else layers.Dense(5, name="last")(x)
    return keras.Model(inputs, outputs)


def inputs_of(model: Any, batch: int = 3) -> Any:
    random = np.random.default_rng(1)
    drawn = [random.normal(size=(batch, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    return drawn[0] if len(drawn) == 1 else drawn


def cut(model: Any, seed: int = 0) -> tuple[Switches, Any]:
    """Cuts half of a network at random, compares the results, and returns the switches and the slim network."""
    redraw(model, seed)
    net = switched(model)
    switches = Switches(net)
    x = inputs_of(model)
    before = np.asarray(keras.tree.flatten(net(x))[0])
    disable_half(switches, seed)
    small = slim(net)
    for want, got in zip(keras.tree.flatten(net(x)), keras.tree.flatten(small(x)), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    after = np.asarray(keras.tree.flatten(net(x))[0])
    if switches.disabled:
        assert not np.allclose(before, after), "the cut made no difference: the comparison is meaningless"
        assert small.count_params() < model.count_params()
    return switches, small


def shuffle(x: Any, groups: int = 2) -> Any:
    side, channels = x.shape[1], x.shape[-1]
    x = layers.Reshape((side, side, groups, channels // groups))(x)
    return layers.Reshape((side, side, channels))(layers.Permute((1, 2, 4, 3))(x))


def squeeze_excite(x: Any) -> Any:
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = conv(8, 1, activation="sigmoid")(conv(4, 1, activation="relu")(y))
    return x * y


def pixel_shuffle(x: Any) -> Any:
    side, channels = x.shape[1], x.shape[-1] // 4
    x = layers.Reshape((side, side, 2, 2, channels))(x)
    return layers.Reshape((2 * side, 2 * side, channels))(layers.Permute((1, 3, 2, 4, 5))(x))


def dense_block(x: Any) -> Any:
    for _ in range(2):
        x = layers.Concatenate()([x, conv(4)(layers.ReLU()(layers.BatchNormalization()(x)))])
    return x


def inception(x: Any) -> Any:
    return layers.Concatenate()(
        [conv(3, 1)(x), conv(4)(conv(2, 1)(x)), conv(2, 1)(layers.MaxPooling2D(3, 1, "same")(x))]
    )


def bottleneck(x: Any) -> Any:
    y = conv(16, 1, activation="relu6")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    return x + layers.BatchNormalization()(conv(8, 1)(y))


def grouped_transposed(x: Any) -> Any:
    """A grouped transposed convolution, built from split, transposed convolutions and concatenation."""
    parts = ops.split(x, 2, axis=-1)
    return layers.Concatenate()([layers.Conv2DTranspose(4, 3, strides=2, padding="same")(part) for part in parts])


def chunks(x: Any) -> Any:
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([b, ops.relu(a)], axis=-1)


CUT: dict[str, Kind] = {
    "Conv2D, strides": conv(6, strides=2),
    "Conv2D, dilation": layers.Conv2D(6, 3, dilation_rate=2),
    "Conv2D, valid": layers.Conv2D(6, 3),
    "Conv2D, groups": conv(8, groups=2),
    "Conv2D, many groups": conv(16, groups=4),
    "Conv2D, a group for each channel": conv(16, groups=8),
    "DepthwiseConv2D": layers.DepthwiseConv2D(3),
    "DepthwiseConv2D, multiplier": layers.DepthwiseConv2D(3, depth_multiplier=3, strides=2, padding="same"),
    "SeparableConv2D": layers.SeparableConv2D(6, 3),
    "SeparableConv2D, multiplier": layers.SeparableConv2D(6, 3, depth_multiplier=2, activation="relu"),
    "Conv2DTranspose": layers.Conv2DTranspose(6, 3, strides=2, padding="same"),
    "Conv2DTranspose, valid": layers.Conv2DTranspose(6, 3, output_padding=0, strides=2, use_bias=False),
    "Dense": layers.Dense(6, activation="tanh"),
    "Flatten": layers.Flatten(),
    "Reshape to a vector": layers.Reshape((-1,)),
    "Reshape of places": layers.Reshape((64, 8)),
    "Flatten, Dense, Dense": lambda x: layers.Dense(6, activation="elu")(layers.Flatten()(x)),
    "BatchNormalization": layers.BatchNormalization(),
    "LayerNormalization": layers.LayerNormalization(),
    "LayerNormalization over all": layers.LayerNormalization(axis=(1, 2, 3)),
    "GroupNormalization": layers.GroupNormalization(2),
    "GroupNormalization, many groups": layers.GroupNormalization(4),
    "instance normalization": layers.GroupNormalization(-1),
    "RMSNormalization": layers.RMSNormalization(),
    "UnitNormalization": layers.UnitNormalization(),
    "PReLU": layers.PReLU(),
    "PReLU, shared": layers.PReLU(shared_axes=[1, 2]),
    "LeakyReLU": layers.LeakyReLU(0.1),
    "ELU": layers.ELU(),
    "Dropout": layers.Dropout(0.3),
    "SpatialDropout2D": layers.SpatialDropout2D(0.3),
    "GaussianNoise": layers.GaussianNoise(0.3),
    "ZeroPadding2D": layers.ZeroPadding2D(1),
    "Cropping2D": layers.Cropping2D(1),
    "MaxPooling2D": layers.MaxPooling2D(),
    "AveragePooling2D": layers.AveragePooling2D(3, 2, "same"),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(keepdims=True),
    "UpSampling2D, nearest": layers.UpSampling2D(),
    "UpSampling2D, bilinear": layers.UpSampling2D(interpolation="bilinear"),
    "Resizing": layers.Resizing(5, 5),
    "bed of nails": bed_of_nails,
    "average-unpooling": average_unpooling,
    "max-unpooling": lambda x: max_unpooling(conv()(layers.MaxPooling2D()(x)), x),
    "Add": lambda x: layers.Add()([x, conv()(x)]),
    "Subtract": lambda x: layers.Subtract()([x, conv()(x)]),
    "Multiply": lambda x: layers.Multiply()([x, conv()(x)]),
    "Average": lambda x: layers.Average()([x, conv()(x), conv()(x)]),
    "Maximum": lambda x: layers.Maximum()([x, conv()(x)]),
    "Minimum": lambda x: layers.Minimum()([x, conv()(x)]),
    "Concatenate": lambda x: layers.Concatenate()([x, conv(4)(x)]),
    "Concatenate places": lambda x: layers.Concatenate(axis=1)([x, conv()(x)]),
    "Stack": lambda x: ops.max(ops.stack([x, conv()(x)], axis=1), axis=1),
    "squeeze-excite": squeeze_excite,
    "channel shuffle": shuffle,
    "pixel shuffle": pixel_shuffle,
    "depth to space": lambda x: ops.depth_to_space(x, 2) if hasattr(ops, "depth_to_space") else pixel_shuffle(x),
    "a constant for each channel added": lambda x: layers.Add()([x, CONSTANT.reshape(1, 1, 1, 8)]),
    "a constant for each channel multiplied": lambda x: x * CONSTANT,
    "a number added": lambda x: 2 * x + 1,
    "split": chunks,
    "slices": lambda x: layers.Concatenate()([x[..., 4:], x[..., 1:3]]),
    "every other channel": lambda x: x[..., ::2],
    "every other place": lambda x: x[:, ::2, ::2],
    "Permute": lambda x: layers.Permute((2, 1, 3))(x),
    "channels first, and back": lambda x: layers.Permute((2, 3, 1))(layers.Permute((3, 1, 2))(x)),
    "residual": lambda x: layers.ReLU()(x + conv()(layers.ReLU()(layers.BatchNormalization()(conv(12)(x))))),
    "inception": inception,
    "dense block": dense_block,
    "bottleneck": bottleneck,
    "Rescaling": layers.Rescaling(0.5, 0.1),
    "softmax over places": layers.Softmax(axis=(1, 2)),
    "mean over places": lambda x: ops.mean(x, axis=(1, 2)),
    "RepeatVector": lambda x: layers.RepeatVector(3)(layers.GlobalMaxPooling2D()(x)),
    "a shared layer": lambda x: (lambda layer: layer(layer(x)))(conv(name="twice")),
    "a nested model": lambda x: keras.Sequential([keras.Input((8, 8, 8)), conv(6), layers.ReLU()])(x),
}  # fmt: skip

ACTIVATIONS = [
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip


@pytest.mark.parametrize("kind", CUT)
def test_it_is_cut_exactly(kind: str) -> None:
    switches, small = cut(network(CUT[kind]))
    assert "first" not in switches.unswitchable, switches.unswitchable
    assert set(switches.unswitchable) <= {"last"}
    assert small.get_layer("first").filters < 8


@pytest.mark.slow
def test_every_elementwise_activation_is_cut_exactly() -> None:
    """Each in a branch of one network, as the activation of a layer, as a layer and as an operation."""
    inputs = keras.Input((4, 4, 2))
    branches = [conv(4, name=f"in_{name}", activation=name)(inputs) for name in ACTIVATIONS if name != "threshold"]
    branches += [layers.Activation(name)(conv(4)(inputs)) for name in ACTIVATIONS if name != "threshold"]
    branches += [
        getattr(ops, name)(conv(4)(inputs)) for name in ACTIVATIONS if hasattr(ops, name) and name != "threshold"
    ]
    branches += [ops.threshold(conv(4)(inputs), 0.1, 0.2), ops.clip(conv(4)(inputs), -1, 1), ops.abs(conv(4)(inputs))]
    model = keras.Model(inputs, layers.Dense(3, name="last")(layers.Concatenate()(branches)))
    switches, _ = cut(model)
    assert set(switches.unswitchable) == {"last"}


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (layers.Conv1D(6, 3, padding="causal", dilation_rate=2), (9, 2)),
        (layers.Conv1D(6, 3, strides=2, groups=2), (9, 2)),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 2)),
        (layers.SeparableConv1D(6, 3), (9, 2)),
        (layers.Conv1DTranspose(6, 3, strides=2), (9, 2)),
        (lambda x: layers.UpSampling1D()(layers.MaxPooling1D()(layers.ZeroPadding1D()(x))), (8, 2)),
        (lambda x: layers.Cropping1D()(layers.AveragePooling1D(3, 1)(x)), (8, 2)),
        (lambda x: layers.SpatialDropout1D(0.2)(layers.GlobalAveragePooling1D(keepdims=True)(x)), (8, 2)),
        (layers.Conv3D(6, 2, strides=2), (4, 4, 4, 2)),
        (layers.Conv3D(6, 2, padding="same", dilation_rate=2), (4, 4, 4, 2)),
        (layers.Conv3DTranspose(6, 2, strides=2), (4, 4, 4, 2)),
        (lambda x: layers.UpSampling3D()(layers.AveragePooling3D(2)(layers.ZeroPadding3D()(x))), (4, 4, 4, 2)),
        (lambda x: layers.Flatten()(layers.SpatialDropout3D(0.2)(layers.Cropping3D()(x))), (4, 4, 4, 2)),
        (lambda x: layers.Dense(6, activation="relu")(layers.BatchNormalization()(x)), (7,)),
        (lambda x: layers.Dense(6)(layers.LayerNormalization()(layers.Dense(10)(x))), (7,)),
    ],
)  # fmt: skip
def test_other_ranks_are_cut_exactly(kind: Kind, shape: tuple[int, ...]) -> None:
    switches, small = cut(network(kind, shape))
    assert set(switches.unswitchable) <= {"last"}
    assert min(small.get_layer("first").get_weights()[0].shape[-1], 8) < 8


def test_normalization_in_front_passes_inputs() -> None:
    inputs = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0])(layers.Rescaling([1.0, 2.0, 3.0])(inputs))
    model = keras.Model(inputs, conv(2, name="last")(conv(name="first")(x)))
    switches, _ = cut(model)
    assert set(switches.unswitchable) == {"last"}


def test_a_map_of_the_input_is_added() -> None:
    """One channel of the input, spread over all filters; Torch-Pruning crashes here."""
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, conv(2, name="last")(layers.ReLU()(conv(name="first")(inputs) + inputs)))
    _, small = cut(model)
    assert small.get_layer("first").filters == 4


FAILURES: dict[str, Kind] = {  # of Torch-Pruning 1.6.1: it silently computes these wrongly, or crashes
    "channel shuffle": shuffle,
    "sigmoid without BatchNormalization": layers.Activation("sigmoid"),
    "GroupNormalization": layers.GroupNormalization(2),
    "LayerNormalization": layers.LayerNormalization(),
    "grouped transposed convolution": grouped_transposed,
    "pixel shuffle": pixel_shuffle,
    "chunk and concatenate": chunks,
}


@pytest.mark.parametrize("kind", FAILURES)
def test_what_torch_pruning_fails_at_is_cut_exactly(kind: str) -> None:
    switches, _ = cut(network(FAILURES[kind]))
    assert set(switches.unswitchable) == {"last"}


@pytest.mark.parametrize("kind", [layers.LayerNormalization(), layers.GroupNormalization(2), layers.RMSNormalization()])
def test_a_normalisation_in_training_sees_the_live_channels(kind: Any) -> None:
    """Statistics over all channels would include disabled ones; gradients must be those of the slim network."""
    model = network(kind)
    redraw(model)
    net = switched(model)
    disable_half(Switches(net))
    small = slim(net)
    x, y = inputs_of(model), np.zeros((3, 8, 8, 5), "float32")
    for each in (net, small):
        each.compile(keras.optimizers.SGD(1e-4), "mse")
        each.train_on_batch(x, y)
    scale = np.abs(net(x)).max()
    np.testing.assert_allclose(small(x), net(x), rtol=0, atol=1e-5 * scale)


class Own(layers.Layer):  # type: ignore[misc]
    """A custom layer without a rule."""

    def call(self, x: Any) -> Any:
        return ops.cumsum(x, axis=-1)


REFUSED: dict[str, tuple[Kind, str]] = {
    "softmax over channels": (layers.Softmax(), "softmax .* mixes its channels"),
    "softmax as an activation": (layers.Activation("softmax"), "softmax .* mixes its channels"),
    "log softmax": (lambda x: ops.log_softmax(x), "softmax .* mixes its channels"),
    "MultiHeadAttention": (
        lambda x: (lambda y: layers.MultiHeadAttention(2, 4)(y, y))(layers.Reshape((64, 8))(x)), "attention .* mixes"
    ),
    "spectral normalization": (
        lambda x: layers.SpectralNormalization(layers.Conv2D(4, 1, name="inner"))(x), "norm of the whole kernel"
    ),
    "a layer without a rule": (Own(name="own"), "Own own, which has no rule"),
    "an operation without a rule": (lambda x: ops.cumsum(x, axis=1), "Cumsum .*, which has no rule"),
    "a product over channels": (lambda x: x / ops.prod(x, axis=-1, keepdims=True), "runs over its channels"),
    "a sum over everything": (lambda x: x / ops.sum(x), "runs over its channels"),
    "constants of its own": (layers.Rescaling(list(map(float, range(8)))), "constants of its own for each channel"),
    "an activation of the user's own": (layers.Activation(lambda x: x / ops.max(x)), "has no rule"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_a_reason(kind: str) -> None:
    build, reason = REFUSED[kind]
    model = network(build)
    with pytest.raises(FilterError, match=reason) as caught:
        Switches(switched(model)).disable(Filter("first", 0))
    assert "\n" not in str(caught.value)
    cut(model)  # what is left of it can still be cut


def test_names_that_are_taken_do_no_harm() -> None:
    """Inserted layers get unique names, also for several readers of one movement and in loaded models."""
    keras.backend.clear_session()

    def kind(x: Any) -> Any:
        x = shuffle(layers.ReLU(name="take")(x))
        first, second = ops.split(x, 2, axis=-1)
        return layers.Concatenate()([layers.ReLU()(first), conv(4)(first), ops.tanh(second), second])

    switches, small = cut(network(kind))
    assert set(switches.unswitchable) == {"last"}
    assert "take" in {layer.name for layer in small.layers}


def test_several_inputs_and_outputs() -> None:
    left, right = keras.Input((8, 8, 2), name="left"), keras.Input((8, 8, 3), name="right")
    a, b = conv(name="a")(left), conv(name="b")(right)
    both = layers.ReLU()(a + b)
    outputs = {"map": conv(2, name="map")(both), "label": layers.Dense(3, name="label")(layers.Flatten()(both))}
    switches, small = cut(keras.Model([left, right], outputs))
    assert set(switches.unswitchable) == {"map", "label"}
    assert small.get_layer("a").filters == small.get_layer("b").filters == 4
    assert str(switches.groups[0]).count("b[") == 1


def test_open_sizes() -> None:
    switches, _ = cut_open(lambda x: conv(4)(layers.UpSampling2D()(layers.MaxPooling2D()(squeeze_excite(x)))))
    assert set(switches.unswitchable) == {"last"}


def cut_open(kind: Kind) -> tuple[Switches, Any]:
    model = network(kind, (None, None, 3))
    redraw(model)
    net = switched(model)
    switches = Switches(net)
    disable_half(switches)
    small = slim(net)
    for side in (8, 12):
        x = np.random.default_rng(2).normal(size=(2, side, side, 3)).astype("float32")
        np.testing.assert_allclose(small(x), net(x), rtol=0, atol=1e-5 * np.abs(net(x)).max())
    return switches, small


def test_bed_of_nails_needs_sizes() -> None:
    with pytest.raises(ModelError, match=r"fixed size.*\(None, None, None, 3\)"):
        bed_of_nails(keras.Input((None, None, 3)))


def test_unpooling_against_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    pooled = np.asarray(layers.MaxPooling2D()(x))
    nails, spread, back = bed_of_nails(pooled), average_unpooling(pooled), max_unpooling(pooled, x)
    expected = np.zeros_like(x)
    expected[:, ::2, ::2] = pooled
    np.testing.assert_array_equal(nails, expected)
    np.testing.assert_allclose(layers.AveragePooling2D(2)(spread) * 4, pooled, rtol=1e-6)
    np.testing.assert_array_equal(back, np.where(np.isin(x, pooled), x, 0))


def test_a_network_cut_to_nothing_is_a_sentence_or_exact() -> None:
    for kind in (layers.LayerNormalization(), layers.GroupNormalization(2), layers.BatchNormalization(), shuffle):
        model = network(kind)
        redraw(model)
        net = switched(model)
        switches = Switches(net)
        switches.disable(*switches.filters)
        try:
            small = slim(net)
        except ModelError as error:
            assert "\n" not in str(error)
            continue
        x = inputs_of(model)
        np.testing.assert_allclose(small(x), net(x), rtol=0, atol=1e-5 * np.abs(net(x)).max())
