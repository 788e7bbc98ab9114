"""Layers whose rule is inherited, declared in one line, or found by probing; and layers inside other layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from marking import slow

from shrinknet import Filter, Switches, cost, slim, switched
from shrinknet.errors import ModelError, NotEquivalentError
from shrinknet.graph import elementwise, movement, per_channel, rule
from shrinknet.graph.rules.readers import input_cells

RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(2, 8, 8, 3)).astype("float32")


def between(layer: Any) -> Any:
    """A layer between a convolution with 6 filters and one that reads them."""
    image = keras.Input((8, 8, 3))
    named = {"training": False} if isinstance(layer, RmsNorm2d) else {}
    x = layer(layers.Conv2D(6, 3, name="first")(image), **named)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="next")(x))))


def cut(model: Any, x: Any = X) -> tuple[Switches, Any]:
    net = switched(model, x)
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    small = slim(net, x)
    assert small.count_params() < model.count_params()
    return switches, small


class Scale(layers.Layer):  # type: ignore[misc]
    """Takes its width from its input."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return x * self.gamma


class WideScale(Scale):
    """Has its width in its configuration."""

    def __init__(self, width: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.width = width

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(self.width,), initializer="random_normal")

    def get_config(self) -> Any:
        return {**super().get_config(), "width": self.width}


class Affine(layers.Layer):  # type: ignore[misc]
    """One factor and one offset."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(name="factor", shape=())
        self.offset = self.add_weight(name="offset", shape=(1,))

    def call(self, x: Any) -> Any:
        return x * self.factor + self.offset


class Centred(layers.Layer):  # type: ignore[misc]
    """Mixes its channels through their mean."""

    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=-1, keepdims=True)


class TrainingMixes(Scale):
    """Mixes its channels only in training."""

    def call(self, x: Any, training: bool = False) -> Any:
        return (x - ops.mean(x, axis=-1, keepdims=True) if training else x) * self.gamma


@pytest.mark.parametrize("layer", [Scale(), WideScale(6), Affine()], ids=lambda layer: type(layer).__name__)
def test_a_layer_that_treats_each_channel_by_itself_is_found_out(layer: Any) -> None:
    switches, _ = cut(between(layer))
    assert {filter.layer for filter in switches.filters} == {"first", "next"}


class Powers(Scale):
    """Generalized-mean pooling, with one exponent per channel (arXiv:1711.02512)."""

    def call(self, x: Any) -> Any:
        return ops.mean(ops.maximum(x, 0.1) ** (3 + self.gamma), axis=(1, 2)) ** (1 / (3 + self.gamma))


class Pooled(layers.Layer):  # type: ignore[misc]
    """Calls a layer without weights."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.pool = layers.GlobalMaxPooling2D(keepdims=True)

    def call(self, x: Any) -> Any:
        return ops.squeeze(self.pool(x), (1, 2))


class Ranked(layers.Layer):  # type: ignore[misc]
    """As many outputs as channels, but not one of each."""

    def call(self, x: Any) -> Any:
        return ops.sort(ops.mean(x, axis=(1, 2)), axis=-1)


@pytest.mark.parametrize("pooling", [Powers, Pooled, Ranked])
def test_a_pooling_of_the_user_s_own_is_found(pooling: Any) -> None:
    image = keras.Input((8, 8, 3))
    x = pooling(name="own")(layers.Conv2D(6, 3, name="first")(image))
    net = switched(keras.Model(image, layers.Dense(2, name="out")(layers.Dense(4, name="next")(x))))
    switches = Switches(net)
    assert ("first" in switches.unswitchable) is (pooling is Ranked)
    switches.disable(*switches.filters[::2])
    assert slim(net, X).get_layer("own")


def bent(x: Any) -> Any:
    return x * ops.sigmoid(1.7 * x)


FUNCTIONS = {"bent": (bent, True), "lambda": (lambda x: x, True), "ranks": (lambda x: ops.sort(x, axis=-1), False),
             "scaled": (lambda x: x / ops.max(ops.abs(x)), False),
             "by place": (lambda x: x * ops.arange(1.0, x.shape[-1] + 1.0), False)}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_the_user_s_own_is_tried(name: str) -> None:
    function, is_elementwise = FUNCTIONS[name]
    image = keras.Input((8, 8, 3))
    x = layers.Activation(function)(layers.Conv2D(6, 3, activation=function, name="first")(image))
    net = switched(keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)))))
    assert ("first" in Switches(net).unswitchable) is not is_elementwise


