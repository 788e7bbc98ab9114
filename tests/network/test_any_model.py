"""Any Keras model: the copy matches the model, whatever its state, classes and layers; nested parts are cut too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from marking import slow

from shrinknet import Checkpoint, Filter, Switches, cost, export, plan, slim, switched
from shrinknet.errors import ModelError, NotEquivalentError

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(1.0, 2.0, (8, 6, 6, 2)).astype("float32")
Y = RANDOM.normal(size=(8, 2)).astype("float32")


def head(x: Any) -> Any:
    return layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x))


def image() -> Any:
    return keras.Input((6, 6, 2), name="image")


def same(model: Any, other: Any, x: Any = X) -> None:
    expected = np.asarray(ops.convert_to_numpy(model(x, training=False)))
    received = np.asarray(ops.convert_to_numpy(other(x, training=False)))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


def halved(net: Any) -> Any:
    """The slim network without every second filter."""
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    small = slim(net, X)
    same(net, small)
    assert small.count_params() < sum(int(np.prod(weight.shape)) for weight in net.weights)
    return small


# -- state that is neither a weight nor a setting


def test_an_adapted_normalization_is_carried() -> None:
    layer = layers.Normalization()
    layer.adapt(X)
    model = keras.Model(x := image(), head(layers.Conv2D(4, 3, name="c")(layer(x))))
    same(model, switched(model))
    same(model, slim(switched(model)))


@pytest.mark.tensorflow("text exists there only")
def test_what_a_layer_says_of_drawn_inputs_is_handed_on() -> None:
    words = keras.Input((4,), dtype="int64")
    x = layers.IntegerLookup(vocabulary=[5, 9], num_oov_indices=0)(words)
    x = layers.Dense(2)(layers.Dense(3)(ops.cast(x, "float32")))
    with pytest.raises(ModelError, match=r"random inputs that were tried \((?!Exception encountered)"):
        switched(keras.Model(words, x))


def test_a_normalization_by_one_number_is_passed_through() -> None:
    x = layers.Normalization(axis=None, mean=2.0, variance=3.0)(layers.Conv2D(4, 3, name="first")(inputs := image()))
    net = switched(keras.Model(inputs, head(layers.Conv2D(3, 1)(x))))
    Switches(net).disable(Filter("first", 1))
    assert slim(net, X).get_layer("first").filters == 3


def test_a_vocabulary_is_carried() -> None:
    words = keras.Input((3,), dtype="string")
    lookup = layers.StringLookup(output_mode="multi_hot")
    lookup.adapt(np.array([["a", "b", "c"]]))
    model = keras.Model(words, layers.Dense(2)(layers.Dense(4, name="hidden")(lookup(words))))
    given = ops.convert_to_tensor(np.array([["a", "b", "z"], ["c", "c", "a"]]))
    net = switched(model)
    same(model, net, given)
    Switches(net).disable(Filter("hidden", 1))
    same(net, slim(net), given)


@pytest.mark.tensorflow("text exists there only")
@pytest.mark.parametrize("kind", [list, dict])
def test_text_next_to_numbers_needs_no_sample(kind: type) -> None:
    inputs = {"text": keras.Input((1,), dtype="string", name="text"), "number": keras.Input((1,), name="number")}
    codes = layers.Hashing(8, output_mode="one_hot")(inputs["text"])
    hidden = layers.Dense(4, name="hidden")(layers.Concatenate()([codes, inputs["number"]]))
    net = switched(keras.Model(inputs if kind is dict else list(inputs.values()), layers.Dense(2)(hidden)))
    Switches(net).disable(Filter("hidden", 1))
    assert slim(net).get_layer("hidden").units == 3


def test_seeds_are_carried() -> None:
    model = keras.Model(x := image(), head(layers.Dropout(0.5, seed=3)(layers.Conv2D(4, 3)(x))))
    model(X, training=True)  # advances the seed
    net = switched(model)
    np.testing.assert_array_equal(model(X, training=True), net(X, training=True))


# -- layers made of layers


@keras.saving.register_keras_serializable("any_model")
class Block(layers.Layer):  # type: ignore[misc]
    """Its convolution is built in the first call, as in many published layers."""

    def __init__(self, width: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.width = width
        self.conv = layers.Conv2D(width, 3, padding="same", name="conv")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        return ops.relu(self.norm(self.conv(inputs), training=training))

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], self.width)

    def get_config(self) -> Any:
        return {**super().get_config(), "width": self.width}


class Odd(Block):
    """Its configuration does not fit its constructor."""

    def get_config(self) -> Any:
        return {**super().get_config(), "extra": 1}


class Branching(Block):
    """Computes something else in training, by a Python branch that symbolic tensors do not take."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self.conv(inputs) * (2.0 if training else 1.0)


