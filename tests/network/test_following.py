"""Layers made of layers, as other packages write them: followed whatever their `call` takes and leaves unused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from shrinknet import Switches, slim, switched
from shrinknet.errors import DataError, ModelError

X = np.random.default_rng(5).normal(1.0, 2.0, (8, 6, 6, 2)).astype("float32")


def around(block: Any) -> Any:
    """A classifier with this layer between two convolutions' worth of channels."""
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs := keras.Input((6, 6, 2)))
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(block(x))))


def cut(model: Any) -> list[str]:
    """Cuts every second filter, compares on the way, and returns the layers whose filters can be cut."""
    net = switched(model, X)
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    slim(net, X)
    return sorted({filter.layer for filter in switches.filters})


class Plain(layers.Layer):  # type: ignore[misc]
    """Its call does not take the mode, which Keras hands on to the layers inside."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv, self.norm = layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="norm")
        self.dropout, self.unused = layers.Dropout(0.5, name="drop"), layers.Dropout(0.5, name="unused")

    def get_config(self) -> Any:
        return {**super().get_config()}

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.norm.build(self.conv.compute_output_shape(shape))

    def call(self, x: Any) -> Any:
        return self.dropout(self.norm(self.conv(x)))


def test_a_call_that_takes_no_mode_and_a_dropout_that_is_never_called() -> None:
    assert cut(around(Plain(name="block"))) == ["block/conv", "first"]


class Wasteful(Plain):
    """It holds a normalisation that it never calls."""

    def call(self, x: Any) -> Any:
        return self.conv(x)


class Resized(Plain):
    """It calls a Sequential on another size than it was built for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.line = keras.Sequential([self.conv, self.norm])

    def build(self, shape: Any) -> None:
        self.line.build((shape[0], 9, 9, shape[-1]))

    def call(self, x: Any) -> Any:
        return self.line(x)


def test_a_sequential_that_was_built_for_another_size() -> None:
    assert cut(around(Resized(name="block"))) == ["block/conv", "first"]


class Reading(Plain):
    """It reads the weights of a layer that it never calls."""

    def call(self, x: Any) -> Any:
        return ops.clip(self.conv(x), -1.0, self.norm.moving_variance[0])


def test_weights_that_nothing_is_computed_with_are_not_missed() -> None:
    assert cut(around(Wasteful(name="block"))) == ["block/conv", "first"]


def test_weights_that_are_read_without_their_layer_are_missed() -> None:
    net = switched(around(Reading(name="block")), X)
    assert "uses the weights of its layer norm without its inputs" in Switches(net).unswitchable["block/conv"]


class Positions(Plain):
    """It calls a layer with constants."""

    def call(self, x: Any) -> Any:
        return self.conv(x) + self.norm(ops.ones((1, 1, 1, 4)))


def test_a_layer_called_with_constants_is_named() -> None:
    net = switched(around(Positions(name="block")), X)
    assert "uses the weights of its layer norm without its inputs" in Switches(net).unswitchable["block/conv"]


class Late(Plain):
    """Its training differs from the sum of its parts: it is left alone."""

    def call(self, x: Any, training: bool = False) -> Any:
        return self.norm(self.conv(x)) * (2.0 if training else 1.0)


def test_a_training_that_cannot_be_followed_is_still_seen() -> None:
    net = switched(around(Late(name="block")), X)
    assert "in training it computes something else" in Switches(net).unswitchable["block/conv"]


def test_a_layer_that_is_called_on_several_sizes() -> None:
    block, inputs = Plain(name="block"), keras.Input((12, 12, 2))
    parts = [block(x) for x in (inputs, layers.MaxPooling2D()(inputs))]
    flat = [layers.Reshape((-1, 2))(layers.Conv2D(4, 1, name=f"to_{i}")(part)) for i, part in enumerate(parts)]
    model = keras.Model(inputs, layers.Concatenate(axis=1)(flat))
    net = switched(model)
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    assert {filter.layer for filter in switches.filters} == {"block/conv"}
    slim(net)


