"""Dense networks: the same numbers as window by window, for whatever network can be converted; the others by name."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

from shrinknet.applications.avalanche import approximate_network, dense_network, window_classifier, windows
from shrinknet.applications.avalanche.coarse import difference
from shrinknet.applications.avalanche.dense import halo_of, is_dense
from shrinknet.errors import ModelError

TOLERANCE = 1e-5


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with weights that let every layer matter, the statistics of normalization too."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" in variable.name:
            continue
        values = random.normal(0, 0.4, variable.shape).astype(np.float32)
        variable.assign(np.abs(values) + 0.5 if "variance" in variable.path or "gamma" in variable.path else values)
    return model


def apart(model: Any, shape: tuple[int, int] = (9, 11), dense: Any = None) -> float:
    """The largest difference between the dense network and the classifier, as a share of the scale."""
    size = model.input_shape[1:]
    images = np.random.default_rng(1).random((2, *shape, size[2])).astype(np.float32)
    found = (dense or dense_network(model)).predict_on_batch(images)
    expected = np.stack([model.predict_on_batch(windows(image, None, size[:2])[:][0]) for image in images])
    expected = expected.reshape(2, *shape, -1)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def simple(size: tuple[int, int, int], *between: Any) -> Any:
    return randomised(keras.Sequential([keras.Input(size), *between]))


@st.composite
def recipes(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What a small classifier is made of; it is made in the test, because Keras draws random numbers."""
    sides, channels = (draw(st.integers(6, 13)), draw(st.integers(6, 13))), draw(st.sampled_from([1, 3]))
    parts: list[tuple[Any, ...]] = [("input", *sides, channels)]
    for _ in range(draw(st.integers(1, 3))):
        kernel, stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3))), draw(st.integers(1, 2))
        kind = draw(st.sampled_from(["Conv2D", "SeparableConv2D", "DepthwiseConv2D"]))
        dilation = draw(st.integers(1, 2)) if stride == 1 else 1
        parts.append((kind, kernel, stride, dilation, draw(st.sampled_from(["relu", "tanh", None]))))
        parts.append((draw(st.sampled_from(["BatchNormalization", "LeakyReLU", "Dropout", "PReLU"])),))
        if draw(st.booleans()):
            pool = draw(st.sampled_from(["MaxPooling2D", "AveragePooling2D"]))
            parts.append((pool, draw(st.integers(1, 3)), draw(st.integers(1, 3))))
    parts.append((draw(st.sampled_from(["flatten", "average", "max", "normalized"])), draw(st.booleans())))
    return [*parts, ("output", draw(st.integers(1, 2)), draw(st.integers(0, 99)))]


