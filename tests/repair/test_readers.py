"""Readers: their rows times their kernel are what the layer computes, for every kind of layer and every setting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from core_models import numpy

from shrinknet import Filter, Switches, switched
from shrinknet.repair import Refit, refit, remember
from shrinknet.repair.program import Step
from shrinknet.repair.readers import Reader
from shrinknet.repair.reference import Block, Calibration
from shrinknet.repair.regression import Regression, WideRegression
from shrinknet.repair.sampling import sampled

layers = keras.layers
KINDS: dict[str, tuple[Any, tuple[int | None, ...]]] = {
    "same": (lambda: layers.Conv2D(5, 3, padding="same", name="reader"), (7, 6, 2)),
    "valid": (lambda: layers.Conv2D(5, (3, 2), activation="relu", name="reader"), (7, 6, 2)),
    "strides": (lambda: layers.Conv2D(5, 3, strides=(2, 3), padding="same", name="reader"), (8, 7, 2)),
    "dilation": (lambda: layers.Conv2D(5, 3, dilation_rate=(2, 1), padding="same", name="reader"), (7, 6, 2)),
    "groups": (lambda: layers.Conv2D(6, 3, groups=2, name="reader"), (6, 6, 2)),
    "many groups": (lambda: layers.Conv2D(12, 3, groups=6, name="reader"), (6, 6, 2)),
    "no bias": (lambda: layers.Conv2D(5, 3, use_bias=False, name="reader"), (6, 6, 2)),
    "transposed": (lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same", name="reader"), (4, 5, 2)),
    "transposed valid": (lambda: layers.Conv2DTranspose(5, (2, 3), strides=(2, 1), name="reader"), (4, 5, 2)),
    "output padding": (
        lambda: layers.Conv2DTranspose(4, 3, strides=3, output_padding=1, padding="same", name="reader"),
        (4, 5, 2),
    ),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, name="reader"), (7, 7, 2)),
    "separable": (
        lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2, strides=2, padding="same", name="reader"),
        (7, 6, 2),
    ),
    "one axis": (lambda: layers.Conv1D(5, 3, strides=2, padding="same", name="reader"), (9, 2)),
    "causal": (lambda: layers.Conv1D(5, 3, dilation_rate=2, padding="causal", name="reader"), (9, 2)),
    "one axis transposed": (lambda: layers.Conv1DTranspose(5, 4, strides=2, name="reader"), (5, 2)),
    "one axis separable": (lambda: layers.SeparableConv1D(5, 3, name="reader"), (8, 2)),
    "one axis depthwise": (lambda: layers.DepthwiseConv1D(3, padding="same", name="reader"), (8, 2)),
    "three axes": (lambda: layers.Conv3D(4, 2, strides=2, padding="same", name="reader"), (5, 4, 3, 2)),
    "three axes transposed": (lambda: layers.Conv3DTranspose(4, 2, strides=2, name="reader"), (2, 3, 2, 2)),
    "dense": (lambda: layers.Dense(5, activation="tanh", name="reader"), (4,)),
    "dense on maps": (lambda: layers.Dense(5, name="reader"), (4, 3, 2)),
}


def network(kind: str) -> Any:
    """Six filters that the reader reads: an image - first - ReLU - reader."""
    make, shape = KINDS[kind]
    keras.utils.set_random_seed(3)
    image = keras.Input(shape)
    first = {2: layers.Conv1D, 3: layers.Conv2D, 4: layers.Conv3D}.get(len(shape))
    if first is None or kind == "dense on maps":
        x = layers.Dense(6, name="first", bias_initializer="random_normal")(image)
    else:
        x = first(6, 1, name="first", bias_initializer="random_normal")(image)
    reader = make()
    x = reader(layers.ReLU()(x))
    x = layers.Flatten()(x) if isinstance(reader, layers.DepthwiseConv2D | layers.DepthwiseConv1D) else x
    x = layers.Dense(3, name="last")(x)
    model = keras.Model(image, x)
    for variable in model.trainable_variables:  # biases that are not 0
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.3, seed=1))
    return model


def data(kind: str, size: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size, *KINDS[kind][1])).astype("float32")


def gathered(net: Any, x: np.ndarray, settings: Refit) -> tuple[Reader, np.ndarray]:
    """The reader called `reader` and all of its rows, shape (groups, rows, columns)."""
    calibration = Calibration(net, x, settings)
    found: list[np.ndarray] = []

    def handle(reader: Reader, station: tuple[Step, ...], blocks: Iterator[Block]) -> None:
        if reader.path == "reader":
            found.extend(block for _, _, block, _ in blocks)

    calibration.walk(handle)
    return calibration.readers["reader"], np.concatenate(found, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_times_kernel_are_what_the_layer_computes(kind: str) -> None:
    net, x = switched(network(kind)), data(kind)
    reader, rows = gathered(net, x, Refit(batch=3))
    layer = net.get_layer("reader")
    layer.activation = keras.activations.linear
    wanted = reader.by_channel(numpy(keras.Model(net.input, layer.output)(x)))
    computed = rows @ reader.matrix() + reader.constants()[:, np.newaxis]  # (groups, rows, outputs)
    computed = computed.transpose(1, 0, 2).reshape(-1, wanted.shape[-1])
    np.testing.assert_allclose(computed, wanted.reshape(computed.shape), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_comes_back_from_its_matrix(kind: str) -> None:
    net = switched(network(kind))
    reader = Calibration(net, data(kind), Refit()).readers["reader"]
    before, matrix = numpy(reader.kernel), reader.matrix().copy()
    reader.kernel.assign(np.zeros_like(before))
    reader.assign(matrix)
    assert np.array_equal(numpy(reader.kernel), before)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "depthwise" not in kind and kind != "many groups"])
def test_columns_are_gated_where_the_layer_gates_them(kind: str) -> None:
    """Zeros in the columns of a disabled channel give what the switched layer computes."""
    net, x = switched(network(kind)), data(kind)
    Switches(net).disable(Filter("first", 1))
    reader, rows = gathered(net, x, Refit())
    gone = Switches(net).read("disabled")[reader.reads]
    assert gone.any()
    layer = net.get_layer("reader")
    layer.activation = keras.activations.linear
    wanted = reader.by_channel(numpy(keras.Model(net.input, layer.output)(x)))
    bias = 0 if not reader.has_bias else reader.constants().reshape(reader.makes.shape)[:, np.newaxis]
    computed = rows @ np.where(gone[:, :, np.newaxis], 0, reader.matrix()) + bias
    computed = computed.transpose(1, 0, 2).reshape(-1, wanted.shape[-1])
    np.testing.assert_allclose(computed, wanted.reshape(computed.shape), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_refit_is_the_least_squares_solution(kind: str) -> None:
    """Against NumPy's lstsq on the rows themselves, with the ridge as rows of its own."""
    net, x = switched(network(kind)), data(kind, 12)
    settings = Refit(ridge=0.05, rounds=0)
    reference = remember(net, x, settings)
    switches = Switches(net)
    switches.disable(Filter("first", 1), Filter("first", 4))
    reader, rows = gathered(net, x, settings)
    old, targets = reference.kernels["reader"].astype("float64"), reference.outputs["reader"][0]
    refit(net, x, reference=reference)
    live = ~switches.read("disabled")[reader.reads]
    for group in range(len(rows)):
        if not live[group].any():  # a depthwise channel that nobody reads
            continue
        columns = rows[group][:, live[group]].astype("float64")
        mean, middle = (columns.mean(0), targets[group].mean(0)) if reader.has_bias else (0, 0)
        centred = columns - mean
        pull = np.sqrt(0.05 * np.square(centred).sum() / live[group].sum())
        stacked = np.vstack([centred, pull * np.eye(live[group].sum())])
        wanted = np.vstack([targets[group] - middle, pull * old[group][live[group]]])
        solution = np.linalg.lstsq(stacked, wanted)[0]
        np.testing.assert_allclose(reader.matrix()[group][live[group]], solution, atol=2e-4)
        if reader.has_bias:
            np.testing.assert_allclose(reader.constants()[group], middle - mean @ solution, atol=2e-4)