class Weighing(Block):
    """Has its own weight besides its layers."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:
        return ops.multiply(self.conv(inputs), self.scale)


class Looking(Block):
    """Reads values, which symbolic tensors do not have."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        return self.conv(inputs) if float(ops.convert_to_numpy(inputs).sum()) > 0 else -self.conv(inputs)


class Costing(Block):
    """Adds a loss."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        outputs = self.conv(inputs)
        self.add_loss(ops.mean(outputs))
        return outputs


def stacked(*blocks: Any) -> Any:
    x = inputs = image()
    for block in blocks:
        x = block(x)
    model = keras.Model(inputs, head(x), name="stacked")
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def test_a_composite_layer_is_followed_and_cut() -> None:
    model = stacked(Block(4, name="first"), Block(6, name="second"))
    model.fit(X, Y, verbose=0)
    net = switched(model)
    same(model, net)
    assert {filter.layer for filter in Switches(net).filters} == {"first/conv", "second/conv"}
    assert len(Switches(net).filters) == 10
    small = halved(net)
    assert small.get_layer("first").get_layer("conv").filters == 2
    assert [type(layer).__module__.split(".")[0] for layer in small._flatten_layers()].count("keras") > 5
    small.fit(X, Y, verbose=0)


def test_a_composite_layer_that_is_shared_stays_shared() -> None:
    block = Block(2, name="block")
    net = switched(stacked(block, block))
    assert len(Switches(net).filters) == 0  # its channels are added to those of the image, which cannot be cut
    block = Block(4, name="block")
    net = switched(stacked(layers.Conv2D(4, 1, name="stem"), block, block))
    assert len([weight for weight in net.weights if weight.name == "kernel"]) == 3
    halved(net)


def test_training_goes_on_as_the_model_would_have() -> None:
    model = stacked(Block(4, name="first"), Block(6, name="second"))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")  # Adam would amplify rounding in a bias before norm
    model.fit(X, Y, verbose=0, shuffle=False)
    net = switched(model)
    for one in (model, net):
        one.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(net(X), model(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (Branching, "in training it computes something else"),
        (Weighing, "weights that belong to none of its layers"),
        (Looking, "cannot be followed with symbolic tensors"),
        (Costing, "its call adds a loss with add_loss(), which Keras does not record"),
        (Odd, ""),
    ],
)
def test_what_cannot_be_followed_is_left_as_it_is_and_the_rest_is_cut(block: Any, reason: str) -> None:
    model = stacked(layers.Conv2D(4, 3, name="a"), layers.Conv2D(4, 1, name="b"), block(4, name="odd"))
    model(X)
    net = switched(model)
    same(model, net)
    switches = Switches(net)
    if block is not Odd:  # it can be followed nevertheless
        assert reason in switches.unswitchable["odd/conv"]
        assert {filter.layer for filter in switches.filters} == {"a"}
    for variable in net.weights:
        assert id(variable) not in {id(weight) for weight in model.weights}
    halved(net)


# -- classes


class Distilled(keras.Model):  # type: ignore[misc]
    """A class with its own constructor, compile and training, and a teacher."""

    def __init__(self, backbone: Any, **keywords: Any) -> None:
        super().__init__(backbone.input, head(backbone.output), **keywords)
        self.backbone = backbone
        self.seen = keras.metrics.Mean(name="seen")
        self.compile()

    def compile(self, optimizer: Any = "auto", weight: float = 0.5, **keywords: Any) -> None:
        self.weight = weight
        super().compile(keras.optimizers.SGD(0.01) if optimizer == "auto" else optimizer, "mse", **keywords)

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True) -> Any:
        self.seen.update_state(1.0)
        own = super().compute_loss(x, y, y_pred, sample_weight, training)
        return own + self.weight * ops.mean(ops.square(y_pred - self.teacher(x)))


class Anything(keras.Model):  # type: ignore[misc]
    """Accepts any arguments of a model."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)


class Subclassed(keras.Model):  # type: ignore[misc]
    """Its operations are not recorded."""

    def __init__(self, branch: bool = False) -> None:
        super().__init__()
        self.block, self.conv, self.tail = Block(4, name="block"), layers.Conv2D(6, 3, name="conv"), layers.Dense(2)
        self.branch = branch

    def call(self, inputs: Any, training: Any = None) -> Any:
        x = self.conv(self.block(inputs, training=training))
        if self.branch and float(ops.convert_to_numpy(x).sum()) > 0:
            x = -x
        return self.tail(ops.mean(x, axis=(1, 2)))

    def train_step(self, *arguments: Any) -> Any:
        self.steps = getattr(self, "steps", 0) + 1
        return super().train_step(*arguments)


