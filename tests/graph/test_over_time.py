"""TimeDistributed around nested models and composite layers, and layers that are called in several places."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from shrinknet import Switches, cost, slim, switched
from shrinknet.comparing import difference
from shrinknet.repair import Refit, recalibrate, refit
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.program import record
from shrinknet.repair.reference import Calibration
from shrinknet.repair.walk import Inputs, walk

RANDOM = np.random.default_rng(8)
FRAMES = RANDOM.normal(size=(6, 4, 8, 8, 2)).astype("float32")
ALL = Refit(samples=None, positions=10**6, batch=6)


def cnn(name: str = "cnn") -> Any:
    image = keras.Input((8, 8, 2))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False, name="first")(image))
    x = layers.Conv2D(5, 3, name="second")(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(4, name="last")(layers.Flatten()(x)), name=name)


@keras.saving.register_keras_serializable("over_time")
class Block(layers.Layer):  # type: ignore[misc]
    """A layer made of layers, as TimeDistributed wants them: with `build` and `compute_output_shape`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.first = layers.Conv2D(6, 3, name="first")

    def build(self, shape: Any) -> None:
        self.first.build(shape)

    def compute_output_shape(self, shape: Any) -> Any:
        return shape[0], 6

    def call(self, x: Any) -> Any:
        return ops.max(ops.relu(self.first(x)), axis=(1, 2))


def around(inner: Any, *, steps: int | None = 4) -> Any:
    """A model that judges each frame by `inner`, and then all of them."""
    frames = keras.Input((steps, 8, 8, 2))
    x = layers.GlobalAveragePooling1D()(layers.TimeDistributed(inner, name="each")(frames))
    return keras.Model(frames, layers.Dense(2, name="head")(x))


def cut(model: Any, x: Any, shape: Any = None) -> tuple[Any, Switches, Any]:
    net = switched(model, x)
    switches = Switches(net, shape)
    switches.disable(*switches.filters[::2])
    return net, switches, slim(net, x)


def in_a_clip() -> Any:
    """A nested model that takes clips, inside a model that takes several of them."""
    clip = keras.Input((2, 8, 8, 2))
    pooled = layers.GlobalAveragePooling1D()(layers.TimeDistributed(cnn(), name="frame")(clip))
    clips = keras.Input((4, 2, 8, 8, 2))
    each = layers.TimeDistributed(keras.Model(clip, pooled, name="clip"), name="each")
    return keras.Model(clips, layers.Dense(2)(layers.GlobalAveragePooling1D()(each(clips))))


def reshaped(target: tuple[int, ...]) -> Any:
    """A movement in each time step, which is another one when channels are missing."""
    frames = keras.Input((4, 8, 8, 2))
    x = layers.TimeDistributed(layers.Conv2D(6, 3, strides=4, padding="same", name="first"), name="each")(frames)
    x = layers.TimeDistributed(layers.Dense(3, name="next"))(layers.TimeDistributed(layers.Reshape(target))(x))
    return keras.Model(frames, layers.Dense(2)(layers.Flatten()(x)))


def twice(inner: Any) -> Any:
    """Frames of clips."""
    clips = keras.Input((3, 4, 8, 8, 2))
    x = layers.TimeDistributed(layers.TimeDistributed(inner, name="frame"), name="each")(clips)
    return keras.Model(clips, layers.Dense(2)(layers.Flatten()(x)))