def made(parts: list[tuple[Any, ...]]) -> Any:
    """The classifier of a recipe; kernels shrink where they do not fit."""
    x = inputs = keras.Input(parts[0][1:])
    for kind, *values in parts[1:-2]:
        room = x.shape[1:3]
        if kind.endswith("Conv2D"):
            kernel, stride, dilation, activation = values
            kernel = tuple(min(size, side) for size, side in zip(kernel, room, strict=True))
            fits = all((size - 1) * dilation < side for size, side in zip(kernel, room, strict=True))
            options = {"strides": stride, "dilation_rate": dilation if fits else 1, "activation": activation}
            first = () if kind == "DepthwiseConv2D" else (3,)
            x = getattr(layers, kind)(*first, kernel, padding="same" if kernel == (1, 1) else "valid", **options)(x)
        elif kind.endswith("Pooling2D"):
            x = getattr(layers, kind)(min(values[0], *room), strides=values[1])(x)
        else:
            options = {"PReLU": {"shared_axes": [1, 2]}, "Dropout": {"rate": 0.5}}.get(kind, {})
            x = getattr(layers, kind)(**options)(x)
    end, more = parts[-2]
    if end in ("average", "max"):
        x = {"average": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[end](keepdims=more)(x)
    x = layers.Flatten()(x)
    x = layers.BatchNormalization()(x) if end == "normalized" else x
    x = layers.Dense(3, activation="relu")(x) if more else x
    return randomised(keras.Model(inputs, layers.Dense(parts[-1][1])(x)), parts[-1][2])


class TestEqual:
    @given(recipes(), st.tuples(st.integers(1, 9), st.integers(1, 9)))
    @settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
    def test_for_every_network_of_valid_convolutions(self, parts: list[Any], shape: tuple[int, int]) -> None:
        assert apart(made(parts), shape) < TOLERANCE

    @pytest.mark.slow
    @given(recipes(), st.tuples(st.integers(1, 12), st.integers(1, 12)))
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    def test_for_many_more(self, parts: list[Any], shape: tuple[int, int]) -> None:
        assert apart(made(parts), shape) < TOLERANCE

    @pytest.mark.parametrize(
        ("shape", "kind", "pooling"),
        [((17, 17, 1), "conv2d", "max"), ((33, 33, 3), "conv2d", "average"), ((17, 17, 3), "conv1d", "max")],
    )
    def test_for_the_reports_networks(self, shape: tuple[int, int, int], kind: str, pooling: str) -> None:
        model = randomised(window_classifier(shape, kind, pooling=pooling, widths=(4, 5, 6)))
        assert apart(model) < TOLERANCE

    def test_even_windows_and_images_smaller_than_one(self) -> None:
        model = simple((76, 76, 1), layers.Conv2D(2, 9, strides=5), layers.Flatten(), layers.Dense(1))
        assert apart(model, (3, 2)) < TOLERANCE

    def test_residual_branches_without_padding(self) -> None:
        inputs = keras.Input((20, 19, 3))
        x = layers.Conv2D(4, 2, strides=2)(inputs)
        branch = layers.Conv2D(4, 3, activation="relu")(x)
        x = layers.Add()([layers.Cropping2D(1)(x), branch])
        x = layers.MaxPooling2D(2, strides=1)(layers.Conv2D(4, 2, strides=1)(x))
        x = layers.Concatenate()([layers.Cropping2D(((0, 2), (2, 0)))(x), layers.MaxPooling2D(3, strides=1)(x)])
        x = keras.ops.relu(x) * 0.5
        model = randomised(keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x))))
        assert apart(model) < TOLERANCE

    def test_models_inside_of_models_and_layers_used_twice(self) -> None:
        inner = keras.Sequential([keras.Input((9, 9, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D(2)])
        twice = layers.Conv2D(2, 2, activation="tanh")
        inputs = keras.Input((9, 9, 1))
        x = twice(twice(inner(inputs)))
        model = randomised(keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x))))
        assert apart(model) < TOLERANCE

    def test_rows_as_vectors(self) -> None:
        model = simple(
            (8, 7, 3), layers.Reshape((8, 21)), layers.BatchNormalization(), layers.MaxPooling1D(2),
            layers.Conv1D(4, 2, strides=2, activation="relu"), layers.GlobalAveragePooling1D(), layers.Dense(1),
        )  # fmt: skip
        assert apart(model) < TOLERANCE

    def test_dense_layers_on_maps_and_shapes_back_and_forth(self) -> None:
        model = simple(
            (6, 5, 1), layers.Dense(3, activation="relu"), layers.Reshape((6, 15)), layers.Reshape((6, 5, 3)),
            layers.Conv2D(2, 3), layers.Flatten(), layers.LayerNormalization(), layers.Softmax(), layers.Dense(2),
        )  # fmt: skip
        assert apart(model) < TOLERANCE

    def test_features_instead_of_logits(self) -> None:
        model = randomised(window_classifier((9, 9, 1), widths=(3, 4)))
        features = keras.Model(model.input, model.layers[-1].input)
        assert apart(features) < TOLERANCE

    def test_saved_and_loaded_again(self, tmp_path: Any) -> None:
        model = randomised(window_classifier((9, 9, 1), widths=(3, 4)))
        dense_network(model).save(tmp_path / "dense.keras")
        again = keras.models.load_model(tmp_path / "dense.keras")
        assert is_dense(again)
        assert not is_dense(model)
        assert halo_of(again.inputs[0].name) == ((4, 4), (4, 4))
        assert apart(model, dense=again) < TOLERANCE

    def test_images_of_one_size(self) -> None:
        model = randomised(window_classifier((9, 9, 1), widths=(3, 4)))
        fixed = dense_network(model, size=(9, 11))
        assert fixed.input_shape == (None, 9, 11, 1)
        assert apart(model, dense=fixed) < TOLERANCE