class Doubled(keras.Model):  # type: ignore[misc]
    """A Functional model with its own call."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return 2 * super().call(inputs)


def backbone() -> Any:
    x = image()
    return keras.Model(
        x, layers.Conv2D(4, 3, activation="relu", name="b")(layers.Conv2D(4, 3, name="a")(x)), name="body"
    )


def distilled() -> Any:
    model = Distilled(backbone(), name="task")
    model.teacher = keras.Model(x := image(), head(layers.Conv2D(3, 3)(x)))
    return model


def test_a_task_class_is_switched_trained_as_it_trains_and_cut(caplog: pytest.LogCaptureFixture) -> None:
    model = distilled()
    net = switched(model)
    same(model, net)
    assert isinstance(net, Distilled) and net.teacher is not model.teacher and net.weight == 0.5
    assert net.backbone is not model.backbone
    assert net.seen is not model.seen
    for one in (model, net):
        one.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(net(X), model(X), rtol=1e-4, atol=1e-5)
    small = halved(net)
    assert type(small) is not Distilled
    assert "Distilled has a constructor or a call of its own" in caplog.text


@pytest.mark.parametrize("make", [
    lambda: Anything((m := backbone()).input, head(m.output)),
    lambda: Doubled((m := backbone()).input, head(m.output)),
])  # fmt: skip
def test_classes_with_a_constructor_or_call_of_their_own(make: Callable[[], Any]) -> None:
    model = make()
    net = switched(model)
    same(model, net)
    assert isinstance(net, type(model))
    halved(net)


def test_a_subclassed_model_is_followed_and_cut() -> None:
    model = Subclassed()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(X, Y, verbose=0)
    net = switched(model)
    same(model, net)
    assert {filter.layer for filter in Switches(net).filters} == {"block/conv", "conv"}
    net.fit(X, Y, verbose=0)
    assert net.steps > 0  # trained by the step of its own class
    halved(net)


class Keyed(keras.Model):  # type: ignore[misc]
    """Takes its inputs by name."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.keys = keys
        self.hidden, self.tail = layers.Dense(6, name="hidden"), layers.Dense(2, name="tail")

    def call(self, inputs: Any) -> Any:
        return self.tail(sum(ops.relu(self.hidden(inputs[key])) for key in self.keys))


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")  # a layer has the name of the key
@pytest.mark.parametrize(
    ("keys", "trained"),
    [(("x",), False), (("z", "a"), True), slow(("x",), True), slow(("z", "a"), False), (("hidden",), False)],
)
def test_a_subclassed_model_that_takes_a_dictionary(keys: tuple[str, ...], trained: bool) -> None:
    x = {key: RANDOM.normal(size=(8, 5)).astype("float32") for key in keys}
    model = Keyed(*keys)
    model.compile("sgd", "mse")
    if trained:
        model.fit(x, Y, verbose=0)
    else:
        model(x)
    for sample in (None, x):
        net = switched(model, sample)
        same(model, net, x)
        net.fit(x, Y, verbose=0)
        switches = Switches(net)
        switches.disable(*switches.filters[::2])
        small = slim(net, sample)
        same(net, small, x)
        small.fit(x, Y, verbose=0)
        assert small.count_params() == 3 * 6 + 2 * 4


def test_a_subclassed_model_that_looks_at_numbers_is_refused() -> None:
    model = Subclassed(branch=True)
    model(X)
    with pytest.raises(
        ModelError, match=r"call\(\) of its own that cannot be followed.*values of a tensor.*keras.Model"
    ):
        switched(model)