MODELS = {
    "a movement": (lambda: reshaped((4, 6)), {"each/first": 6}),
    "a movement of all channels": (lambda: reshaped((-1,)), {"each/first": 6}),
    "time steps in time steps": (lambda: twice(layers.Conv2D(6, 3, name="first")), {"each/frame/first": 6}),
    "a nested model in time steps of time steps": (lambda: twice(cnn()), {"each/frame/cnn/first": 6}),
    "a nested model": (lambda: around(cnn()), {"each/cnn/first": 6, "each/cnn/second": 5, "each/cnn/last": 4}),
    "any number of frames": (lambda: around(cnn(), steps=None), {"each/cnn/first": 6, "each/cnn/second": 5}),
    "a composite layer": (lambda: around(Block(name="block")), {"each/block/first": 6}),
    "clips of frames": (in_a_clip, {"each/clip/frame/cnn/first": 6, "each/clip/frame/cnn/second": 5}),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_applied_to_each_time_step_is_cut(kind: str) -> None:
    make, expected = MODELS[kind]
    model = make()
    x = RANDOM.normal(size=(3, *(4 if size is None else size for size in model.input_shape[1:]))).astype("float32")
    net, switches, small = cut(model, x, x.shape[1:])
    counts = {path: sum(filter.layer == path for filter in switches.filters) for path in expected}
    assert counts == expected
    assert difference(small(x), net(x)) < 1e-5 and small.count_params() < model.count_params()
    assert cost(net, x.shape[1:]).multiply_adds == cost(small, x.shape[1:]).multiply_adds
    assert set(small.get_layer("each").get_config()) == set(model.get_layer("each").get_config())


def test_frames_cost_as_often_as_there_are_frames() -> None:
    (each, *_), (alone, *_) = (cost(model).layers for model in (around(cnn()), cnn()))
    assert (each.layer, each.multiply_adds) == ("each/cnn/first", 4 * alone.multiply_adds)
    assert each.parameters == alone.parameters


def test_refit_over_time_is_the_refit_of_the_frames() -> None:
    one, many = cnn(), around(cnn())
    many.get_layer("each").layer.set_weights(one.get_weights())
    kernels = []
    for model, x, prefix in ((one, FRAMES.reshape(-1, 8, 8, 2), ""), (many, FRAMES, "each/cnn/")):
        net = switched(model)
        switches = Switches(net)
        switches.disable(*(filter for filter in switches.filters if filter.layer == f"{prefix}first"))
        switches.enable(next(filter for filter in switches.filters if filter.layer == f"{prefix}first"))
        missed = refit(net, x, settings=ALL).missed
        assert f"{prefix}second" in missed
        kernels.append(switches.graph.layers[f"{prefix}second"].kernel)
    assert not np.allclose(kernels[0], one.get_layer("second").kernel, atol=1e-3)
    np.testing.assert_allclose(*map(np.asarray, kernels), atol=1e-5)


def test_a_layer_called_in_several_places_has_one_name_and_counts_once() -> None:
    shared, image, frames = cnn(), keras.Input((8, 8, 2)), keras.Input((4, 8, 8, 2))
    outer = keras.Model(inner := keras.Input((8, 8, 2)), layers.Dense(4)(shared(inner)), name="outer")
    each = layers.GlobalAveragePooling1D()(layers.TimeDistributed(shared, name="each")(frames))
    model = keras.Model([image, frames], layers.Dense(2)(layers.Add()([outer(image), shared(image), each])))
    x = [FRAMES[:, 0], FRAMES]
    net, switches, small = cut(model, x)
    assert [cost(one).parameters for one in (model, small)] == [model.count_params(), small.count_params()]
    assert len(switches.filters) == 6 + 5 + 4  # the outer layer is added to the last one
    assert sum(layer.endswith("second") for layer in refit(net, x, settings=ALL).missed) == 1


def test_a_layer_called_at_each_time_and_by_itself_is_cut_once() -> None:
    dense = layers.Dense(5, name="shared")
    x, y = keras.Input((3, 5)), keras.Input((5,))
    each = layers.TimeDistributed(dense, name="each")(x)
    model = keras.Model([x, y], layers.Dense(2)(layers.GlobalAveragePooling1D()(each) + dense(y)))
    given = [RANDOM.normal(size=(4, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    net, switches, small = cut(model, given)
    assert {filter.layer for filter in switches.filters} == {"each/shared"}
    assert difference(small(given), net(given)) < 1e-5
    assert small.get_layer("each").layer is small.get_layer("shared")


def test_a_network_with_masks_of_time_steps_can_be_walked() -> None:
    steps = keras.Input((4, 5))
    each = layers.TimeDistributed(layers.Dense(6, activation="relu"), name="each")(layers.Masking()(steps))
    model = keras.Model(steps, layers.Dense(2)(layers.LSTM(3, name="memory")(each)))
    x = RANDOM.normal(size=(8, 4, 5)).astype("float32")
    x[::2, 2:] = 0
    net, _, small = cut(model, x)
    assert difference(small(x), net(x)) < 1e-5
    reads: list[Any] = []

    def look(station: Any, tensors: Any) -> None:
        if station[0].operation is net.layers[-1]:
            reads.extend(tensors.chunks(station[0].takes[0]))

    program = record(net)
    walk(program, Inputs(program, x, ALL), look, budget=2**30)
    expected = keras.Model(net.inputs[0], net.layers[-2].output)(x)
    np.testing.assert_allclose(np.concatenate(reads)[: len(x)], expected, atol=1e-5)


def test_statistics_over_time_are_those_of_the_frames() -> None:
    one, many = cnn(), around(cnn())
    many.get_layer("each").layer.set_weights(one.get_weights())
    norms = []
    for model, x in ((one, FRAMES.reshape(-1, 8, 8, 2)), (many, FRAMES)):
        net = switched(model)
        (path,) = recalibrate(net, x, settings=Refit(samples=None, batch=4))  # the last chunk is filled up with repeats
        norms.append(Switches(net).graph.layers[path])
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(*(getattr(norm, name) for norm in norms), atol=1e-5)


def test_what_a_sample_minds_is_summed_over_its_frames() -> None:
    model = around(cnn())
    model.compile("sgd", "mse")
    net = switched(model)
    calibration = Calibration(net, FRAMES, Refit(samples=None, batch=4))
    slopes = Evidence(calibration, RANDOM.normal(size=(len(FRAMES), 2)).astype("float32")).slopes()
    assert any(filter.layer == "each/cnn/first" for filter in slopes)
    assert {falls.shape for falls in slopes.values()} == {(len(FRAMES),)}
