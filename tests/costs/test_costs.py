"""Cost against worked examples from a course, the textbook formula for sizes, and TensorFlow's profiler."""

from __future__ import annotations

import math
import time
from typing import Any

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from keras import layers
from marking import slow
from zoo import disable_half

from shrinknet import Switches, cost, plan, slim, switched
from shrinknet.costs.timing import latencies
from shrinknet.errors import ModelError


def row(shape: tuple[int, ...], layer: Any) -> Any:
    """The layer's row in the cost of a network that contains only this layer."""
    inputs = keras.Input(shape)
    return cost(keras.Model(inputs, layer(inputs))).layers[-1]


def test_worked_examples() -> None:
    """Parameters and output sizes from the course notes on convolutions that the project started from."""
    assert row((300, 300, 3), layers.Conv2D(100, 5, use_bias=False)).parameters == 5 * 5 * 3 * 100 == 7500
    volume = row((63, 63, 16), layers.Conv2D(32, 7, strides=2)).shape
    assert volume == (29, 29, 32) and math.prod(volume) == 26_912
    assert row((32, 32, 16), layers.MaxPooling2D(2, strides=2)).shape == (16, 16, 16)
    assert row((64, 64, 16), layers.Conv2D(1, 1)).parameters == 1 * 1 * 16 + 1 == 17


@settings(max_examples=15)
@given(
    size=st.tuples(st.integers(8, 20), st.integers(8, 20)),
    kernel=st.integers(1, 5),
    padding=st.integers(0, 3),
    stride=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 5)),
)
def test_sizes_and_multiply_adds_by_the_formula(
    size: tuple[int, int], kernel: int, padding: int, stride: int, channels: tuple[int, int]
) -> None:
    """o = floor((n + 2p - m) / s) + 1 for each axis; every output is a sum of m x m x channels products."""
    inputs = keras.Input((*size, channels[0]))
    x = layers.Conv2D(channels[1], kernel, strides=stride)(layers.ZeroPadding2D(padding)(inputs))
    last = cost(keras.Model(inputs, x)).layers[-1]
    expected = tuple((n + 2 * padding - kernel) // stride + 1 for n in size)
    assert last.shape == (*expected, channels[1])
    assert last.multiply_adds == math.prod(expected) * channels[1] * kernel**2 * channels[0]
    assert last.parameters == kernel**2 * math.prod(channels) + channels[1] and last.bytes == 4 * last.parameters


def profiled(model: Any) -> int:
    """The floating-point operations that TensorFlow's profiler counts for products, for one sample."""
    import tensorflow as tf
    from tensorflow.python.profiler import model_analyzer, option_builder

    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]))
    graph = tf.function(lambda x: model(x)).get_concrete_function(spec).graph
    options = option_builder.ProfileOptionBuilder(option_builder.ProfileOptionBuilder.float_operation())
    counted = model_analyzer.profile(graph, cmd="op", options=options.with_empty_output().build())
    products = {"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "Conv3D"}
    total, node = 0, counted
    while node.children:
        (node,) = node.children
        total += node.float_ops if node.name in products else 0
    return total


def every_product() -> Any:
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(6, 3, padding="same")(layers.Conv2D(10, 1, dilation_rate=1)(x))
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(4, 3, strides=3, padding="valid")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(7)(layers.Flatten()(layers.MaxPooling2D(4)(x)))))


@pytest.mark.tensorflow("it is TensorFlow's profiler")
@pytest.mark.parametrize("cut", [False, True])
def test_twice_the_multiply_adds_is_what_tensorflow_counts(cut: bool) -> None:
    model = every_product()
    if cut:
        net = switched(model)
        disable_half(Switches(net))
        model = slim(net)
        assert cost(net).multiply_adds == cost(model).multiply_adds
        assert cost(net).parameters == cost(model).parameters == model.count_params()
    assert 2 * cost(model).multiply_adds == profiled(model) > 0


@pytest.mark.tensorflow("it is TensorFlow's profiler")
def test_mobilenet_as_tensorflow_counts_it() -> None:
    model = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), alpha=0.35)
    assert 2 * cost(model).multiply_adds == profiled(model)


def test_a_switched_network_counts_as_the_slim_one_layer_by_layer() -> None:
    net = switched(every_product())
    disable_half(Switches(net), seed=3)
    ours, small = ({row.layer: row for row in cost(each).layers} for each in (net, slim(net)))
    assert ours.keys() == small.keys()
    for name in ours:
        for what in ("shape", "filters", "parameters", "multiply_adds", "bytes"):
            assert getattr(ours[name], what) == getattr(small[name], what), (name, what)


LSTM = 16 * (8 * 4 * 5 + 5 * 4 * 5)  # steps * (inputs * gates * units + units * gates * units)
RECURRENT: dict[str, tuple[Any, int]] = {
    "LSTM": (lambda: layers.LSTM(5), LSTM),
    "GRU": (lambda: layers.GRU(5), LSTM * 3 // 4),
    "SimpleRNN": (lambda: layers.SimpleRNN(5), LSTM // 4),
    "a cell": (lambda: layers.RNN(layers.LSTMCell(5)), LSTM),
    "two cells": (lambda: layers.RNN([layers.LSTMCell(5), layers.SimpleRNNCell(3)]), LSTM + 16 * (5 * 3 + 3 * 3)),
    "both directions": (lambda: layers.Bidirectional(layers.LSTM(5)), 2 * LSTM),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (16, 7)), 16 * 8 * 7),
}


