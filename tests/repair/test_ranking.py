"""The refit strategy's costs against brute force; what the view tells the other strategies; and what these cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from core_models import assert_same_bits, numpy
from test_refit import NETWORKS, X, data, network

from shrinknet import Filter, Switches, cost, load_strategy
from shrinknet.errors import DataError, OptionError, StrategyError
from shrinknet.loop.view import NetworkView
from shrinknet.records import Trial
from shrinknet.repair import Refit, evidence, refit, remember
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.reference import Calibration
from shrinknet.strategies import equations as plain
from shrinknet.strategies.refit import Elimination
from shrinknet.strategies.simulated import Saved
from shrinknet.testing import FakeNetwork, play

TINY = Refit(ridge=1e-6, samples=None, rounds=0)


def measured(net: Any, x: Any = X, targets: Any = None, settings: Refit = TINY) -> Evidence:
    return Evidence(Calibration(net, x, settings), targets)


def view(net: Any, x: Any = X, targets: Any = None) -> NetworkView:
    found = measured(net, x, targets)
    return NetworkView(
        Switches(net),
        calibration=lambda: x,
        measure=lambda: 0.0,
        higher_is_better=True,
        evidence=lambda: found,
    )


def problem(seed: int = 0, sizes: tuple[int, ...] = (3, 3, 2, 1)) -> plain.Equations:
    """A reader of channels of so many columns each, with 4 outputs of which the first two are filters a[0] and a[1]."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(50, sum(sizes))) @ random.normal(size=(sum(sizes), sum(sizes)))
    ends = np.cumsum(sizes)
    reads = {Filter("a", i): np.arange(end - size, end) for i, (size, end) in enumerate(zip(sizes, ends, strict=True))}
    kernel = random.normal(size=(sum(sizes), 4))
    makes = {Filter("a", 0): np.array([0]), Filter("a", 1): np.array([1])}
    return plain.Equations("reader", rows.T @ rows / 50, kernel, reads, makes)


def least(one: plain.Equations, gone: list[Filter], ridge: float, outputs: np.ndarray) -> float:
    """Brute force: half the least penalized error over all kernels that are 0 where `gone` is read."""
    penalty = ridge * np.diag(one.moments).mean()
    full = one.moments + penalty * np.eye(len(one.moments))
    live = np.ones(len(full), bool)
    for filter in gone:
        live[one.reads[filter]] = False
    energy = np.einsum("co,co->", one.kernel, one.moments @ one.kernel)
    target = full @ one.kernel[:, outputs]
    solved = np.zeros_like(one.kernel[:, outputs])
    solved[live] = np.linalg.solve(full[np.ix_(live, live)], target[live])
    apart = solved - one.kernel[:, outputs]
    return float(0.5 * np.einsum("co,co->", apart, full @ apart) / energy)


# ------------------------------------------------------------------------------------------- the closed form


def test_the_cost_of_a_channel_is_what_brute_force_finds() -> None:
    one = problem()
    place = {filter: i for i, filter in enumerate(one.reads)}
    costs = Elimination(one, place, 0.01).costs
    everything = np.arange(4)
    wanted = [least(one, [filter], 0.01, everything) for filter in one.reads]
    np.testing.assert_allclose(costs, wanted, rtol=1e-8)


@pytest.mark.parametrize(
    ("sizes", "order"),
    [((3, 3, 2, 1), (2, 0, 3)), ((3, 3, 2, 1, 1, 3, 2, 1, 1, 3), (4, 7, 0, 9, 5, 3, 1, 8)), ((1,) * 12, range(11))],
)
def test_costs_stay_exact_while_channels_go(sizes: tuple[int, ...], order: Sequence[int]) -> None:
    """After each cut: what the next would add to the least error, of the outputs that are left."""
    one = problem(3, sizes)
    place = {filter: i for i, filter in enumerate(one.reads)}
    work = Elimination(one, place, 0.05)
    gone: list[Filter] = []
    total = work.costs
    for index in order:
        filter = Filter("a", index)
        total = total + work.remove(filter)
        gone.append(filter)
        outputs = np.array([output for output in range(4) if Filter("a", output) not in gone or output > 1])
        before = least(one, gone, 0.05, outputs)
        for other, column in place.items():
            wanted = 0.0 if other in gone else least(one, [*gone, other], 0.05, outputs) - before
            assert work.costs[column] == pytest.approx(wanted, rel=1e-7, abs=1e-12)
    np.testing.assert_allclose(total, work.costs, atol=1e-12)