class Noisy(layers.Layer):  # type: ignore[misc]
    """Adds the same random numbers in each call, and others if it has other channels."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(ops.shape(x), seed=3)


class Ramp(layers.Layer):  # type: ignore[misc]
    """Multiplies each channel by its place."""

    def call(self, x: Any) -> Any:
        return x * ops.arange(1.0, x.shape[-1] + 1.0)


class Divided(Scale):
    """Depends on the number of its channels."""

    def call(self, x: Any) -> Any:
        return x * self.gamma / x.shape[-1]


class Stacked(layers.Layer):  # type: ignore[misc]
    """Takes its means over the pairs of neighbouring channels."""

    def call(self, x: Any) -> Any:
        pairs = ops.reshape(x, (-1, *x.shape[1:-1], x.shape[-1] // 2, 2))
        return ops.reshape(pairs - ops.mean(pairs, axis=-1, keepdims=True), ops.shape(x))


class MeanOfAll(layers.Layer):  # type: ignore[misc]
    """Divides by the number of its channels, whatever they are."""

    def call(self, x: Any) -> Any:
        return x - ops.sum(x, axis=-1, keepdims=True) / x.shape[-1]


class Few(layers.Layer):  # type: ignore[misc]
    """Does something else to few channels."""

    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=-1, keepdims=True) if x.shape[-1] > 3 else x


class Listed(layers.Layer):  # type: ignore[misc]
    """Holds its weight in a list."""

    def build(self, shape: Any) -> None:
        self.scales = [self.add_weight(name="scale", shape=(shape[-1],), initializer="random_normal")]

    def call(self, x: Any) -> Any:
        return (x - ops.mean(x, axis=-1, keepdims=True)) * self.scales[0]


class Costly(layers.Layer):  # type: ignore[misc]
    """Adds a loss over all channels."""

    def call(self, x: Any) -> Any:
        self.add_loss(ops.mean(x))
        return x - ops.mean(x, axis=-1, keepdims=True)


UNLIKE_ON_FEWER = [TrainingMixes(), Noisy(), Ramp(), Divided(), Stacked(), MeanOfAll(), Few(), Listed(), Costly()]


@pytest.mark.parametrize("layer", UNLIKE_ON_FEWER, ids=lambda layer: type(layer).__name__)
def test_a_layer_that_mixes_its_channels_is_found_out(layer: Any) -> None:
    switches, _ = cut(between(layer))  # of `next`
    assert "no rule" in switches.unswitchable["first"]


class Named(layers.Conv2D):  # type: ignore[misc]
    """A convolution with its own constructor and configuration."""

    def __init__(self, filters: int, **keywords: Any) -> None:
        super().__init__(filters, 3, padding="same", **keywords)

    def get_config(self) -> Any:
        config = super().get_config()
        return {key: value for key, value in config.items() if key not in ("kernel_size", "padding")}


class Standardized(layers.Conv2D):  # type: ignore[misc]
    """Computes something different from its parent."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, kernel / ops.max(kernel))


def test_a_subclass_that_computes_what_its_parent_does_has_its_rule() -> None:
    switches, small = cut(between(Named(6, name="named")))
    assert Filter("named", 0) in switches.filters
    assert type(small.get_layer("named")) is Named and small.get_layer("named").filters == 3


def test_a_subclass_that_computes_something_else_has_none() -> None:
    switches, _ = cut(between(Standardized(6, 3, name="standardized")))
    assert "no rule" in switches.unswitchable["first"]


