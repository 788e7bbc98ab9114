"""Exports: layers and shapes that converters stumble over, each loaded back and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from marking import slow

from shrinknet import export
from shrinknet.errors import DataError, ExportError, OptionError

pytestmark = pytest.mark.tensorflow("exports are written by TensorFlow")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(1.0, 2.0, (3, 12, 12, 3)).astype("float32")
FUNCTIONS = ("gelu", "elu", "selu", "mish", "silu", "softplus", "hard_silu", "hard_sigmoid", "exponential", "softsign",
             "celu")  # fmt: skip


def twice(x: Any) -> Any:
    return ops.logaddexp(x, x)


def adapted() -> Any:
    layer = layers.Normalization()
    layer.adapt(IMAGES)
    return layer


IN_FRONT: dict[str, Any] = {
    "given": lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0]),
    "one number": lambda: layers.Normalization(axis=None, mean=1.0, variance=4.0),
    "adapted": adapted,
    "inverse": lambda: layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0], invert=True),
    "rescaling": lambda: layers.Rescaling([0.1, 0.2, 0.3], offset=[1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("name", IN_FRONT)
def test_onnx_with_a_normalization_in_front(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, layers.Conv2D(4, 3)(IN_FRONT[name]()(image)))
    assert export(model, tmp_path, formats=("onnx",), sample=IMAGES)[0].difference < 1e-4


def test_onnx_with_every_activation(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = keras.Input((12, 12, 3))
    each = [layers.Activation(name)(layers.Conv2D(2, 3)(image)) for name in FUNCTIONS]
    each += [function(layers.Conv2D(2, 3, activation="relu")(image)) for function in (ops.expm1, ops.log1p, twice)]
    each += [ops.gelu(layers.Conv2D(2, 3)(image), approximate=False), layers.GroupNormalization(2)(each[0])]
    model = keras.Model(image, layers.Concatenate()(each))
    assert export(model, tmp_path, formats=("onnx",), sample=IMAGES)[0].difference < 1e-4


@pytest.mark.parametrize("format", ["savedmodel", "onnx", "litert"])
def test_augmentation_is_left_out(format: str, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    image = keras.Input((12, 12, 3))
    x = layers.RandomRotation(0.2)(layers.RandomContrast(0.5)(image))
    model = keras.Model(image, layers.Conv2D(2, 1)(x))
    assert export(model, tmp_path, formats=(format,), sample=IMAGES)[0].difference < 1e-5


def line(size: int | None) -> Any:
    signal = keras.Input((size, 4))
    return keras.Model(signal, layers.GlobalAveragePooling1D()(layers.Conv1D(6, 3, activation="gelu")(signal)))


def picture(pool: Any, size: int | None = None) -> Any:
    image = keras.Input((size, size, 3))
    x = pool()(layers.Conv2D(8, 3)(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


OPEN: dict[str, tuple[Any, tuple[int, ...]]] = {
    "signal": (lambda: line(16), (2, 16, 4)),
    "signal of any length": (lambda: line(None), (2, 16, 4)),
    "max pooling": (lambda: picture(layers.MaxPooling2D), (2, 24, 32, 3)),
    "average pooling": (lambda: picture(lambda: layers.AveragePooling2D(2)), (2, 24, 32, 3)),
    "upsampling": (lambda: picture(layers.UpSampling2D), (2, 24, 32, 3)),
    "transposed": (lambda: picture(lambda: layers.Conv2DTranspose(4, 3, strides=2)), (2, 16, 16, 3)),
}


@pytest.mark.parametrize("name", OPEN)
def test_litert_of_open_sizes(name: str, tmp_path: Path) -> None:
    make, shape = OPEN[name]
    sample = RANDOM.normal(size=shape).astype("float32")
    assert export(make(), tmp_path, formats=("litert",), sample=sample)[0].difference < 1e-4


def test_a_format_that_does_not_exist_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shrinknet.exporters._write", lambda *given: pytest.fail("written"))
    with pytest.raises(OptionError, match=r"litrt.*litert"):
        export(line(16), tmp_path / "new", formats=("keras", "litrt"))
    assert not (tmp_path / "new").exists()


def words() -> Any:
    """A text and a number in, two numbers out."""
    text, number = keras.Input((1,), dtype="string", name="text"), keras.Input((1,), name="number")
    codes = layers.Hashing(8, output_mode="one_hot")(text)
    return keras.Model([text, number], layers.Dense(2)(layers.Dense(8)(layers.Concatenate()([codes, number]))))


@pytest.mark.parametrize("given", [True, False])
def test_a_model_that_takes_text(given: bool, tmp_path: Path) -> None:
    sample = [np.array([["a"], ["b"]]), np.ones((2, 1), "float32")] if given else None
    assert [one.difference for one in export(words(), tmp_path, ("keras", "savedmodel"), sample)] == [0.0, 0.0]
    with pytest.raises(ExportError, match="the format has no operation for StringToHash"):
        export(words(), tmp_path, ("litert",), sample)


def test_a_sample_of_text_and_numbers_mixed_up(tmp_path: Path) -> None:
    text, number = np.array([["a"]]), np.ones((1, 1))
    with pytest.raises(DataError, match=r"sample of text as text; received float64"):
        export(words(), tmp_path, ("keras",), [number, number])
    for array in (text, text.astype(object)):
        with pytest.raises(DataError, match=r"sample of number as numbers; received"):
            export(words(), tmp_path, ("keras",), [text, array])


def test_one_format_by_its_name(tmp_path: Path) -> None:
    assert [one.format for one in export(line(16), tmp_path, "keras")] == ["keras"]
    with pytest.raises(OptionError, match=r"Unknown format 'tflite'"):
        export(line(16), tmp_path, "tflite")


@pytest.mark.parametrize(("format", "said"), [("savedmodel", "did not compute"), slow("onnx", "could not be run")])
def test_a_file_that_is_right_for_one_number_of_samples_only_is_refused(format: str, said: str, tmp_path: Path) -> None:
    """As those that Keras writes of a TimeDistributed over any number of steps."""
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    frames = keras.Input((None, 12, 12, 3))
    each = layers.TimeDistributed(layers.Conv2D(2, 3))(frames)
    model = keras.Model(frames, layers.GlobalAveragePooling3D()(each))
    x = RANDOM.normal(size=(4, 4, 12, 12, 3)).astype("float32")
    with pytest.raises(ExportError, match=said):
        export(model, tmp_path, formats=(format,), sample=x if format == "savedmodel" else x[:2])
    assert not any(tmp_path.iterdir())


@keras.saving.register_keras_serializable("exports")
class Sampling(layers.Layer):  # type: ignore[misc]
    """Draws in inference, too, as in a variational autoencoder."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(ops.shape(x), seed=self.seed_generator)


@pytest.mark.parametrize("format", ["keras", "savedmodel"])
def test_random_numbers_are_compared_from_the_same_seeds(format: str, tmp_path: Path) -> None:
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, Sampling(name="draw")(layers.Conv2D(2, 1)(image)))
    model(IMAGES)
    seed = np.array(model.get_layer("draw").seed_generator.state)
    assert export(model, tmp_path, formats=(format,), sample=IMAGES)[0].difference < 1e-6
    np.testing.assert_array_equal(model.get_layer("draw").seed_generator.state, seed)


class Unkept(Sampling):
    """No seed of Keras repeats what it draws."""

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return x + tf.random.normal(tf.shape(x))

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


def test_outputs_that_no_seed_repeats_are_named(tmp_path: Path) -> None:
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, Unkept()(layers.Conv2D(2, 1)(image)))
    with pytest.raises(ExportError, match="draws random numbers in inference without a seed"):
        export(model, tmp_path, formats=("savedmodel",), sample=IMAGES)