def test_weights_of_outputs_count() -> None:
    one = problem(1)
    weights = np.array([0.0, 0.0, 3.0, 0.0])
    weighted = plain.Equations(one.layer, one.moments, one.kernel, one.reads, one.makes, weights)
    place = {filter: i for i, filter in enumerate(one.reads)}
    energy = np.einsum("co,co->", one.kernel, one.moments @ one.kernel)
    wanted = [3 * energy * least(one, [filter], 0.01, np.array([2])) for filter in one.reads]
    np.testing.assert_allclose(Elimination(weighted, place, 0.01).costs, wanted, rtol=1e-8)


def test_the_cost_is_what_a_refit_really_misses() -> None:
    """Cut for real, refit, measure: twice the cost is the share of the outputs that is missed."""
    for index in range(4):
        net = network("chain")
        reference = remember(net, X, TINY)
        (second,) = (one for one in measured(net).equations() if one.layer == "second")
        place = {Filter("first", i): i for i in range(4)}
        predicted = 2 * Elimination(second, place, 1e-6).costs[index]
        Switches(net).disable(Filter("first", index))
        missed = refit(net, X, reference=reference).missed["second"]
        assert missed == pytest.approx(predicted, rel=1e-3)
        assert missed > 1e-3


def test_copies_go_first_and_not_both() -> None:
    net = network("chain")
    first, norm = net.get_layer("first"), net.get_layer("norm")
    for variable in (first.kernel, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance):
        values = numpy(variable)
        values[..., 3] = values[..., 1]
        variable.assign(values)
    (one,) = load_strategy("refit", ridge=1e-6).ask(view(net), 1)
    assert one in (Filter("first", 1), Filter("first", 3))
    answer = load_strategy("refit", ridge=1e-6, power=0).ask(view(net), 2)
    assert {Filter("first", 1), Filter("first", 3)} != set(answer)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_added_up_serves_until_the_network_is_changed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(name), data(name)
    known, walks = measured(net, x), []
    walk = evidence.Calibration.walk
    monkeypatch.setattr(evidence.Calibration, "walk", lambda self, handle: (walks.append(1), walk(self, handle))[1])
    before = known.equations()[0].moments
    assert np.array_equal(known.equations()[0].moments, before) and len(walks) == 1
    for layer in net.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(2 * layer.kernel)
    assert not np.array_equal(known.equations()[0].moments, before) and len(walks) == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_refit_added_up_is_what_a_walk_adds_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(name), data(name)
    switches = Switches(net)
    reference = remember(net, x)
    switches.disable(*switches.filters[::4])
    found = measured(net, x, settings=reference.settings)
    walks: list[Any] = []
    walk = Calibration.walk
    monkeypatch.setattr(Calibration, "walk", lambda self, handle: (walks.append(handle), walk(self, handle)))
    found.repaired(reference)
    twice = len(walks) > 1  # a shared layer feeds itself: the sums are from before its repair
    walks.clear()
    reused = found.equations()
    assert len(walks) == twice
    for one, other in zip(reused, measured(net, x, settings=reference.settings).equations(), strict=True):
        assert one.layer == other.layer
        assert_same_bits([one.moments, one.kernel], [other.moments, other.kernel])
    net.trainable_variables[0].assign_add(np.ones(net.trainable_variables[0].shape))
    walks.clear()
    found.equations()
    assert len(walks) == 1  # the network was changed since


