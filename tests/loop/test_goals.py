"""Targets in real units: what they mean, what the meter counts, and how many filters are proposed."""

from __future__ import annotations

import functools
import inspect
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import DATA, X, classifier

from shrinknet import Filter, Scope, Switches, cost, minimize, slim, switched
from shrinknet.cli.program import program
from shrinknet.engine.data import read_data
from shrinknet.errors import OptionError, RunError
from shrinknet.loop.goals import Goal, goals_of, unit_of
from shrinknet.loop.meter import Meter
from shrinknet.loop.presets import THRESHOLD, filled
from shrinknet.loop.proposals import ByCost
from shrinknet.loop.view import floors
from shrinknet.loop.workbench import Data, Workbench
from shrinknet.minimizer import check_options
from shrinknet.runs.points import SPACING, net_at, points


@pytest.fixture(scope="module")
def bench() -> Workbench:
    feed = read_data(DATA, 16, "data")
    return Workbench(switched(classifier()), Data(feed, feed), 0, score=lambda net: 1.0, mode="max")


@pytest.fixture(autouse=True)
def _all_enabled(bench: Workbench) -> Any:
    yield
    bench.switches.enable(*bench.switches.disabled)


@pytest.mark.parametrize(
    ("target", "goals"),
    [
        (None, ()),
        (8, (Goal("filters", 8, share=False),)),
        (0.5, (Goal("filters", 0.5, share=True),)),
        ({"multiply_adds": 0.5, "bytes": 10_000}, (Goal("multiply_adds", 0.5, True), Goal("bytes", 10_000, False))),
        ({"latency": 0.5}, (Goal("latency", 0.5, True),)),
        ({"latency_ms": 4}, (Goal("latency", 4.0, False),)),
    ],
)
def test_what_a_target_means(target: Any, goals: tuple[Goal, ...]) -> None:
    assert goals_of(target) == goals
    assert unit_of(goals) == (goals[0].unit if goals and goals[0].unit != "latency" else "multiply_adds")


@pytest.mark.parametrize("target", [0, -1, 1.5, True, "half", {}, {"flops": 0.5}, {"latency": 3}, {"bytes": None}])
def test_a_target_that_means_nothing(target: Any) -> None:
    with pytest.raises(OptionError, match="target"):
        goals_of(target)


@pytest.mark.parametrize("unit", ["filters", "parameters", "multiply_adds", "bytes"])
def test_the_meter_counts_what_the_network_costs_when_it_is_cut_out(bench: Workbench, unit: str) -> None:
    meter = Meter(bench, goals_of({unit: 0.5}))
    gone = (Filter("conv1", 1), Filter("conv2", 0))
    ahead = meter.value(unit, gone)
    bench.switches.disable(*gone)
    small = slim(bench.net)
    expected = {"filters": 5, **{name: getattr(cost(small), name) for name in ("parameters", "multiply_adds", "bytes")}}
    assert ahead == meter.value(unit) == expected[unit]
    assert small(X).shape == (48, 1)


@settings(max_examples=12)
@given(st.floats(0.05, 0.95), st.permutations(range(7)))
def test_no_more_filters_are_proposed_than_the_goal_needs(share: float, order: list[int]) -> None:
    bench = _shared_bench()
    filters = tuple(bench.switches.filters[index] for index in order)
    meter = Meter(bench, goals_of({"multiply_adds": share}))
    goal = ByCost(lambda count: filters[:count], meter).towards_goals(1.0)
    assert meter.reached(goal) or goal == filters
    assert not meter.reached(goal[:-1])
    some = ByCost(lambda count: filters[:count], Meter(bench, ())).of_cost(share)
    saved = [1 - meter.value("multiply_adds", some[:count]) / meter.uncut["multiply_adds"] for count in range(8)]
    assert some == filters or (saved[len(some)] >= share and all(one < share for one in saved[: len(some)]))


@functools.cache
def _shared_bench() -> Workbench:
    feed = read_data(DATA, 16, "data")
    return Workbench(switched(classifier()), Data(feed, feed), 0, score=lambda net: 1.0, mode="max")


@settings(max_examples=25)
@given(st.integers(2, 3), st.permutations(range(7)), st.integers(1, 7))
def test_what_is_left_of_a_layer_is_a_multiple(multiple: int, order: list[int], wanted: int) -> None:
    bench = _shared_bench()
    filters = tuple(bench.switches.filters[index] for index in order)
    proposals = ByCost(lambda count: filters[:count], Meter(bench, ()), multiple)
    batch = proposals.of_count(wanted)
    for layer, width in (("conv1", 4), ("conv2", 3)):
        left = width - sum(filter.layer == layer for filter in batch)
        assert left == width or left % multiple == 0
    assert batch or all(width % multiple for width in (4, 3)) is False


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        (Scope(), {"conv1": 1, "conv2": 1}),
        (Scope(min_filters=0), {"conv1": 0, "conv2": 0}),
        (Scope(never="conv1"), {"conv1": 4, "conv2": 1}),
        (Scope(only=["conv1"]), {"conv1": 1, "conv2": 3}),
        (Scope(never="conv*"), {"conv1": 4, "conv2": 3}),
        (Scope(min_filters={"conv1": 0.5, "*": 2}), {"conv1": 2, "conv2": 2}),
    ],
)
def test_floors(bench: Workbench, scope: Scope, kept: dict[str, int]) -> None:
    found = floors(scope, bench.switches)
    assert {layer: found[layer] for layer in kept} == kept