@pytest.mark.parametrize("kind", [slow(kind) if kind in ("GRU", "SimpleRNN", "a cell") else kind for kind in RECURRENT])
def test_what_is_multiplied_in_each_step_counts_in_switched_networks_too(kind: str) -> None:
    make, expected = RECURRENT[kind]
    x = layers.Conv1D(8, 3, padding="same", name="first")(entry := keras.Input((16, 4)))
    model = keras.Model(entry, layers.Dense(2)(layers.Flatten()(make()(x))))
    net = switched(model)
    switches = Switches(net)
    counts = [[layer.multiply_adds for layer in cost(one).layers] for one in (model, net)]
    assert counts[0] == counts[1] and counts[0][1] == expected
    switches.disable(*switches.filters[:3])
    assert cost(net).multiply_adds == cost(slim(net)).multiply_adds < sum(counts[0]) - 3 * 16 * 3 * 4


def test_a_product_whose_channels_cannot_be_cut_counts_in_switched_networks_too() -> None:
    x = layers.Conv1D(8, 3, padding="same", name="first")(entry := keras.Input((16, 4)))
    model = keras.Model(entry, layers.Dense(2)(layers.Flatten()(layers.EinsumDense("abc,bd->acd", (8, 7))(x))))
    for net in (model, switched(model)):
        assert cost(net).layers[1].multiply_adds == 16 * 8 * 7 and not cost(net).notes


@keras.saving.register_keras_serializable("costs")
class OwnCell(layers.SimpleRNNCell):  # type: ignore[misc]
    """Computes something of its own."""

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        return super().call(inputs * 2.0, states, training=training)


@pytest.mark.parametrize("cells", [lambda: OwnCell(3), lambda: [layers.LSTMCell(5), OwnCell(3)]])
def test_a_cell_without_a_formula_is_said_not_to_be_counted(cells: Any) -> None:
    entry = keras.Input((16, 4))
    x = layers.RNN(cells(), name="own")(layers.Conv1D(8, 3, name="first")(entry))
    model = keras.Model(entry, layers.Dense(2)(x))
    for net in (model, switched(model)):
        (note,) = cost(net).notes
        assert note.startswith("The multiply-adds of own (RNN) are not counted")


def test_a_subclassed_model_is_told_how_to_be_counted() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2D(4, 3)

        def call(self, x: Any) -> Any:
            return self.conv(x)

    model = Own()
    model(np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(ModelError, match=r"cost\(switched\(model\)\)"):
        cost(model)
    assert cost(switched(model)).multiply_adds == 6 * 6 * 9 * 3 * 4


def test_a_recurrent_convolution_counts_each_step_and_place() -> None:
    each = row((3, 12, 12, 2), layers.ConvLSTM2D(5, 3, strides=2))
    assert each.multiply_adds == 3 * 5 * 5 * 3 * 3 * (2 + 5) * 4 * 5


@keras.saving.register_keras_serializable("costs")
class Doubled(layers.Layer):  # type: ignore[misc]
    """Computes something else in training, so that it is left as it is."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = layers.Conv2D(6, 3, padding="same")

    def build(self, shape: Any) -> None:
        self.conv.build(shape)

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], 6)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.conv(x) * 2.0 if training else self.conv(x)


def test_a_layer_that_is_left_as_it_is_costs_as_much() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="next")(Doubled(name="left")(image))
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    net = switched(model)
    assert "left/conv2d" in str(Switches(net).unswitchable) and not cost(net).notes
    assert cost(net).multiply_adds == cost(model).multiply_adds
    assert cost(net).layers[0].multiply_adds == 8 * 8 * 9 * 3 * 6


def test_a_nested_model_of_any_size_counts_with_the_sizes_it_is_called_with() -> None:
    head = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(4, 3, padding="same")])
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, [head(layers.Conv2D(4, 1)(image)), head(layers.Conv2D(4, 1, strides=2)(image))])
    assert cost(model).multiply_adds == (8 * 8 + 4 * 4) * (3 * 4 + 9 * 4 * 4)


def test_peak_activation_memory_of_a_residual_block() -> None:
    """While the second convolution runs, its input, its output and the shortcut are in memory."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 1)(layers.Conv2D(5, 1)(stem := layers.Conv2D(3, 1)(inputs)))
    held = 16 * (3 + 5 + 3) * np.dtype("float32").itemsize
    assert cost(keras.Model(inputs, layers.Add()([stem, x]))).peak_activation_bytes == held


@pytest.mark.tensorflow("text exists there only")
def test_text_is_counted_by_its_references() -> None:
    text = keras.Input((1,), dtype="string")
    net = switched(keras.Model(text, layers.Dense(8, name="hidden")(layers.Hashing(8, output_mode="one_hot")(text))))
    assert cost(net).peak_activation_bytes == 2 * 8 * 4  # of the codes and of what is computed from them
    assert "hidden" in str(plan(net))


def test_undefined_sizes_are_refused() -> None:
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layers.Conv2D(2, 3, padding="same")(inputs))
    with pytest.raises(ModelError, match=r"size of the model is undefined.*input_shape"):
        cost(model)
    assert cost(model, input_shape=(5, 7, 1)).multiply_adds == 5 * 7 * 9 * 2


def test_latencies_are_measured_in_turn() -> None:
    calls: list[str] = []
    timings = latencies([lambda: calls.append("a"), lambda: (calls.append("b"), time.sleep(0.002))], 0.0, least=5)
    assert calls == ["a", "b"] * 7
    assert all(timing.low <= timing.median <= timing.high for timing in timings)
    assert timings[1].low > 1.9  # milliseconds; sleeping never takes less


def test_rounds_end_with_their_number() -> None:
    calls: list[int] = []
    latencies([lambda: calls.append(1)], 60.0, most=20)
    assert len(calls) == 22