def test_between_rows_and_between_columns_there_is_one_solution() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(2, 9, 20)).astype("f4") + 1, random.normal(size=(2, 9, 3)).astype("f4")
    old, live = random.normal(size=(20, 3)).astype("f4"), random.random(20) < 0.7
    for shifts in (True, False):
        narrow, wide = Regression((2, 20, 3), shifts), WideRegression((2, 20, 3), shifts)
        for one in (narrow, wide):
            one.add(x[:, :4], y[:, :4])
            one.add(x[:, 4:], y[:, 4:])
        for group in range(2):
            first, second = (one.solve(group, live, old, 0.02) for one in (narrow, wide))
            for a, b in zip(first, second, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4)


def test_inputs_that_do_not_vary_keep_the_old_kernel() -> None:
    """Around their mean nothing but rounding is left of them, and that is no reason to move."""
    x = np.broadcast_to(np.float32([0.1, 3.3, -7.7]), (1, 500, 3))
    y = np.random.default_rng(1).normal(size=(1, 500, 2)).astype("f4")
    old = np.ones((3, 2))
    for kind in (Regression, WideRegression):
        sums = kind((1, 3, 2), True)
        sums.add(x, y)
        found = sums.solve(0, np.ones(3, bool), old, 0.01)
        assert np.abs(found.kernel - old).max() < 0.1
        np.testing.assert_allclose(found.constants + x[0, 0] @ found.kernel, y[0].mean(0), atol=1e-4)