def test_wide_readers_come_channel_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheaper form: mean over the taps of the exact moments; a column for each channel."""
    net = network("chain")
    (exact,) = (one for one in measured(net).equations() if one.layer == "second")
    monkeypatch.setattr(evidence, "WIDE", 8)
    known = measured(net)
    (wide,) = (one for one in known.equations() if one.layer == "second")
    assert wide.moments.shape == (4, 4) and wide.kernel.shape == (4, 27)
    taps = [exact.moments[tap * 4 : tap * 4 + 4, tap * 4 : tap * 4 + 4] for tap in range(9)]
    around = np.mean(taps, axis=0)
    np.testing.assert_allclose(np.diag(wide.moments), np.diag(around), rtol=0.2)
    assert [columns.tolist() for columns in wide.reads.values()] == [[0], [1], [2], [3]]


# ------------------------------------------------------------------------------------------- what the view tells


def compiled(name: str = "residual") -> Any:
    net = network(name)
    net.compile(loss="mse")
    return net


TARGETS = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")


def test_slopes_are_the_derivative_of_disabling() -> None:
    """Against a difference quotient: every reader's kernel slices scaled down a little."""
    net = compiled()
    falls = measured(net, targets=TARGETS).slopes()
    switches = Switches(net)
    assert list(falls) == list(switches.filters) and all(one.shape == (40,) for one in falls.values())
    start = copies_of(net)
    for filter in switches.filters[:6]:
        channel = switches.graph.channel(filter)
        losses = []
        for step in (0.001, -0.001):
            for weight in switches.graph.weights:
                if not weight.owned:
                    factor = np.where(weight.channels == channel, 1 - step, 1.0)
                    shape = [-1 if axis == weight.axis else 1 for axis in range(len(weight.variable.shape))]
                    weight.variable.assign(start[id(weight.variable)] * factor.reshape(shape))
            losses.append(np.square(numpy(net(X, training=False)) - TARGETS).mean(axis=1))
        quotient = (losses[1] - losses[0]) / 0.002
        near = np.isclose(falls[filter], quotient, atol=2e-2 * np.abs(quotient).max())
        assert near.mean() > 0.9  # a ReLU may bend between the two


def copies_of(net: Any) -> dict[int, np.ndarray]:
    return {id(variable): numpy(variable) for variable in net.variables}


def test_weights_are_squared_gradients_summed_over_places() -> None:
    net = compiled()
    equations = measured(net, targets=TARGETS).equations(weighted=True)
    (head,) = (one for one in equations if one.layer == "head")
    outputs = numpy(net(X, training=False))
    np.testing.assert_allclose(head.weights, np.square(2 / 3 * (outputs - TARGETS)).mean(0), rtol=1e-4)
    assert all(one.weights is not None and (one.weights >= 0).all() for one in equations)
    assert all(one.weights is None for one in measured(net).equations())


def test_signals_are_what_readers_see() -> None:
    net = network("chain")
    seen = measured(net).signals()
    read = numpy(keras.Model(net.input, net.get_layer("second").input)(X))
    for index in range(4):
        channel = read[..., index]
        wanted = (np.abs(channel).mean(), (channel == 0).mean())
        np.testing.assert_allclose(seen[Filter("first", index)], wanted, rtol=1e-4)
    assert set(seen) == set(Switches(net).filters)


def test_scales_are_those_of_the_normalizations_on_a_group() -> None:
    net = network("residual")
    seen = view(net).scales()
    gammas = [np.abs(numpy(net.get_layer(f"{name}norm").gamma)) for name in "ab"]
    for index in range(4):
        assert seen[Filter("stem", index)] == pytest.approx(np.mean([gamma[index] for gamma in gammas]))
    assert Filter("first", 0) in view(network("chain")).scales()
    assert view(network("nested")).scales() == {}