class Scaling(keras.Model):  # type: ignore[misc]
    """Has a weight that belongs to none of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.out = layers.Conv2D(2, 1)

    def build(self, shape: Any) -> None:
        self.own = self.add_weight(shape=(2,), initializer="ones", name="own")
        super().build(shape)

    def call(self, x: Any) -> Any:
        return self.out(x) * self.own


def test_a_subclassed_model_with_a_weight_of_its_own_is_refused_for_that() -> None:
    model = Scaling()
    model(X)
    with pytest.raises(ModelError, match=r"weights that belong to none of its layers \(.*own\)\. Use keras\.Model"):
        switched(model)


class Unnamed(layers.Layer):  # type: ignore[misc]
    """Keras leaves the name out of its configuration, since its other arguments are not called keywords or kwargs."""

    def __init__(self, **others: Any) -> None:
        super().__init__(**others)
        self.conv = layers.Conv2D(4, 1)

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.gain = self.add_weight(name="gain", shape=(), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return self.conv(inputs) * self.gain


def names(model: Any) -> list[str]:
    """Of the layers inside, without what holds the switches."""
    inside = [layer.name for layer in model._flatten_layers() if layer is not model]
    return [name for name in inside if name not in ("image", "switchboard")]


def test_layers_that_are_left_whole_keep_their_names() -> None:
    model = stacked(Unnamed(name="mine"))
    net = switched(model)
    small = slim(net, X)
    assert names(net) == names(model) == names(small)
    paths = [weight.path for weight in model.get_layer("mine").weights]
    assert paths == [weight.path for weight in net.get_layer("mine").weights]
    assert paths == [weight.path for weight in small.get_layer("mine").weights]
    assert any(path.startswith("mine/") for path in Switches(net).unswitchable)


def test_single_weights_that_do_not_train_do_not_train_in_the_copies() -> None:
    x = image()
    normed = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv")(x))
    model = keras.Model(x, head(layers.Conv2D(4, 3)(normed)))
    model.get_layer("norm").gamma.trainable = False
    model.get_layer("conv").bias.trainable = False
    model.compile("sgd", "mse")
    net = switched(model)
    small = halved(net)
    for copy in (net, small):
        assert [weight.name for weight in copy.get_layer("norm").trainable_weights] == ["beta"]
        before = np.array(copy.get_layer("norm").gamma), np.array(copy.get_layer("conv").bias)
        copy.fit(X, np.ones((len(X), 2)), verbose=0)
        assert np.array_equal(before[0], copy.get_layer("norm").gamma)
        assert np.array_equal(before[1], copy.get_layer("conv").bias)


class Adding(layers.Layer):  # type: ignore[misc]
    def call(self, one: Any, other: Any = None) -> Any:
        return one if other is None else one + other


def test_an_optional_input_stays_optional() -> None:
    one, other = keras.Input((6, 6, 2), name="one"), keras.Input((6, 6, 2), name="other", optional=True)
    model = keras.Model([one, other], head(layers.Conv2D(6, 3)(Adding()(one, other))))
    net = switched(model)
    same(model, net, [X, None])
    switches = Switches(net)
    switches.disable(*switches.filters[::2])
    same(net, slim(net), [X, None])


# -- random numbers in inference


class Sampling(layers.Layer):  # type: ignore[misc]
    """The middle of a variational autoencoder."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, mean: Any, spread: Any) -> Any:
        return mean + ops.exp(spread) * self.drawn(ops.shape(mean))

    def drawn(self, shape: Any) -> Any:
        return keras.random.normal(shape, seed=self.seeds)


class Global(Sampling):
    """Keras's global seeds."""

    def drawn(self, shape: Any) -> Any:
        return keras.random.normal(shape)


class Unkept(Sampling):
    """Numbers that no seed of Keras repeats."""

    def drawn(self, shape: Any) -> Any:
        return ops.convert_to_tensor(np.random.normal(size=shape).astype("float32"))

    def compute_output_spec(self, mean: Any, spread: Any) -> Any:
        return keras.KerasTensor(mean.shape, mean.dtype)


def autoencoder(sampling: Any) -> Any:
    x = keras.Input((7,), name="x")
    hidden = layers.Dense(6, activation="relu", name="encode")(x)
    code = sampling(layers.Dense(3, name="mean")(hidden), layers.Dense(3, name="spread")(hidden))
    model = keras.Model(x, layers.Dense(7, name="out")(layers.Dense(5, name="decode")(code)), name="autoencoder")
    model.compile("sgd", "mse")
    return model


GLOBAL = pytest.param(Global, marks=pytest.mark.tensorflow("JAX draws with the seeds of layers only"))


@pytest.mark.parametrize("kind", [Sampling, GLOBAL])
def test_a_network_that_draws_random_numbers_is_copied_trained_and_cut(kind: Any) -> None:
    x = RANDOM.normal(size=(8, 7)).astype("float32")
    model = autoencoder(kind())
    model.fit(x, x, verbose=0)
    before = [np.array(weight) for weight in model.variables]
    net = switched(model)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.variables, strict=True))
    if kind is Sampling:
        same(model, net, x)  # from the same seeds the same numbers
    net.fit(x, x, epochs=2, verbose=0)
    switches = Switches(net)
    assert {filter.layer for filter in switches.filters} == {"encode", "decode"}
    switches.disable(*switches.filters[::2])
    for sample in (None, x):
        small = slim(net, sample)
        assert small.count_params() < model.count_params()
    small.fit(x, x, verbose=0)
    assert not np.array_equal(small(x), small(x))