class Twice(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x + x


class Shuffle(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return ops.flip(x, axis=-1)


class Shifted(layers.Layer):  # type: ignore[misc]
    def build(self, shape: Any) -> None:
        self.offset = self.add_weight(name="offset", shape=(shape[-1],), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return x + self.offset


def leaky(x: Any) -> Any:
    return ops.maximum(x, 0.1 * x)


def test_declarations_in_one_line() -> None:
    elementwise(Twice, leaky)
    per_channel(Shifted, "offset")
    movement(Shuffle)
    for layer in (Twice(), Shifted(), Shuffle(), layers.Activation(leaky)):
        switches, _ = cut(between(layer))
        assert {filter.layer for filter in switches.filters} == {"first", "next"}


def test_a_weight_that_is_not_there_is_named() -> None:
    class Misnamed(Shifted):
        """Declared with another name than its weight has."""

    per_channel(Misnamed, "gamma")
    with pytest.raises(ModelError, match=r"per_channel\(Misnamed, 'gamma'\).*no weight.*Name.*offset"):
        switched(between(Misnamed()))


@pytest.mark.parametrize(
    "declare", [lambda: movement(3), lambda: per_channel(3), lambda: per_channel(Shifted, 3), lambda: elementwise(3)]
)
def test_a_declaration_of_something_else_is_refused(declare: Any) -> None:
    with pytest.raises(ModelError, match=r"Expected .*; received \(?3"):
        declare()


def test_time_distributed_is_looked_through() -> None:
    frames = keras.Input((4, 8, 8, 3))
    x = layers.TimeDistributed(layers.Conv2D(6, 3, name="conv"), name="each")(frames)
    model = keras.Model(frames, layers.Dense(2)(layers.GlobalAveragePooling3D()(x)))
    x = RANDOM.normal(size=(2, 4, 8, 8, 3)).astype("float32")
    switches, small = cut(model, x)
    assert {str(filter) for filter in switches.filters} == {f"each/conv[{index}]" for index in range(6)}
    assert small.get_layer("each").layer.filters == 3
    one = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(6, 3)])
    assert cost(model).multiply_adds == 4 * cost(one).multiply_adds + 12


def sequence() -> Any:
    return keras.Input((10, 4))


RECURRENT = {
    "LSTM": lambda: layers.LSTM(5, return_sequences=True, name="memory"),
    "GRU": lambda: layers.GRU(5, name="memory"),
    "SimpleRNN": lambda: layers.SimpleRNN(5, name="memory"),
    "a cell": lambda: layers.RNN(layers.GRUCell(5), name="memory"),
    "two cells": lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(3)], name="memory"),
    "both directions": lambda: layers.Bidirectional(layers.LSTM(5, return_sequences=True), name="memory"),
    "two layers": lambda: layers.Bidirectional(
        layers.GRU(5), backward_layer=layers.GRU(5, go_backwards=True), name="memory"
    ),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_what_a_recurrent_layer_reads_is_cut(kind: str) -> None:
    entry = sequence()
    model = keras.Model(entry, layers.Dense(2)(RECURRENT[kind]()(layers.Conv1D(6, 3, name="first")(entry))))
    switches, small = cut(model, RANDOM.normal(size=(2, 10, 4)).astype("float32"))
    assert {filter.layer for filter in switches.filters} == {"first"}
    assert all(cell.kernel.shape[0] == 3 for cell in input_cells(small.get_layer("memory")))
    assert "feeds its channels back" in switches.unswitchable["memory"]


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_what_a_convolution_over_time_reads_is_cut(order: str) -> None:
    last = order == "channels_last"
    frames = keras.Input((3, 8, 8, 2) if last else (3, 2, 8, 8))
    each = layers.TimeDistributed(layers.Conv2D(6, 3, data_format=order, name="first"))
    x = layers.ConvLSTM2D(3, 3, data_format=order, name="memory")(each(frames))
    model = keras.Model(frames, layers.Dense(2)(layers.GlobalAveragePooling2D(data_format=order)(x)))
    if not last and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no convolution with the channels first on a CPU")
    switches, small = cut(model, RANDOM.normal(size=(2, *frames.shape[1:])).astype("float32"))
    assert len(switches.filters) == 6 and small.get_layer("memory").cell.kernel.shape[2] == 3


@keras.saving.register_keras_serializable("found_rules")
class OwnCell(layers.GRUCell):  # type: ignore[misc]
    """Looks at its inputs twice."""

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        return super().call(inputs * ops.mean(inputs, -1, keepdims=True), states, training=training)


