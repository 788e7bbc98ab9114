"""Refit: what it must reproduce, on which networks, what it leaves alone, and that its bits repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from core_models import assert_same_bits, copies, numpy, same_bits
from marking import slow

from shrinknet import Filter, Switches, slim, switched
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.repair import Fold, Refit, refit, remember, repair_settings
from shrinknet.repair.program import record
from shrinknet.repair.reference import Calibration
from shrinknet.repair.settings import samples_at_once, samples_wanted
from shrinknet.repair.targets import Behind
from shrinknet.repair.walk import Activations, Inputs, walk

layers = keras.layers
EXACT = Refit(ridge=1e-7, samples=None, batch=8, rounds=0)
X = np.random.default_rng(5).normal(size=(40, 6, 6, 2)).astype("float32")


def conv(filters: int, name: str, **settings: Any) -> Any:
    settings = {"padding": "same", "bias_initializer": "random_normal", **settings}
    return layers.Conv2D(filters, settings.pop("size", 3), name=name, **settings)


def chain() -> Any:
    """first (4 filters) - norm - ReLU - second (3) - ReLU - last (2)."""
    x = image = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(conv(4, "first", use_bias=False)(x))
    x = layers.ReLU()(conv(3, "second")(layers.ReLU()(x)))
    return keras.Model(image, conv(2, "last")(x))


def residual() -> Any:
    """Two blocks on one stream; the second convolution of each has no bias but a normalization."""
    x = image = keras.Input((6, 6, 2))
    x = layers.ReLU()(conv(4, "stem")(x))
    for block in "ab":
        y = layers.ReLU()(layers.BatchNormalization()(conv(5, f"{block}1", use_bias=False)(x)))
        y = layers.BatchNormalization(name=f"{block}norm")(conv(4, f"{block}2", use_bias=False)(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def nested() -> Any:
    """The middle is a model of its own."""
    inner = keras.Sequential([keras.Input((6, 6, 4)), conv(5, "deep"), layers.ReLU()], name="body")
    x = image = keras.Input((6, 6, 2))
    x = inner(layers.ReLU()(conv(4, "first")(x)))
    return keras.Model(image, conv(2, "last")(x))


def twins() -> Any:
    """Two inputs pass through the same layers, and are compared."""
    left, right = keras.Input((6, 6, 2), name="left"), keras.Input((6, 6, 2), name="right")
    first, second = conv(4, "first", activation="relu"), conv(5, "second", activation="relu")
    sides = [second(first(side)) for side in (left, right)]
    return keras.Model([left, right], conv(2, "last")(layers.Concatenate()(sides)))


def looped() -> Any:
    """One layer reads its own output."""
    x = image = keras.Input((6, 6, 2))
    again = conv(4, "again", activation="relu")
    x = again(again(conv(4, "first", activation="relu")(x)))
    return keras.Model(image, conv(2, "last")(x))


def dense() -> Any:
    """DenseNet's way: each layer reads all before it, behind a normalization."""
    x = image = keras.Input((6, 6, 2))
    x = conv(4, "first")(x)
    for name in ("second", "third"):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, conv(3, name, use_bias=False)(y)])
    return keras.Model(image, layers.Dense(2, name="head")(layers.Flatten()(x)))