def test_the_seeds_of_a_model_that_is_built_late_do_not_change() -> None:
    features = Block(4, name="late")(x := image())
    model = keras.Model(x, head(layers.Conv2D(4, 1)(Sampling(name="samples")(features, features))))
    before = np.array(model.get_layer("samples").seeds.state)
    switched(model)
    assert np.array_equal(before, model.get_layer("samples").seeds.state)


def test_random_numbers_that_no_seed_repeats_are_named() -> None:
    with pytest.raises(ModelError, match=r"The layer samples of autoencoder draws random numbers in inference"):
        switched(autoencoder(Unkept(name="samples")))


class Bright(layers.Layer):  # type: ignore[misc]
    """Has an attribute that its configuration does not contain."""

    factor = 1.0

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


def test_a_layer_with_state_that_keras_does_not_save_is_named() -> None:
    bright = Bright(name="bright")
    bright.factor = 2.0
    with pytest.raises(NotEquivalentError, match=r"The layer bright \(Bright\) has state that Keras does not save"):
        switched(stacked(layers.Conv2D(4, 3), bright, layers.Conv2D(4, 1)))
    inner = keras.Model(x := image(), bright(x), name="inner")
    with pytest.raises(NotEquivalentError, match=r"The layer inner/bright \(Bright\) has state"):
        switched(stacked(inner, layers.Conv2D(4, 1)))


# -- what cannot be copied is refused with the true reason


def tied() -> Any:
    first, second = Weighing(2, name="first"), Weighing(2, name="second")
    model = stacked(first, second)
    second._tracker.unlock()
    second._trainable_variables.remove(second.scale)
    second.scale = first.scale
    return model


def test_a_variable_that_two_layers_share_is_refused() -> None:
    with pytest.raises(ModelError, match="first and second share the variable"):
        switched(tied())


class Back(layers.Layer):  # type: ignore[misc]
    """Multiplies by the transposed weight of another layer."""

    def __init__(self, other: Any, weight: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.other = other
        self.weight = weight

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, ops.transpose(getattr(self.other, self.weight)))

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], 7)


def test_a_layer_that_uses_a_weight_of_another_is_refused() -> None:
    encode = layers.Dense(4, name="encode")
    autoencoder = keras.Model(x := keras.Input((7,)), Back(encode, "kernel", name="decode")(encode(x)))
    with pytest.raises(ModelError, match="encode and decode share the variable encode/kernel"):
        switched(autoencoder)
    words = layers.Embedding(7, 4, name="words")
    predictor = keras.Model(
        x := keras.Input((3,), dtype="int32"), Back(words, "embeddings", name="heads")(layers.Dense(4)(words(x)))
    )
    with pytest.raises(ModelError, match="words and heads share the variable words/embeddings"):
        switched(predictor)


def test_a_lambda_with_functions_of_its_own_is_copied() -> None:
    x = image()
    shuffled = layers.Lambda(lambda t: t * 2.0, output_shape=lambda shape: shape)(layers.Conv2D(4, 3)(x))
    model = keras.Model(x, head(shuffled))
    same(model, switched(model))


def test_a_class_that_only_holds_models_is_told_which_to_pass() -> None:
    class Gan(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="gan")
            self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(3)])

    with pytest.raises(ModelError, match=r"has no call\(\), only models inside it\. Pass .* gan\.generator"):
        switched(Gan())


def test_what_is_no_keras_model_is_refused() -> None:
    for function in (switched, Switches, plan, slim, cost, Checkpoint.of, lambda value: export(value, "out")):
        with pytest.raises(ModelError, match=r"Expected a Keras model; received str\. Load the file with keras"):
            function("model.keras")
        with pytest.raises(ModelError, match="Expected a Keras model; received NoneType"):
            function(None)


def test_a_copy_that_is_another_function_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    from shrinknet.network import switching

    carry = switching.carry_state

    def forgetful(old: Any, new: Any) -> Any:
        pairs = carry(old, new)
        for _, target in pairs[:1]:
            target.assign(ops.zeros_like(target.value))
        return pairs

    monkeypatch.setattr(switching, "carry_state", forgetful)
    with pytest.raises(NotEquivalentError, match=r"switched copy of .* is not the same function.* bug .* at conv2d"):
        switched(keras.Model(x := image(), head(layers.Conv2D(4, 3)(x))))
