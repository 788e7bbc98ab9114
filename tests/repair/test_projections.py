"""Recurrent layers, EinsumDense and layers with a rule of the user are readers too: ranked, repaired if possible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
from core_models import numpy
from marking import slow

from shrinknet import Filter, Switches, load_strategy, switched
from shrinknet.graph.rules.readers import input_cells
from shrinknet.loop.view import NetworkView
from shrinknet.repair import Refit, refit, remember
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.program import Step
from shrinknet.repair.projections import Projection
from shrinknet.repair.reference import Block, Calibration

layers = keras.layers
FRAMES = (5, 3)
RECURRENT: dict[str, Any] = {
    "LSTM": lambda: layers.LSTM(4, name="reader"),
    "GRU": lambda: layers.GRU(4, return_sequences=True, name="reader"),
    "GRU, reset before": lambda: layers.GRU(4, reset_after=False, name="reader"),
    "SimpleRNN": lambda: layers.SimpleRNN(4, name="reader"),
    "no bias": lambda: layers.LSTM(4, use_bias=False, name="reader"),
    "both directions": lambda: layers.Bidirectional(layers.GRU(4), name="reader"),
    "stacked cells": lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], name="reader"),
}
OTHERS: dict[str, Any] = {
    "EinsumDense": lambda: layers.EinsumDense("btc,cd->btd", (5, 4), bias_axes="d", name="reader"),
    "EinsumDense, heads": lambda: layers.EinsumDense("btc,chd->bthd", (5, 2, 2), bias_axes="hd", name="reader"),
}
SETTINGS = Refit(ridge=1e-7)


def network(make: Any, shape: tuple[int, ...] = FRAMES) -> Any:
    """Six channels that the reader reads; the last is twice the first, and the fourth is constant."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input(shape)
    zeroth, first = (
        layers.Dense(count, "relu", name=name)
        if len(shape) < 4
        else layers.Conv3D(count, 1, activation="relu", name=name)
        for name, count in (("zeroth", 4), ("first", 6))
    )
    x = make()(first(zeroth(inputs)))
    x = layers.Dense(2, name="last")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    for variable in model.weights:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.2, seed=3))
    kernel, bias = numpy(first.kernel).copy(), numpy(first.bias) + 1.0  # so that no channel is always 0
    kernel[..., 5], bias[5] = 2 * kernel[..., 0], 2 * bias[0]
    kernel[..., 3], bias[3] = 0, 1
    first.kernel.assign(kernel)
    first.bias.assign(bias)
    model.compile("adam", "mse")
    return model


def data(shape: tuple[int, ...] = FRAMES, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size, *shape)).astype("float32")


def gathered(net: Any, x: np.ndarray) -> tuple[Any, np.ndarray]:
    calibration = Calibration(net, x, Refit(batch=5))
    found: list[np.ndarray] = []

    def handle(reader: Any, station: tuple[Step, ...], blocks: Iterator[Block]) -> None:
        if reader.path == "reader":
            found.extend(block.columns for block in blocks)

    calibration.walk(handle)
    return calibration.readers["reader"], np.concatenate(found, axis=1)


RARE = ("GRU, reset before", "SimpleRNN", "no bias")