@pytest.mark.parametrize("unit", ["multiply_adds", "parameters", "bytes", "filters"])
@pytest.mark.parametrize("name", ["residual", "mobile", "dense", "nested"])
def test_savings_are_differences_of_costs(name: str, unit: str) -> None:
    net = network(name)
    switches = Switches(net)
    switches.disable(switches.filters[1])

    def measure() -> float:
        if unit == "filters":
            gone = switches.read("disabled")
            return sum(int((~gone[channels]).sum()) for channels in switches.graph.producers.values())
        return float(getattr(cost(net), unit))

    for without in ((), switches.filters[2:4]):
        savings = view(net).savings(unit)
        for filter in without:
            savings.remove(filter)
        saved = dict(zip(savings.filters, savings.amounts.tolist(), strict=True))
        assert not any(saved[filter] for filter in [*without, *switches.disabled])
        switches.disable(*without)
        before = measure()
        for filter in switches.enabled:
            switches.disable(filter)
            assert abs(saved[filter] - (before - measure())) < 1, filter  # costs are rounded
            switches.enable(filter)
        switches.enable(*without)


def test_savings_in_an_unknown_unit_are_refused() -> None:
    with pytest.raises(OptionError, match="one of filters, parameters"):
        view(network("chain")).savings("euros")


def test_what_cannot_be_told_is_refused() -> None:
    net = network("residual")
    with pytest.raises(DataError, match="Expected targets of the calibration data"):
        measured(net).slopes()
    bare = NetworkView(Switches(net), calibration=lambda: X, measure=lambda: 0.0, higher_is_better=True)
    with pytest.raises(StrategyError, match="asked for what calibration data say"):
        bare.equations()
    with pytest.raises(DataError, match="Expected 40 targets"):
        measured(compiled(), targets=TARGETS[:3]).slopes()


# ------------------------------------------------------------------------------------------- what they cut


class Told(FakeNetwork):
    """Two layers of three filters, of which everything is as it is set here."""

    def __init__(self, **facts: Any) -> None:
        super().__init__({"a": (2, 3), "b": (4, 3)}, min_filters=0)
        for name, values in facts.items():
            setattr(self, name, lambda *_, values=values, **__: values)


def order(strategy: str, network: FakeNetwork, **parameters: Any) -> list[str]:
    trials = play(load_strategy(strategy, patience=None, **parameters), network, lambda filters: False)
    return [str(trial.filters[0]) for trial in trials]


A, B = ([Filter(layer, index) for index in range(3)] for layer in "ab")


def test_taylor_takes_the_mean_of_absolute_values_relative_to_the_layer() -> None:
    falls = {A[0]: [3, -3], A[1]: [1, 1], A[2]: [0, 4], B[0]: [0.1, 0.1], B[1]: [0.0, 0.1], B[2]: [0.3, 0.3]}
    network = Told(slopes={filter: np.array(values) for filter, values in falls.items()})
    # means 3, 1, 2 by their norm 3.74; 0.1, 0.05, 0.3 by 0.32
    assert order("taylor", network) == ["b[1]", "a[1]", "b[0]", "a[2]", "a[0]", "b[2]"]
    assert order("taylor", network, relative=False) == ["b[1]", "b[0]", "b[2]", "a[1]", "a[2]", "a[0]"]


def test_bn_scale_takes_the_smallest_and_those_without_last() -> None:
    network = Told(scales={A[0]: 0.5, A[2]: 0.1, B[0]: 0.2, B[1]: 0.01, B[2]: 0.02})
    assert order("bn-scale", network) == ["b[1]", "b[2]", "a[2]", "b[0]", "a[0]", "a[1]"]
    assert order("bn-scale", network, relative=True)[:2] == ["b[1]", "b[2]"]