def test_sums_do_not_depend_on_how_the_rows_come() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(1, 40, 5)).astype("f4"), random.normal(size=(1, 40, 2)).astype("f4")
    old, live = np.zeros((5, 2)), np.ones(5, bool)
    found = []
    for size in (1, 7, 40):
        sums = Regression((1, 5, 2), True)
        for start in range(0, 40, size):
            sums.add(x[:, start : start + size], y[:, start : start + size])
        found.append(sums.solve(0, live, old, 0.01).kernel)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_rows_that_come_after_a_solution_count() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=(1, 40, 5)).astype("f4"), random.normal(size=(1, 40, 2)).astype("f4")
    early, late = Regression((1, 5, 2), True), Regression((1, 5, 2), True)
    for sums in (early, late):
        sums.add(x[:, :20], y[:, :20])
        if sums is early:
            sums.solve(0, np.ones(5, bool), np.zeros((5, 2)), 0.01)
        sums.add(x[:, 20:], y[:, 20:])
    first, second = (sums.solve(0, np.ones(5, bool), np.zeros((5, 2)), 0.01) for sums in (early, late))
    assert np.array_equal(first.kernel, second.kernel)


@pytest.mark.parametrize(("size", "places", "rows"), [(5, 9, 1000), (5, 9, 45), (5, 9, 23), (50, 9, 7), (3, 1, 2)])
def test_samples_are_spread_and_repeat(size: int, places: int, rows: int) -> None:
    images, at = sampled(size, places, rows, seed=1, name="a")
    assert len(images) == min(rows, size * places)
    assert (np.diff(images) >= 0).all() and at.min() >= 0 and at.max() < places
    counts = np.bincount(images, minlength=size)
    assert counts.max() - counts.min() <= 1
    if rows >= size * places:
        assert sorted(zip(images.tolist(), at.tolist(), strict=True)) == [
            (image, place) for image in range(size) for place in range(places)
        ]
    again = sampled(size, places, rows, seed=1, name="a")
    assert np.array_equal(again[0], images) and np.array_equal(again[1], at)
    others = [sampled(size, places, rows, seed=2, name="a"), sampled(size, places, rows, seed=1, name="b")]
    if 1 < rows < size * places and places > 1:
        assert all(not (np.array_equal(one[0], images) and np.array_equal(one[1], at)) for one in others)