@pytest.mark.parametrize("kind", [slow(kind) if kind in RARE else kind for kind in RECURRENT])
def test_rows_times_matrix_are_what_each_cell_makes_of_its_input(kind: str) -> None:
    net, x = switched(network(RECURRENT[kind])), data()
    reader, rows = gathered(net, x)
    read = numpy(keras.Model(net.input, net.get_layer("first").output)(x)).reshape(-1, 6)
    cells = input_cells(net.get_layer("reader"))
    wanted = []
    for cell in cells:
        bias = 0.0 if cell.bias is None else numpy(cell.bias)
        wanted.append(read @ numpy(cell.kernel) + (bias[0] if np.ndim(bias) == 2 else bias))
    computed = (rows @ reader.matrix() + reader.constants()[:, np.newaxis])[0]
    np.testing.assert_allclose(computed, np.concatenate(wanted, axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", [slow(kind) if kind in RARE else kind for kind in [*RECURRENT, *OTHERS]])
def test_kernels_and_constants_come_back(kind: str) -> None:
    net = switched(network({**RECURRENT, **OTHERS}[kind]))
    reader = Calibration(net, data(), Refit()).readers["reader"]
    before = [numpy(variable).copy() for variable in reader.layer.weights]
    matrix, constants = reader.matrix(), reader.constants().copy()
    reader.assign(np.zeros_like(matrix))
    if reader.has_bias:
        reader.set_constants(np.zeros_like(constants))
    assert not reader.matrix().any() and not reader.constants().any()
    reader.assign(matrix)
    if reader.has_bias:
        reader.set_constants(constants)
    assert all(np.array_equal(numpy(new), old) for new, old in zip(reader.layer.weights, before, strict=True))


@pytest.mark.parametrize("kind", [slow(kind) if kind in RARE else kind for kind in [*RECURRENT, *OTHERS]])
def test_what_another_channel_or_the_bias_can_make_up_for_is_made_up(kind: str) -> None:
    net, x = switched(network({**RECURRENT, **OTHERS}[kind])), data()
    before, reference = numpy(net(x)), remember(net, x, SETTINGS)
    Switches(net).disable(Filter("first", 5), *([Filter("first", 3)] if kind != "no bias" else []))
    assert np.abs(numpy(net(x)) - before).max() > 0.01
    done = refit(net, x, reference=reference, settings=SETTINGS)
    assert done.missed["reader"] < 1e-6
    np.testing.assert_allclose(numpy(net(x)), before, atol=1e-3)


UNREPAIRABLE: dict[str, tuple[Any, tuple[int, ...]]] = {
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(2, 3, name="reader"), (3, 4, 4, 3)),
    "EinsumDense over places": (lambda: layers.EinsumDense("btc,ctd->bd", 4, name="reader"), FRAMES),
}


@pytest.mark.parametrize("kind", UNREPAIRABLE)
def test_a_layer_that_does_more_with_its_input_is_ranked_and_left_alone(kind: str) -> None:
    make, shape = UNREPAIRABLE[kind]
    net, x = switched(network(make, shape)), data(shape)
    reference = remember(net, x, SETTINGS)
    before = [numpy(variable).copy() for variable in net.get_layer("reader").weights]
    Switches(net).disable(Filter("first", 1))
    assert "reader" not in refit(net, x, reference=reference, settings=SETTINGS).missed
    after = [numpy(variable) for variable in net.get_layer("reader").weights]
    assert all(np.array_equal(old, new) for old, new in zip(before[:-1], after[:-1], strict=True))
    assert isinstance(Calibration(net, x, SETTINGS).readers["reader"], Projection)


@pytest.mark.parametrize(
    ("kind", "weighted"),
    [("GRU", False), ("GRU", True), ("EinsumDense", False), slow("EinsumDense", True), ("both directions", False),
     slow("both directions", True), ("ConvLSTM2D", False), slow("ConvLSTM2D", True)],
)  # fmt: skip
def test_channels_that_only_such_a_layer_reads_are_not_free(kind: str, weighted: bool) -> None:
    """The constant channel and one of the two that say the same are missed least; each other one is missed."""
    every: dict[str, Any] = {**RECURRENT, **OTHERS}
    make, shape = UNREPAIRABLE[kind] if kind in UNREPAIRABLE else (every[kind], FRAMES)
    net, x = switched(network(make, shape)), data(shape, 20)
    switches = Switches(net)
    evidence = Evidence(Calibration(net, x, SETTINGS, switches), np.zeros((len(x), 2), "float32"))
    read = {one.layer: one for one in evidence.equations(weighted)}
    assert set(read["reader"].reads) == {Filter("first", index) for index in range(6)}
    assert all((one.weights is not None) is weighted for one in read.values())
    view = NetworkView(switches, frozen=(), floors={}, whole_layers=False, calibration=lambda: x,
                       measure=lambda: 0.0, higher_is_better=True, evidence=lambda: evidence)  # fmt: skip
    chosen = load_strategy(("refit", {"weighted": weighted, "ridge": 1e-4, "power": 0})).ask(view, 10)
    chosen = [filter for filter in chosen if filter.layer == "first"]
    assert chosen[0] in (Filter("first", 3), Filter("first", 0), Filter("first", 5))
    if kind not in UNREPAIRABLE:
        assert Filter("first", 3) in chosen[:2] and {Filter("first", 0), Filter("first", 5)} & set(chosen[:2])
    slopes = evidence.slopes()
    assert all(slopes[Filter("first", index)].any() for index in range(6))