def test_activation_and_zeros_take_the_silent() -> None:
    values = [(1.0, 0.0), (3.0, 0.9), (2.0, 0.0), (0.1, 0.5), (0.3, 0.95), (0.2, 0.0)]
    network = Told(signals={one: plain.Signal(*value) for one, value in zip([*A, *B], values, strict=True)})
    assert order("activation", network) == ["a[0]", "b[0]", "a[2]", "b[2]", "a[1]", "b[1]"]
    assert order("zeros", network) == ["b[1]", "a[1]", "b[0]", "b[2]", "a[0]", "a[2]"]


def test_learned_goes_where_cuts_were_accepted() -> None:
    network = FakeNetwork({"a": (2, 9), "b": (2, 9), "c": (2, 9)}, seed=1)
    trials = play(load_strategy("learned", patience=20), network, lambda filters: filters[0].layer == "b")
    accepted = [trial.accepted for trial in trials]
    assert sum(accepted) == 8 and sum(accepted[:12]) >= 7  # all but the last one of b, after few tries elsewhere


def test_learned_takes_the_smallest_kernel_of_the_layer_and_spreads_a_batch() -> None:
    kernels = {"a": np.array([[3.0, 1.0, 2.0]]), "b": np.array([[0.3, 0.2, 0.1]])}
    network = FakeNetwork(kernels, biases={layer: np.zeros(3) for layer in kernels})
    strategy = load_strategy("learned", curiosity=0)
    assert [str(filter) for filter in strategy.ask(network, 4)] == ["a[1]", "b[2]", "a[2]", "b[1]"]
    for number in range(1, 4):
        strategy.tell(Trial(number, (Filter("a", 0),), 1.0, 1.0, 1.0, accepted=True))
    assert [str(filter) for filter in strategy.ask(network, 2)] == ["a[1]", "a[2]"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("refit", {"power": -1}), ("refit", {"ridge": 0}), ("learned", {"curiosity": -1}), ("learned", {"memory": 0})],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"The strategy's parameter {next(iter(parameters))}"):
        load_strategy(name, **parameters)


def test_a_longer_answer_goes_on_where_the_shorter_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives what one that is asked at once gives; a network that was changed is ranked anew."""
    made = []
    begin = Elimination.__init__
    monkeypatch.setattr(Elimination, "__init__", lambda self, *given: made.append(self) or begin(self, *given))
    net = network("residual")
    seen = view(net)
    whole = load_strategy("refit").ask(seen, 6)
    readers = len(made)
    strategy = load_strategy("refit")
    assert strategy.ask(seen, 2) == whole[:2] and strategy.ask(seen, 6) == whole and strategy.ask(seen, 3) == whole[:3]
    assert len(made) == 2 * readers
    Switches(net).disable(whole[0])
    assert strategy.ask(seen, 5) == load_strategy("refit").ask(view(net), 5)
    net.layers[1].kernel.assign(net.layers[1].kernel[:, :, :, ::-1])
    assert strategy.ask(seen, 5) == load_strategy("refit").ask(view(net), 5)


def test_refit_counts_what_is_saved() -> None:
    one = problem()
    network = FakeNetwork({"a": (2, 4)}, min_filters=0)
    network.equations = lambda weighted=False: (one,)  # type: ignore[method-assign,assignment]
    costs = dict(zip(one.reads, Elimination(one, {f: i for i, f in enumerate(one.reads)}, 0.01).costs, strict=True))
    network.savings = lambda unit: Saved(dict.fromkeys(one.reads, 1.0))  # type: ignore[method-assign]
    (first,) = load_strategy("refit").ask(network, 1)
    assert first == min(costs, key=costs.__getitem__)
    worst = max(costs, key=costs.__getitem__)
    network.savings = lambda unit: Saved({f: 1e6 if f == worst else 1.0 for f in costs})  # type: ignore[method-assign]
    assert load_strategy("refit").ask(network, 1) == (worst,)
    assert load_strategy("refit", power=0).ask(network, 1) == (first,)
