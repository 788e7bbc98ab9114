"""The pictures of a network as it learns: masks, feature maps, outputs."""

from __future__ import annotations

import io

import keras
import numpy as np
from PIL import Image
from scipy.signal import correlate2d

from shrinknet import Filter, Switches, slim, switched
from shrinknet.applications.edges.model import edge_network
from shrinknet.applications.learning import as_png, feature_maps, learning_pictures
from shrinknet.engine.data import read_data
from shrinknet.imaging.states import Picture

IMAGE = np.random.default_rng(0).random((12, 12, 1)).astype("float32")


def test_feature_maps_are_what_a_layer_computes_before_its_activation() -> None:
    model = edge_network(12, widths=(3, 2, 1), kernel=3, seed=0)
    model.layers[0].bias.assign([0.1, -0.2, 0.3])
    maps = feature_maps(model, IMAGE)
    assert {name: values.shape for name, values in maps.items()} == {
        "conv1": (12, 12, 3), "conv2": (12, 12, 2), "conv3": (12, 12, 1)}  # fmt: skip
    kernel, bias = (np.array(weights) for weights in model.layers[0].weights)
    for index in range(3):
        expected = correlate2d(IMAGE[..., 0], kernel[:, :, 0, index], "same") + bias[index]
        np.testing.assert_allclose(maps["conv1"][..., index], expected, atol=1e-5)
    assert (maps["conv1"] < 0).any()
    np.testing.assert_allclose(np.maximum(maps["conv3"], 0), np.array(model(IMAGE[None]))[0], atol=1e-6)


def test_pictures_of_a_run_that_lost_a_filter() -> None:
    model = edge_network(12, widths=(3, 2, 1), kernel=3, seed=0)
    before = [np.array(weights) for weights in model.weights]
    net = switched(model)
    Switches(net).disable(Filter("conv1", 1))
    small = slim(net)
    x = np.random.default_rng(1).random((9, 12, 12, 1)).astype("float32")
    feed = read_data((x, (x > 0.8).astype("float32")), 3, "training data")
    pictures = learning_pictures(model, model, small, {"conv1": [1]}, feed, IMAGE, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))
    assert not np.array_equal(pictures[Picture("early", "mask", "conv1")], before[0])  # it was trained for a few steps
    assert np.isnan(pictures[Picture("after", "map", "conv1")][..., 1]).all()
    assert np.array_equal(
        pictures[Picture("after", "map", "conv1")][..., [0, 2]],
        pictures[Picture("before", "map", "conv1")][..., [0, 2]],
    )
    assert pictures[Picture("after", "output")].shape == (12, 12, 1)
    files = as_png(pictures)
    assert len(files) == 3 + 3 * 3 + 3
    assert Image.open(io.BytesIO(files["map-conv1-after"])).size == (3 * 12 + 2 * 2, 12)
    mask = np.array(Image.open(io.BytesIO(files["mask-conv2-early"])))
    assert mask.shape == (3 * 3 * 8, 2 * 3 * 8 + 2, 3)  # three input channels, one below the other
    keras.backend.clear_session()


def test_kernels_too_large_to_look_at_are_not_drawn() -> None:
    small, large = Picture("after", "mask", "small"), Picture("after", "mask", "large")
    files = as_png({small: np.ones((3, 3, 2, 4)), large: np.ones((3, 3, 128, 128))})
    assert list(files) == [small.file]