class Activated(Plain):
    """It calls a function of keras.activations, which records an operation of its own."""

    def call(self, x: Any) -> Any:
        return keras.activations.relu(self.norm(self.conv(x)))


def test_an_activation_function_in_a_call(tmp_path: Path) -> None:
    net = switched(around(Activated(name="block")), X)
    switches = Switches(net)
    assert {filter.layer for filter in switches.filters} == {"first", "block/conv"}
    switches.disable(*switches.filters[::2])
    small = slim(net, X)
    small.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(again(X), small(X), rtol=1e-6)


class Assembled(keras.Model):  # type: ignore[misc]
    """It builds its layers itself, so that Keras does not know for which inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = layers.Conv2D(4, 3, name="conv"), layers.Conv2D(2, 1, name="last")

    def build(self, shape: Any = (None, 6, 6, 2)) -> None:
        self.conv.build(shape)
        self.last.build(self.conv.compute_output_shape(shape))
        self.built = True

    def call(self, x: Any) -> Any:
        return self.last(self.conv(x))


def test_a_model_that_builds_itself_is_written_out_for_the_sample() -> None:
    model = Assembled()
    model.build()
    assert cut(model) == ["conv"]


class Forgetful(Late):
    """Its configuration forgets one of its layers."""

    def __init__(self, extra: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.extra = layers.Dropout(0.5) if extra else layers.Identity()


def test_a_layer_whose_configuration_forgets_a_part_is_copied_as_it_is() -> None:
    assert cut(around(Forgetful(extra=True, name="block"))) == []
    x = Forgetful(extra=True, name="block")(inputs := keras.Input((6, 6, 2)))
    x = layers.Conv2D(6, 3, name="cut")(x)
    assert cut(keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x))) == ["cut"]


class Numbered(Late):
    """It saves a number of its own, and reads it as files give it back."""

    count = 0

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["count"] = self.count

    def load_own_variables(self, store: Any) -> None:
        self.count = int(store["count"][...])


def test_a_number_that_a_layer_saves_of_its_own_is_carried() -> None:
    model = around(block := Numbered(name="block"))
    block.count = 7
    net = switched(model, X)
    assert net.get_layer("block").count == slim(net, X).get_layer("block").count == 7


class Unlike(Late):
    """A copy from its configuration cannot be called where the layer was."""

    def __init__(self, kernel_size: int = 3, **settings: Any) -> None:
        super().__init__(**settings)
        self.conv = layers.Conv2D(4, kernel_size, name="conv")

    def get_config(self) -> Any:
        return {**super().get_config(), "kernel_size": 9}


def test_a_layer_that_cannot_be_called_as_configured_is_copied_as_it_is() -> None:
    assert cut(around(Unlike(name="block"))) == []


class Scaling(Plain):
    """It takes a table, which has no batch axis, besides its input."""

    def call(self, x: Any, table: Any) -> Any:
        return self.norm(self.conv(x * table))


def test_an_argument_without_a_batch_axis() -> None:
    x = layers.Conv2D(6, 3, padding="same", name="first")(inputs := keras.Input((6, 6, 2)))
    x = Scaling(name="block")(x, table=ops.mean(x, axis=(0, 1, 2)))
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    assert cut(model) == ["block/conv"]


class Reshaping(Plain):
    """It reshapes to a batch size that symbolic tensors do not have."""

    def call(self, x: Any) -> Any:
        x = self.norm(self.conv(x))
        batch = ops.shape(x)[0]
        return ops.reshape(ops.reshape(x, (batch, 16, 4)), (batch, 4, 4, 4))


def test_an_unknown_batch_size_is_inferred() -> None:
    assert cut(around(Reshaping(name="block"))) == ["block/conv", "first"]


class Attending(Plain):
    """It leaves the number of its pixels to be inferred beside the batch size."""

    def call(self, x: Any) -> Any:
        x = self.norm(self.conv(x))
        x = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
        seen = ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)
        return ops.reshape(seen, (ops.shape(x)[0], 4, -1, x.shape[-1]))


def test_a_size_that_is_inferred_beside_the_batch_size() -> None:
    net = switched(around(Attending(name="block")), X)
    assert "cannot be followed" not in str(Switches(net).unswitchable)
    assert net.get_layer("block").output.shape == (None, 4, 4, 4)


class Ranking(Plain):
    """It makes a tensor as large as the batch."""

    def call(self, x: Any) -> Any:
        x = self.norm(self.conv(x))
        return x * ops.ones((ops.shape(x)[0], 1, 1, 1))


def test_a_batch_size_that_cannot_be_followed_is_the_reason() -> None:
    switches = Switches(switched(around(Ranking(name="block")), X))
    assert "computes with a size that is open, such as that of the batch" in switches.unswitchable["block/conv"]


class Counting(Plain):
    """It multiplies by a batch size that symbolic tensors do not have."""

    def call(self, x: Any) -> Any:
        x = self.norm(self.conv(x))
        return ops.reshape(x, (ops.shape(x)[0], 4, None if isinstance(x, keras.KerasTensor) else 4, 4))

    def compute_output_shape(self, shape: Any) -> Any:
        return (shape[0], 4, 4, 4)


def test_what_was_followed_but_cannot_be_computed_is_left_alone() -> None:
    switches = Switches(switched(around(Counting(name="block")), X))
    assert "could not be compared with what it was followed to" in switches.unswitchable["block/conv"]


def test_a_network_whose_every_layer_is_left_alone_has_no_filters() -> None:
    inputs = keras.Input((6, 6, 2))
    net = switched(keras.Model(inputs, Late(name="block")(inputs)), X)
    switches = Switches(net)
    assert not switches.filters and list(switches.unswitchable) == ["block/conv"]
    assert switches.unswitchable["block/conv"].count("the layer block") == 1
    assert slim(net, X).count_params() == net.count_params()


def test_what_a_model_raises_on_its_sample_becomes_a_sentence() -> None:
    first, second = keras.Input((None, None, 1)), keras.Input((None, None, 4))
    x = layers.Add()([layers.UpSampling2D()(layers.Conv2D(4, 3, padding="same")(first)), layers.Conv2D(4, 1)(second)])
    model = keras.Model([first, second], layers.Conv2D(1, 1)(x), name="pyramid")
    small, large = np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 8, 8, 4), "float32")
    assert Switches(switched(model, [small, large])).filters
    with pytest.raises(ModelError, match=r"The model pyramid cannot be called again.*sample"):
        switched(model, [small, np.zeros((1, 4, 4, 4), "float32")])
    with pytest.raises(DataError, match=r"The network pyramid cannot be called with the sample"):
        slim(switched(model, [small, large]), [small, np.zeros((1, 4, 4, 4), "float32")])


@pytest.mark.parametrize(
    "sample", [X[:2, :5], X[0], [X, X], {"other": X}, None, []], ids=lambda one: str(np.shape(one))
)
def test_a_sample_of_a_wrong_shape_is_named(sample: Any) -> None:
    model = around(Plain(name="block"))
    for shrink, given in ((switched, model), (slim, switched(model))):
        if sample is None:
            shrink(given, sample)
            continue
        with pytest.raises(DataError, match=r"expected .* of shape \(samples, 6, 6, 2\); received [(\[{]"):
            shrink(given, sample)
    sequential = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(4, 3), layers.Conv2D(2, 1)])
    with pytest.raises(DataError, match=r"of shape \(samples, 6, 6, 2\); received \(2, 6, 6, 1\)"):
        switched(sequential, X[:2, :, :, :1])
