"""tensorflow-model-optimization on a slim network: the scores of its results, and what it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

from shrinknet import Switches, slim, switched
from shrinknet.compression import compress
from shrinknet.compression.data import read_samples
from shrinknet.compression.settings import job_losses, job_optimizer
from shrinknet.errors import DataError, ModelError

needs_tfmot = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_model_optimization") is None, reason="needs the extra tfmot"
)


def digits() -> tuple[Any, Any]:
    images, classes = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
    return (images[:1300], classes[:1300]), (images[1300:], classes[1300:])


def slim_network(train: Any) -> Any:
    """Trained, every third filter cut, trained further."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)))
    x = layers.Conv2D(24, 3, padding="same", activation="relu")(layers.MaxPooling2D()(x))
    model = keras.Model(
        inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)), name="digits"
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train, epochs=15, verbose=0)
    net = switched(model)
    Switches(net).disable(*Switches(net).filters[::3])
    small = slim(net)
    small.fit(*train, epochs=5, verbose=0)
    return small


@needs_tfmot
@pytest.mark.slow
@pytest.mark.tensorflow("LiteRT files are written by TensorFlow")
def test_a_slim_quantized_network_scores_as_the_slim_one(tmp_path: Path) -> None:
    train, test = digits()
    small = slim_network(train)
    weights = [np.array(weight) for weight in small.weights]
    accuracy = small.evaluate(*test, verbose=0)[1]
    assert accuracy > 0.85
    files = {file.format: file for file in compress(small, tmp_path, train, test_data=test, epochs=8)}
    assert list(files) == ["litert", "quantization-aware", "clustering", "pruning", "pruning-2-4"]
    assert files["litert"].score == pytest.approx(accuracy, abs=1e-6)
    assert files["quantization-aware"].score >= accuracy - 0.01
    assert files["quantization-aware"].bytes < 0.8 * files["litert"].bytes
    for name in ("clustering", "pruning", "pruning-2-4"):
        assert files[name].score >= accuracy - 0.1
        assert files[name].zipped_bytes < files["litert"].zipped_bytes
        assert Path(files[name].path).stat().st_size == files[name].bytes
    assert "16 different values" in files["clustering"].note
    assert all(np.array_equal(old, new) for old, new in zip(weights, small.weights, strict=True))


@needs_tfmot
@pytest.mark.slow
@pytest.mark.tensorflow("LiteRT files are written by TensorFlow")
def test_refusals_are_sentences(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3)(layers.Rescaling(0.5)(inputs))
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)), name="rescaled")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    train, _ = digits()
    data = (train[0][:100], train[1][:100])
    files = compress(model, tmp_path, data, ("quantization-aware", "clustering"), epochs=1)
    assert [file.format for file in files] == ["litert", "clustering"]
    (refused,) = files.refused
    assert refused.startswith("No quantization-aware of rescaled: ") and "Rescaling" in refused and "\n" not in refused
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rescaled.clustering.tflite", "rescaled.tflite"]


@needs_tfmot
@pytest.mark.slow
@pytest.mark.tensorflow("LiteRT files are written by TensorFlow")
def test_a_transposed_convolution_trains_with_rounding(tmp_path: Path) -> None:
    """Its file has no signature: the converter cannot save that layer of tfmot in any other way."""
    inputs = keras.Input((8, 8, 1), name="plate")
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.Conv2DTranspose(4, 2, 2)(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x), name="up")
    model.compile("adam", "mse")
    data = np.random.default_rng(0).random((64, 8, 8, 1), np.float32)
    plain, rounded = compress(model, tmp_path, (data, data), ("quantization-aware",), score="loss", epochs=1)
    assert rounded.format == "quantization-aware" and rounded.score is not None and plain.score is not None
    assert abs(rounded.score - plain.score) < 0.05


@needs_tfmot
@pytest.mark.slow
@pytest.mark.tensorflow("LiteRT files are written by TensorFlow")
def test_small_activations_keep_their_bits(tmp_path: Path) -> None:
    """Ranges of -6 to 6, with which tensorflow-model-optimization starts, would round all of these to 0."""
    inputs = keras.Input((8, 8, 1))
    x = layers.DepthwiseConv2D(1)(layers.AveragePooling2D(3, 1, "same")(inputs))
    model = keras.Model(inputs, layers.Add()([inputs, x]), name="small")
    model.compile("adam", "mae")
    data = np.random.default_rng(0).random((64, 8, 8, 1), np.float32) * 0.02
    goal = model.predict(data, verbose=0)
    plain, rounded = compress(
        model, tmp_path, (data, goal), ("quantization-aware",), score="loss", epochs=1, learning_rate=1e-6
    )
    assert plain.score is not None and rounded.score is not None
    assert rounded.score < plain.score + 0.02 * np.abs(goal).mean()


def test_loss_and_optimizer_are_passed_as_data() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(ModelError, match=r"not compiled.*loss="):
        job_losses(model)
    assert job_losses(model, "mse") == [{"name": "mse"}]
    assert job_optimizer(model) == {"class_name": "Adam", "config": {"learning_rate": 1e-3}}
    model.compile(keras.optimizers.SGD(0.5, momentum=0.25), keras.losses.Huber(0.1))
    (loss,) = job_losses(model)
    assert loss["name"] == "Huber" and loss["config"]["delta"] == 0.1
    assert job_optimizer(model)["config"] == {"learning_rate": 0.5, "momentum": 0.25, "nesterov": False}
    with pytest.raises(ModelError, match=r"cannot be imported by another process.*\"mse\""):
        job_losses(model, lambda y, z: y - z)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros(3), "Received ndarray"),
        (((np.zeros(3), np.zeros(3)), np.zeros(3)), "Expected 1 arrays as x"),
        ((np.zeros(3), np.zeros(4)), "same number of samples"),
        ((np.zeros(0), np.zeros(0)), "1 or more"),
        ((np.full(3, np.nan), np.zeros(3)), "x0 .* not finite"),
        ((np.array(["a"]), np.zeros(1)), "Expected numbers in x0"),
    ],
)
def test_data_that_do_not_fit(data: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_samples(data, "training data", 1, 1)