def mobile() -> Any:
    """Pointwise, depthwise, pointwise, then a separable and a transposed convolution."""
    x = image = keras.Input((6, 6, 2))
    x = layers.ReLU()(layers.BatchNormalization()(conv(6, "wide", size=1, use_bias=False)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", name="deep")(x)))
    x = layers.SeparableConv2D(5, 3, padding="same", name="apart", activation="relu")(x)
    return keras.Model(image, layers.Conv2DTranspose(2, 3, strides=2, name="last")(x))


NETWORKS: dict[str, Callable[[], Any]] = {
    one.__name__: one for one in (chain, residual, nested, twins, looped, dense, mobile)
}


def network(name: str, seed: int = 0) -> Any:
    """A switched network with random statistics, as if it had been trained."""
    keras.utils.set_random_seed(seed)
    model = NETWORKS[name]()
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.endswith(("beta", "moving_mean")):
            variable.assign(random.normal(0, 0.3, variable.shape))
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return switched(model)


def data(name: str) -> Any:
    return {"left": X, "right": X[::-1].copy()} if name == "twins" else X


def half(net: Any) -> tuple[Filter, ...]:
    """Every third of the filters that can be cut."""
    return Switches(net).filters[::3]


def error(net: Any, x: Any, wanted: np.ndarray) -> float:
    """Mean square of the difference, as a share of the variance."""
    return float(np.square(numpy(net(x, training=False)) - wanted).mean() / wanted.var())


# ------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize("name", NETWORKS)
def test_the_walk_computes_what_the_network_computes(name: str) -> None:
    net, x = network(name), data(name)
    program = record(net)
    inputs = Inputs(program, x, Refit(batch=16))
    seen: dict[int, list[np.ndarray]] = {}

    def visit(station: Any, tensors: Any) -> None:
        for step in station:
            seen[step.takes[0]] = [
                numpy(tensor)[: inputs.real(chunk, inputs.batch)]
                for chunk, tensor in enumerate(tensors.chunks(step.takes[0]))
            ]

    walk(program, inputs, visit, budget=2**30)
    last = next(step for step in program.steps if step.gives[0] == program.outputs[0])
    computed = numpy(last.run([np.concatenate(seen[slot]) for slot in last.takes[:1]])[0])
    np.testing.assert_allclose(computed, numpy(net(x, training=False)), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_nothing_disabled_the_function_stays(name: str) -> None:
    net, x = network(name), data(name)
    wanted = numpy(net(x, training=False))
    missed = refit(net, x, settings=Refit(samples=None)).missed
    assert max(missed.values()) < 1e-6
    np.testing.assert_allclose(numpy(net(x, training=False)), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_it_brings_a_cut_network_nearer_to_the_uncut_one(name: str) -> None:
    net, x = network(name), data(name)
    wanted = numpy(net(x, training=False))
    Switches(net).disable(*half(net))
    before = error(net, x, wanted)
    repaired = refit(net, x, settings=Refit(samples=None))
    assert error(net, x, wanted) < 0.6 * before
    assert 0 < max(repaired.missed.values()) < 1 and "missed" in str(repaired)
    small = slim(net)
    np.testing.assert_allclose(numpy(small(x, training=False)), numpy(net(x, training=False)), atol=1e-4)


@pytest.mark.parametrize("name", ["chain", slow("residual"), "nested", "twins"])
def test_what_depends_linearly_on_the_others_is_made_up_for_exactly(name: str) -> None:
    """The last filter of the first layer, cloned from the others: nothing is lost without it."""
    net, x = network(name), data(name)
    first = next(layer for layer in net.layers if isinstance(layer, layers.Conv2D))
    kernel = numpy(first.kernel)
    kernel[..., 3] = 2 * kernel[..., 1]
    first.kernel.assign(kernel)
    if first.use_bias:
        first.bias.assign(numpy(first.bias) * [1, 1, 1, 0] + numpy(first.bias)[1] * np.array([0, 0, 0, 2]))
    else:
        norm = net.get_layer("norm")
        for variable, factor in ((norm.moving_mean, 2), (norm.gamma, 1), (norm.beta, 2)):
            values = numpy(variable)
            values[3] = factor * values[1]
            variable.assign(values)
        norm.moving_variance.assign(np.ones(4))
    if name == "residual":  # the stream is a sum: its other terms double too
        for block in "ab":
            norm = net.get_layer(f"{block}norm")
            for variable in (norm.gamma, norm.beta):
                variable.assign(np.zeros(4))
    wanted = numpy(net(x, training=False))
    switches = Switches(net)
    switches.disable(Filter(first.name, 3))
    assert error(net, x, wanted) > 1e-3
    refit(net, x, settings=EXACT)
    assert error(net, x, wanted) < 1e-7


def test_constants_go_where_the_layer_has_a_place_for_them() -> None:
    """To the bias, or off the moving mean of the normalization: the means over the data are those of before."""
    net = network("residual")
    reference = remember(net, X, EXACT)
    Switches(net).disable(*half(net))
    readers = [Calibration(net, X, EXACT).readers[f"{name}1"] for name in "ab"]
    means = {reader.path: numpy(reader.norm.moving_mean) for reader in readers}
    refit(net, X, reference=reference)
    calibration = Calibration(net, X, EXACT)
    disabled = calibration.switches.read("disabled")
    after = {}

    def handle(reader: Any, station: Any, blocks: Any) -> None:
        kernel = np.where(disabled[reader.reads][..., np.newaxis], 0, reader.matrix())
        after[reader.path] = np.concatenate([block.columns @ kernel for block in blocks], axis=1)

    calibration.walk(handle)
    for reader in readers:
        assert not reader.has_bias and isinstance(reader.norm, layers.BatchNormalization)
        moved = numpy(reader.norm.moving_mean) - means[reader.path]
        shift = (after[reader.path].mean(1) - reference.outputs[reader.path][0].mean(1))[0]
        enabled = ~disabled[reader.makes[0]]
        assert np.abs(shift[enabled]).max() > 1e-4
        np.testing.assert_allclose(moved[enabled], shift[enabled], atol=1e-5)
        assert np.array_equal(moved[~enabled], np.zeros((~enabled).sum()))


def test_the_last_branch_makes_up_for_what_the_others_have_lost() -> None:
    """Its targets are those of the sum: the stream comes nearer to the old one than with targets of its own."""
    missed = []
    for own in (False, True):
        net = network("residual")
        stream = keras.Model(net.input, [layer.output for layer in net.layers if isinstance(layer, layers.Add)])
        wanted = [numpy(one) for one in stream(X, training=False)]
        reference = remember(net, X, EXACT)
        assert set(reference.beside) == {"a2", "b2"}
        if own:
            reference = dataclasses.replace(reference, beside={})
        switches = Switches(net)
        switches.disable(Filter("stem", 0), Filter("a1", 0), Filter("a1", 1), Filter("b1", 2))
        refit(net, X, reference=reference)
        live = np.delete(np.arange(4), 0)
        got = [numpy(one) for one in stream(X, training=False)]
        missed.append([np.square(a - b)[..., live].mean() for a, b in zip(got, wanted, strict=True)])
    assert missed[0][1] < 0.98 * missed[1][1]


def test_it_reaches_the_least_that_its_readers_can_miss() -> None:
    """The share it reports is that of the regression, measured again on the repaired network."""
    net = network("chain")
    reference = remember(net, X, EXACT)
    Switches(net).disable(Filter("first", 0), Filter("second", 1))
    repaired = refit(net, X, reference=reference)
    measured = remember(net, X, EXACT)
    for path in ("second", "last"):
        reader = Calibration(net, X, EXACT).readers[path]
        live = ~Switches(net).read("disabled")[reader.makes[0]]
        wanted, got = (one.outputs[path][0][0][:, live] for one in (reference, measured))
        share = np.square(got - wanted).mean(0).sum() / wanted.var(0).sum()
        assert repaired.missed[path] == pytest.approx(share, rel=1e-2)
        assert share > 1e-3


def test_a_second_refit_from_the_same_reference_changes_nothing() -> None:
    net = network("residual")
    reference = remember(net, X)
    Switches(net).disable(*half(net))
    refit(net, X, reference=reference)
    before = copies(net.variables)
    refit(net, X, reference=reference)
    for old, new in zip(before, copies(net.variables), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-4)


def test_without_a_reference_the_network_with_everything_enabled_is_the_target() -> None:
    nets = [network("residual") for _ in range(2)]
    reference = remember(nets[0], X)
    for net in nets:
        Switches(net).disable(*half(net))
    refit(nets[0], X, reference=reference)
    refit(nets[1], X)
    assert_same_bits(nets[0].variables, nets[1].variables)


# ------------------------------------------------------------------------------------------- bits and memory


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not() -> None:
    found = []
    for seed in (1, 1, 2):
        net = network("residual")
        settings = Refit(seed=seed, positions=300, samples=20)
        reference = remember(net, X, settings)
        Switches(net).disable(*half(net))
        refit(net, X, reference=reference)
        found.append((copies(net.variables), [one for calls in reference.outputs.values() for one in calls]))
    assert same_bits(found[0][0], found[1][0]) and same_bits(found[0][1], found[1][1])
    assert not same_bits(found[0][0], found[2][0])


@pytest.mark.parametrize("name", ["residual", "twins"])
def test_tensors_in_files_give_the_same_bits(name: str) -> None:
    found = []
    for memory in (2**30, 0):
        net = network(name)
        Switches(net).disable(*half(net))
        refit(net, data(name), settings=Refit(memory=memory, batch=16))
        found.append(copies(net.variables))
    assert_same_bits(*found)


def test_what_exceeds_the_budget_lies_in_files_until_it_is_dropped() -> None:
    values = [keras.ops.convert_to_tensor(X[start : start + 10]) for start in (0, 10, 20)]
    keras.src.backend.set_keras_mask(values[2], values[2] > 0)
    with Activations(budget=2 * X[:10].nbytes) as kept:
        for chunk, value in enumerate(values):
            kept.put(7, chunk, value)
        (folder,) = (kept._folder,)
        assert folder is not None
        files = Path(folder.name)
        assert [path.name for path in files.iterdir()] == ["7-2"]
        for value, found in zip(values, kept.chunks(7), strict=True):
            assert np.array_equal(numpy(value), numpy(found))
        assert keras.src.backend.get_keras_mask(kept.get(7, 2)) is not None
        kept.drop(7)
        assert 7 not in kept and not list(files.iterdir())
        kept.put(8, 0, values[0])  # there is room again
        assert not list(files.iterdir())
    assert not files.exists()


def test_the_result_does_not_depend_on_how_many_samples_pass_at_once() -> None:
    found = []
    for batch in (1, 7, 64):
        net = network("mobile")
        Switches(net).disable(*half(net))
        refit(net, X, settings=Refit(batch=batch, positions=500))
        found.append(copies(net.variables))
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_allclose(second, first, atol=1e-3)


def test_a_fixed_batch_size_is_kept() -> None:
    image = keras.Input(batch_shape=(16, 6, 6, 2))
    x = conv(4, "first", activation="relu")(image)
    fixed = switched(keras.Model(image, conv(2, "last")(x)))
    image = keras.Input((6, 6, 2))
    x = conv(4, "first", activation="relu")(image)
    free = switched(keras.Model(image, conv(2, "last")(x)))
    free.set_weights(fixed.get_weights())
    for net in (fixed, free):
        Switches(net).disable(Filter("first", 2))
        refit(net, X)
    for first, second in zip(copies(fixed.weights), copies(free.weights), strict=True):
        np.testing.assert_allclose(second, first, atol=1e-4)


# ------------------------------------------------------------------------------------------- what is left alone


def test_frozen_filters_and_layers_that_do_not_train_are_left_alone_unless_told_otherwise() -> None:
    for frozen in ("keep", "move"):
        net = network("chain")
        switches = Switches(net)
        net.get_layer("second").trainable = False
        switches.freeze(Filter("last", 1))
        before = {name: numpy(net.get_layer(name).kernel) for name in ("second", "last")}
        bias = numpy(net.get_layer("last").bias)
        switches.disable(Filter("first", 0), Filter("second", 2))
        repaired = refit(net, X, settings=Refit(frozen=frozen))  # type: ignore[arg-type]
        moved = {name: numpy(net.get_layer(name).kernel) != before[name] for name in before}
        assert moved["second"].any() == (frozen == "move")
        assert moved["last"][..., 1].any() == (frozen == "move") and moved["last"][..., 0].any()
        assert (numpy(net.get_layer("last").bias) != bias).tolist() == [True, frozen == "move"]
        assert repaired.kept == (() if frozen == "move" else ("second",))


def test_statistics_of_a_normalization_that_does_not_train_stay() -> None:
    net = network("residual")
    net.get_layer("anorm").trainable = False
    before = numpy(net.get_layer("anorm").moving_mean)
    Switches(net).disable(*half(net))
    refit(net, X)
    assert np.array_equal(numpy(net.get_layer("anorm").moving_mean), before)


def test_slices_of_what_is_disabled_stay() -> None:
    net = network("chain")
    before = numpy(net.get_layer("second").kernel)
    Switches(net).disable(Filter("first", 0), Filter("second", 2))
    refit(net, X)
    after = numpy(net.get_layer("second").kernel)
    assert np.array_equal(after[:, :, 0], before[:, :, 0]) and np.array_equal(after[..., 2], before[..., 2])
    assert not np.array_equal(after[:, :, 1:, :2], before[:, :, 1:, :2])


def test_switches_stay_as_they_were() -> None:
    net = network("residual")
    switches = Switches(net)
    switches.disable(*half(net))
    before = switches.disabled
    refit(net, X)
    assert Switches(net).disabled == before


# ------------------------------------------------------------------------------------------- bad input


def test_bad_input_ends_in_a_sentence() -> None:
    net = network("chain")
    reference = remember(net, X)
    with pytest.raises(ModelError, match="has no switches"):
        refit(chain(), X)
    with pytest.raises(ModelError, match="another network: it knows no layer stem"):
        refit(network("residual"), X, reference=reference)
    with pytest.raises(DataError, match="taken of 40 calibration samples, but 10 were given"):
        refit(net, X[:10], reference=reference)
    with pytest.raises(OptionError, match="taken with positions=8192, but refit was asked for 5"):
        refit(net, X, reference=reference, settings=Refit(positions=5))
    broken = network("chain")
    Switches(broken).disable(Filter("second", 0))
    broken.get_layer("first").kernel.assign(np.full(broken.get_layer("first").kernel.shape, np.nan))
    with pytest.raises(ModelError, match="The layer first reads or gives numbers that are not finite"):
        refit(broken, X)
    with pytest.raises(DataError, match="NaN or infinite"):
        remember(net, np.full_like(X, np.nan))
    with pytest.raises(DataError, match="for 1 inputs of the network; received 2 arrays"):
        remember(net, [X, X])
    with pytest.raises(DataError, match="of one length from 1; received lengths"):
        remember(network("twins"), {"left": X, "right": X[:3]})
    with pytest.raises(DataError, match=r"of one length from 1; received lengths \[0\]"):
        remember(net, X[:0])


@pytest.mark.parametrize(
    ("field", "value"),
    [("samples", 0), ("positions", 0), ("ridge", 0), ("ridge", float("nan")), ("frozen", "maybe"), ("seed", -1),
     ("batch", 1.5), ("memory", -1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"Expected {field}"):
        Refit(**{field: value})  # type: ignore[arg-type]


def test_what_repair_stands_for() -> None:
    assert repair_settings(None) is None
    assert repair_settings("refit") == Refit() and repair_settings("fold") == Fold()
    assert repair_settings(Refit(ridge=0.1)) == Refit(ridge=0.1)
    for wrong in ("mend", 3):
        with pytest.raises(OptionError, match="Expected repair to be 'refit', 'fold'"):
            repair_settings(wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="Expected frozen"):
        Fold(frozen="no")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- what a ReLU hides


def test_what_a_relu_hides_does_not_count() -> None:
    """Solved anew without it, the layer behind the ReLU gets nearer to what it was."""
    missed = {}
    for rounds in (0, 3):
        net = network("chain", seed=2)
        shown = keras.Model(net.input, net.get_layer("last").input)
        wanted = numpy(shown(X, training=False))
        settings = dataclasses.replace(EXACT, rounds=rounds)
        reference = remember(net, X, settings)
        switches = Switches(net)
        switches.disable(Filter("first", 0), Filter("first", 2))
        reader = Calibration(net, X, settings).readers["second"]
        assert reader.rectified
        refit(net, X, reference=reference)
        missed[rounds] = np.square(numpy(shown(X, training=False)) - wanted).mean()
    assert missed[3] < 0.97 * missed[0]


@pytest.mark.parametrize("name", ["chain", "residual", "twins"])
def test_with_nothing_disabled_the_function_stays_in_every_round(name: str) -> None:
    net, x = network(name), data(name)
    wanted = numpy(net(x, training=False))
    refit(net, x, settings=Refit(samples=None, rounds=3))
    np.testing.assert_allclose(numpy(net(x, training=False)), wanted, atol=1e-4 * np.abs(wanted).max())


def test_targets_behind_a_normalization_against_the_formula() -> None:
    """Numbers by hand: scale 2, offset -1, and 3 more from the stream."""
    behind = Behind(np.full((1, 1, 1), 2.0, "f4"), np.full((1, 1, 1), -1.0, "f4"))
    stream = np.full((1, 1, 1), 3.0, "f4")
    for y, made, seen in ((5.0, 1.0, 5.0), (-2.0, -3.0, -3.0), (-2.0, 1.0, -1.0), (1.0, -4.0, 1.0)):
        # 2 x - 1 + 3 is negative below -1
        found = behind.seen(np.full((1, 1, 1), y, "f4"), np.full((1, 1, 1), made, "f4"), stream)
        assert found.item() == seen
    assert behind.made_up(np.ones((1, 1, 1), "f4"), stream, stream - 4).item() == 3.0


def test_which_layers_stand_in_front_of_a_relu() -> None:
    found = {name: Calibration(network(name), data(name), Refit()).readers for name in ("residual", "mobile", "dense")}
    rectified = {name: {path for path, one in known.items() if one.rectified} for name, known in found.items()}
    assert rectified["residual"] == {"stem", "a1", "a2", "b1", "b2"}
    assert rectified["mobile"] == {"wide", "deep", "apart"} and rectified["dense"] == set()


def test_calls_of_twins_are_due_together_and_loops_stand_apart() -> None:
    stations = {
        name: record(network(name)).stations(("first", "second", "again")) for name in ("twins", "looped", "chain")
    }
    due = {name: [[step.number for step in one] for one in found if one[0].path in ("first", "second", "again")]
           for name, found in stations.items()}  # fmt: skip
    assert due == {"twins": [[0, 1], [0, 1]], "looped": [[0], [0], [1]], "chain": [[0], [0]]}


def test_a_network_that_is_cut_is_remembered_as_it_stands() -> None:
    net = network("chain")
    Switches(net).disable(Filter("first", 1))
    wanted = numpy(keras.Model(net.input, net.get_layer("second").output)(X, training=False))
    found = remember(net, X, EXACT).outputs["second"][0][0]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "samples", "at_once"),
    [
        ([(28, 28, 1)], 1_024, 256),
        ([(32, 32, 3)], 1_024, 256),
        ([(64, 64, 3)], 256, 85),
        ([(224, 224, 3)], 256, 64),
        ([(8,), (64, 64, 1)], 768, 256),
    ],
)
def test_small_inputs_give_more_samples_and_more_at_once(
    shapes: list[tuple[int, ...]], samples: int, at_once: int
) -> None:
    assert samples_wanted(Refit(), shapes) == samples
    assert samples_at_once(Refit(), shapes) == at_once
    assert samples_at_once(Refit(batch=3), shapes) == 3
    assert samples_wanted(Refit(samples=7), shapes) == 7
    assert samples_wanted(Refit(samples=None), shapes) is None