@pytest.mark.parametrize("scope", [{"only": "dense*"}, {"never": ["conv1", "conv9"]}, {"min_filters": {"x": 2}}])
def test_a_pattern_that_fits_no_layer_is_refused(scope: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="fits none of conv1, conv2"):
        minimize(classifier(), DATA, DATA, verbose=0, **scope)


@pytest.mark.slow
def test_layers_that_are_left_alone_lose_nothing() -> None:
    result = minimize(classifier(), DATA, DATA, target=0.5, never="conv1", final_steps=2, verbose=0, seed=1)
    assert {filter.layer for filter in Switches(result.switched).disabled} == {"conv2"}


@pytest.mark.parametrize(
    ("given_", "threshold"),
    [({}, THRESHOLD), ({"target": 3}, None), ({"max_drop": 0.1}, None), ({"threshold": 0.5, "target": 3}, 0.5)],
)
def test_the_threshold_that_nobody_named(given_: dict[str, Any], threshold: float | None) -> None:
    names = ("target", "threshold", "max_drop", "strategy", "repair", "steps")
    values, _ = filled("default", {**dict.fromkeys(names), "repair": "auto", **given_}, {})
    assert values["threshold"] == threshold and values["strategy"] == "refit" and values["repair"] == "refit"


def test_presets_fill_only_what_is_open() -> None:
    given_ = {"threshold": None, "max_drop": None, "target": None, "repair": "auto", "steps": 7, "strategy": None}
    values, details = filled("thesis", given_, {"train": "when-needed"})
    assert values["steps"] == 7 and values["repair"] is None and values["threshold"] == 0.98
    assert details == {
        "schedule": "constant", "train": "when-needed", "checks": 1, "final_distill": 0.0, "compact": "never",
    }  # fmt: skip
    with pytest.raises(OptionError, match="preset"):
        filled("best", given_, {})
    shown = inspect.signature(minimize).parameters["reference"].default  # what help(minimize) shows
    assert shown == "baseline" == filled("default", {**given_, "reference": shown}, {})[0]["reference"]
    assert filled("thesis", {**given_, "reference": shown}, {})[0]["reference"] == "last"
    assert filled("thesis", {**given_, "reference": "baseline"}, {})[0]["reference"] == "baseline"


def test_a_drop_replaces_the_threshold_of_a_preset() -> None:
    given_ = {"threshold": None, "max_drop": 0.1, "target": None}
    assert filled("thesis", given_, {})[0]["threshold"] is None
    assert filled("thesis", {**given_, "threshold": 0.9}, {})[0]["threshold"] == 0.9  # and both are refused
    check_options(preset="thesis", max_drop=0.1)
    with pytest.raises(OptionError, match="not both"):
        check_options(preset="thesis", max_drop=0.1, threshold=0.9)


@pytest.mark.slow
def test_a_target_in_bytes_is_reached_and_the_summary_says_what_it_cost() -> None:
    result = minimize(classifier(), DATA, DATA, target={"bytes": 0.6}, final_steps=4, seed=1, verbose=0, control=True)
    after, before = result.summary.after, result.summary.before
    assert after.bytes <= 0.6 * before.bytes
    assert "% of the bytes left" in result.summary.stopped
    assert result.summary.steps == result.summary.spent == 4
    assert result.control is not None and result.control.count_params() == result.uncut.count_params()
    np.testing.assert_allclose(result.model(X), slim(result.switched)(X), atol=1e-6)
    rates = [keras.ops.convert_to_numpy(one.optimizer.learning_rate) for one in (result.model, result.control)]
    assert np.allclose(rates, 0.01)  # what the user compiled, not the end of a schedule


@pytest.mark.slow
def test_any_point_of_the_frontier_can_be_cut_out_later(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = minimize(
        classifier(), DATA, DATA, target=2, pace="one", final_steps=3, seed=1, verbose=0, run_dir=run
    )  # fmt: skip
    uncut = result.summary.before.multiply_adds
    kept = points(uncut, result.records)
    apart = [uncut, *(trial.multiply_adds for trial in kept)]
    assert all(a - b >= SPACING * uncut for a, b in itertools.pairwise(apart)) and len(kept) > 1
    for trial in kept:
        net = net_at(run, trial.multiply_adds / uncut)
        small = slim(net)
        assert cost(small).multiply_adds <= trial.multiply_adds
        score = float(np.mean((small.predict(X, verbose=0) > 0.5) == DATA[1].reshape(-1, 1)))
        chosen = max(
            (t for t in kept if t.multiply_adds <= trial.multiply_adds), key=lambda t: (t.score, t.multiply_adds)
        )
        assert score == pytest.approx(chosen.score)
        assert cost(small).multiply_adds == chosen.multiply_adds
    with pytest.raises(RunError, match="smallest has"):
        net_at(run, 0.001)
    made = CliRunner().invoke(program, ["slim", str(run), str(tmp_path / "small.keras"), "--at", "0.9"])
    assert made.exit_code == 0, made.output
    assert cost(keras.models.load_model(tmp_path / "small.keras")).multiply_adds <= 0.9 * uncut