@keras.saving.register_keras_serializable("found_rules")
class Padded(layers.Conv1D):  # type: ignore[misc]
    """Computes something of its own."""

    def call(self, inputs: Any) -> Any:
        return super().call(ops.pad(inputs, [[0, 0], [1, 1], [0, 0]]))


UNCUT = {
    "a cell of one's own": (lambda: layers.RNN(OwnCell(5), name="uncut"), "no rule"),
    "an einsum": (lambda: layers.EinsumDense("abc,cd->abd", (None, 6), name="uncut"), "EinsumDense uncut produces it"),
    "a call of its own": (lambda: Padded(6, 3, name="uncut"), "has no rule"),
}


@pytest.mark.parametrize("kind", UNCUT)
def test_no_filters_are_missing_without_a_reason(kind: str) -> None:
    entry = sequence()
    x = layers.Conv1D(6, 3, name="first")(entry)
    model = keras.Model(entry, layers.Dense(2)(UNCUT[kind][0]()(x)))
    assert UNCUT[kind][1] in Switches(switched(model)).unswitchable["uncut"]


def test_the_width_of_an_embedding_is_cut() -> None:
    words = keras.Input((10,), dtype="int32")
    x = layers.Conv1D(6, 3, name="conv")(layers.Embedding(20, 8, name="embedding")(words))
    model = keras.Model(words, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    _, small = cut(model, RANDOM.integers(0, 20, (2, 10)))
    assert small.get_layer("embedding").output_dim == 4


def test_what_an_einsum_reads_is_cut() -> None:
    entry = sequence()
    einsum = layers.EinsumDense("abc,cde->abde", (8, 2, 7), name="einsum")
    x = layers.Flatten()(einsum(layers.Conv1D(6, 3, name="first")(entry)))
    switches, _ = cut(keras.Model(entry, layers.Dense(2)(x)), RANDOM.normal(size=(2, 10, 4)).astype("float32"))
    assert {filter.layer for filter in switches.filters} == {"first"}


def test_filters_inside_of_wrappers_are_named_with_their_reason() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.SpectralNormalization(layers.Conv2D(4, 3, name="inner"), name="outer")(image)
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="next")(x))))
    assert "norm of the whole kernel" in Switches(switched(model)).unswitchable["outer/inner"]


@pytest.mark.parametrize("declared", [elementwise, per_channel])
def test_a_wrong_declaration_is_not_blamed_on_shrinknet(declared: Any) -> None:
    class Mixing(layers.Layer):  # type: ignore[misc]
        """Adds the channel before."""

        def call(self, inputs: Any) -> Any:
            return inputs + ops.roll(inputs, 1, -1)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    declared(Mixing)
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, layers.Conv2D(2, 3)(Mixing()(layers.Conv2D(4, 3, name="conv")(image))))
    net = switched(model)
    Switches(net).disable(Filter("conv", 1))
    with pytest.raises(NotEquivalentError, match=r"Check the rule that you registered for Mixing"):
        slim(net)


@keras.saving.register_keras_serializable("found_rules")
class RmsNorm2d(layers.Layer):  # type: ignore[misc]
    """As in MobileNetV5: one scale per channel, and statistics over the channels."""

    def __init__(self, dim: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.dim = dim

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=(self.dim,), initializer="ones")

    def call(self, inputs: Any, training: Any = None) -> Any:
        return inputs * ops.rsqrt(ops.mean(ops.square(inputs), axis=-1, keepdims=True) + 1e-6) * self.gamma

    def get_config(self) -> Any:
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable("found_rules")
class ResponseNorm(layers.Layer):  # type: ignore[misc]
    """The global response normalization of ConvNeXt V2 (arXiv:2301.00808); at the start it passes its input on."""

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(1, 1, 1, shape[-1]), initializer="zeros")
        self.beta = self.add_weight(name="beta", shape=(1, 1, 1, shape[-1]), initializer="zeros")

    def call(self, x: Any) -> Any:
        size = ops.norm(x, axis=(1, 2), keepdims=True)
        return self.gamma * (x * size / (ops.mean(size, axis=-1, keepdims=True) + 1e-6)) + self.beta + x