class TestRefused:
    @pytest.mark.parametrize(
        ("between", "sentence"),
        [
            ([layers.Conv2D(2, 3, padding="same", name="c")], r"The layer c \(Conv2D\).*padding=\"same\" puts zeros"),
            ([layers.MaxPooling2D(2, padding="same", name="p")], r"The layer p \(MaxPooling2D\).*puts zeros"),
            ([layers.ZeroPadding2D(1, name="z")], r"The layer z \(ZeroPadding2D\).*puts zeros around every window"),
            ([layers.GroupNormalization(1, name="g")], r"The layer g \(GroupNormalization\).*no rule"),
            ([layers.UpSampling2D(name="u")], r"The layer u \(UpSampling2D\).*no rule"),
            ([layers.BatchNormalization(axis=1, name="b")], r"The layer b .*along the axes \[1\]"),
            ([layers.PReLU(name="r")], "a slope for each place"),
            ([layers.Reshape((27, 3), name="s")], r"The layer s \(Reshape\).*it makes \(27, 3\)"),
            ([layers.Reshape((9, 9)), layers.Conv1D(2, 3, padding="causal", name="k")], 'The layer k .*"causal"'),
            ([layers.Activation("sparsemax", name="a")], "nothing is known of its activation sparsemax"),
        ],
    )
    def test_by_name_with_the_reason(self, between: list[Any], sentence: str) -> None:
        channels = 1 if isinstance(between[0], layers.Reshape) else 2
        copies = [type(layer).from_config(layer.get_config()) for layer in between]
        model = keras.Sequential([keras.Input((9, 9, channels)), *copies, layers.Flatten(), layers.Dense(1)])
        with pytest.raises(ModelError, match=sentence):
            dense_network(model)

    def test_same_without_anything_to_pad_is_no_padding(self) -> None:
        model = simple((8, 8, 1), layers.Conv2D(2, 1, padding="same"), layers.MaxPooling2D(2, padding="same"),
                       layers.Flatten(), layers.Dense(1))  # fmt: skip
        assert apart(model) < TOLERANCE

    def test_branches_that_do_not_fit(self) -> None:
        inputs = keras.Input((6, 6, 2))
        weight = layers.GlobalAveragePooling2D(keepdims=True)(inputs)
        scaled = layers.Multiply(name="squeeze")([inputs, weight])
        model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(scaled)))
        with pytest.raises(ModelError, match=r"The layer squeeze .*6 x 6 and 1 x 1 values a window"):
            dense_network(model)
        strided = layers.Conv2D(2, 1, strides=2)(inputs)
        added = layers.Add(name="add")([strided, layers.Cropping2D(((0, 3), (0, 3)))(inputs)])
        model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(added)))
        with pytest.raises(ModelError, match=r"The layer add .*lie \(2, 2\) and \(1, 1\) pixels apart"):
            dense_network(model)

    def test_what_is_no_window_classifier(self) -> None:
        with pytest.raises(ModelError, match="no window classifier"):
            dense_network(keras.Sequential([keras.Input((None, None, 1)), layers.GlobalMaxPooling2D()]))
        with pytest.raises(ModelError, match="gives 4 x 4 answers for a window"):
            dense_network(keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(1, 3)]))
        inputs = keras.Input((6, 6, 1))
        array = layers.Flatten()(inputs + np.ones((6, 6, 1), np.float32))
        with pytest.raises(ModelError, match="an array as a constant"):
            dense_network(keras.Model(inputs, layers.Dense(1)(array)))


class TestApproximate:
    def test_a_body_that_pads_is_near_where_the_image_is_smooth(self) -> None:
        inputs = keras.Input((16, 16, 1))
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Conv2D(4, 3, activation="relu")(x)
        x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(x))
        model = randomised(keras.Model(inputs, layers.Dense(1)(x)))
        rows, columns = np.mgrid[:48, :40] / np.float32(48)
        image = (0.5 + 0.4 * np.sin(5 * rows) * np.cos(4 * columns)).astype(np.float32)[..., None]
        network = approximate_network(model)
        assert network.predict_on_batch(image[None]).shape == (1, 48, 40, 1)
        measured = difference(model, network, image, 80)
        assert measured["correlation"] > 0.9
        assert 0 < measured["mean"] < 0.3 * measured["scale"]

    def test_without_padding_it_is_exact_on_its_grid(self) -> None:
        model = simple((9, 9, 1), layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
                       layers.Dense(4, activation="relu"), layers.Dense(1))  # fmt: skip
        image = np.random.default_rng(0).random((1, 12, 14, 1)).astype(np.float32)
        coarse, exact = approximate_network(model).predict_on_batch(image), dense_network(model).predict_on_batch(image)
        assert np.allclose(coarse[:, ::2, ::2], exact[:, ::2, ::2], atol=1e-5)
        assert not np.allclose(coarse, exact, atol=1e-3)

    def test_unknown_layers(self) -> None:
        model = keras.Sequential([keras.Input((6, 6, 1)), layers.UpSampling2D(name="up"), layers.GlobalMaxPooling2D()])
        with pytest.raises(ModelError, match=r"The layer up \(UpSampling2D\) has no form over whole images"):
            approximate_network(model)