@keras.saving.register_keras_serializable("found_rules")
class Standardised(layers.Layer):  # type: ignore[misc]
    """A layer normalization with its weights reshaped and cast."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        x = (x - ops.mean(x, -1, keepdims=True)) / ops.sqrt(ops.var(x, axis=-1, keepdims=True) + 1e-3)
        return ops.reshape(ops.cast(self.scale, "float32"), (1, 1, 1, -1)) * x


AVERAGING = {
    "Centred": Centred, "RmsNorm2d": lambda **named: RmsNorm2d(6, **named), "ResponseNorm": ResponseNorm,
    "Standardised": Standardised,
}  # fmt: skip


def trained_a_little(layer: Any) -> Any:
    keras.utils.set_random_seed(4)
    model = between(layer)
    for variable in model.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3, seed=1))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize("kind", ["Centred", "ResponseNorm", slow("RmsNorm2d"), slow("Standardised")])
def test_statistics_of_the_user_s_own_are_taken_over_what_is_enabled(kind: str, tmp_path: Path) -> None:
    model = trained_a_little(AVERAGING[kind](name="own"))
    net = switched(model)
    np.testing.assert_allclose(net(X), model(X), rtol=1e-6, atol=1e-6)
    switches = Switches(net)
    gone = Filter("first", 1), Filter("first", 4)
    switches.disable(*gone)
    switches.freeze(*gone)
    small = slim(net, X)
    assert type(small.get_layer("own")) is type(model.get_layer("own"))
    assert all(4 in variable.shape for variable in small.get_layer("own").weights)
    assert not cost(small).notes and cost(net).multiply_adds == cost(small).multiply_adds
    for one in (net, small):
        one.fit(X, np.ones((2, 2)), batch_size=1, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(net(X), small(X), rtol=1e-4, atol=1e-5)
    if kind != "Centred":
        net.save(tmp_path / "net.keras")
        again = keras.models.load_model(tmp_path / "net.keras")
        np.testing.assert_array_equal(again(X), net(X))
        assert Switches(again).disabled == switches.disabled


def test_a_layer_that_does_nothing_yet_is_not_mistaken_for_one_that_never_will() -> None:
    """The first weights of a response normalization are zeros."""
    net = switched(between(ResponseNorm(name="own")))
    assert [type(layer).__name__ for layer in net.layers if layer.name == "own"] == ["Counting"]


def test_a_rule_that_says_that_a_layer_averages_is_enough() -> None:
    class Ruled(RmsNorm2d):
        """With a rule of its own."""

        def call(self, inputs: Any) -> Any:
            return 2 * super().call(inputs)

    @rule(Ruled)
    def ruled(call: Any) -> Any:
        channels = call.channels(0)
        call.owns(call.operation.gamma, 0, channels)
        call.counts("dim", channels)
        call.averages(channels)
        return [call.labels[0]]

    _, small = cut(trained_a_little(Ruled(6, name="own")))
    assert small.get_layer("own").dim == 3


class Paths(layers.Layer):  # type: ignore[misc]
    """Drops whole samples in training, as in many networks."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return x * ops.floor(0.8 + keras.random.uniform((ops.shape(x)[0], 1, 1, 1), seed=self.seeds)) if training else x


def test_random_numbers_for_whole_samples_do_no_harm() -> None:
    switches, small = cut(between(Paths(name="own")))
    assert {filter.layer for filter in switches.filters} == {"first", "next"}
    assert isinstance(small.get_layer("own"), Paths)


@pytest.mark.parametrize("name", ["matmul", "dot", "einsum"])
def test_a_product_of_two_tensors_is_refused_with_its_reason(name: str) -> None:
    signal = keras.Input((8, 3))
    a, b = (layers.Conv1D(4, 1, name=f"to_{which}")(signal) for which in "ab")
    product = {
        "matmul": lambda: ops.matmul(a, ops.transpose(b, (0, 2, 1))),
        "dot": lambda: ops.dot(a, ops.ones((4, 5))),
        "einsum": lambda: ops.einsum("bik,bjk->bij", a, b),
    }[name]()
    model = keras.Model(signal, [layers.Dense(2)(product), layers.Dense(2)(b)])
    reasons = Switches(switched(model)).unswitchable
    assert "mixes its channels with those of another tensor" in reasons["to_a"]
