"""The rankings and the end of the built-in strategies, against results worked out by hand."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies import Strategy, checked_ask, load_strategy, norms, peers
from shrinknet.strategies.random import Random
from shrinknet.strategies.registry import BUILT_IN
from shrinknet.testing import HUGE, FakeNetwork, play

COSINES = ("cosine-max", "cosine-mean", "cosine-max-abs", "cosine-mean-abs")
PATIENT = (*COSINES, "norm-l1", "norm-l2", "ablation")


def reject(filters: tuple[Filter, ...]) -> bool:
    return False


def ranking(name: str, network: FakeNetwork, **parameters: object) -> list[str]:
    """All candidates in the order in which they are asked for, one by one, when every trial is rejected."""
    return asked(load_strategy(name, **{"patience": None, **parameters}), network)


def asked(strategy: Strategy, network: FakeNetwork, accept: Callable[..., bool] = reject) -> list[str]:
    return [" ".join(map(str, trial.filters)) for trial in play(strategy, network, accept)]


def batch(strategy: Strategy, network: FakeNetwork, count: int) -> list[str]:
    return [str(filter) for filter in checked_ask(strategy, network, count)]


def dense(*rows: Sequence[float], bias: Sequence[float] | None = None, **options: object) -> FakeNetwork:
    """One layer `a`; each row is a filter's weights."""
    biases = {"a": np.zeros(len(rows)) if bias is None else np.array(bias)}
    return FakeNetwork({"a": np.array(rows).T}, biases=biases, **options)  # type: ignore[arg-type]


# Filters 0 and 1 point to the right (1 is twice as long), 2 upwards, 3 to the left. Cosines: 0-1 is 1, 0-3 and 1-3
# are -1, the others 0. All have length 1 except filter 1.
CROSS = ((1.0, 0.0), (2.0, 0.0), (0.0, 1.0), (-1.0, 0.0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # largest: 1, 1, 0, 0: the tie of 0 and 1 goes to the shorter, that of 2 and 3 to network order
        ("cosine-max", ["a[0]", "a[1]", "a[2]", "a[3]"]),
        # mean: 0, 0, 0, -2/3: the tie of three goes to the shorter, then to network order
        ("cosine-mean", ["a[0]", "a[2]", "a[1]", "a[3]"]),
        # largest absolute: 1, 1, 0, 1
        ("cosine-max-abs", ["a[0]", "a[3]", "a[1]", "a[2]"]),
        # mean absolute: 2/3, 2/3, 0, 2/3
        ("cosine-mean-abs", ["a[0]", "a[3]", "a[1]", "a[2]"]),
    ],
)
def test_cosine_ranks(name: str, expected: list[str]) -> None:
    assert ranking(name, dense(*CROSS)) == expected


def test_the_bias_is_the_last_weight() -> None:
    kernels = ((1.0, 0.0), (1.0, 0.0), (0.8, 0.6))
    assert ranking("cosine-max", dense(*kernels))[0] == "a[0]"
    # with biases 5, -5 and 5.5 filters 0 and 2 are the similar ones
    assert ranking("cosine-max", dense(*kernels, bias=(5.0, -5.0, 5.5))) == ["a[0]", "a[2]", "a[1]"]


def test_disabled_filters_are_not_compared_with() -> None:
    rows = ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.1, 1.0))
    assert ranking("cosine-max", dense(*rows))[0] == "a[0]"
    assert ranking("cosine-max", dense(*rows, disabled=[Filter("a", 1)])) == ["a[2]", "a[3]", "a[0]"]


def test_frozen_filters_are_compared_with_and_not_asked_for() -> None:
    rows = ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.1, 1.0))
    assert ranking("cosine-max", dense(*rows, frozen=[Filter("a", 1)])) == ["a[0]", "a[2]", "a[3]"]


@pytest.mark.parametrize("name", COSINES)
def test_proportional_filters_tie_in_spite_of_rounding(name: str) -> None:
    row = np.random.default_rng(7).integers(-99, 100, size=200)  # multiples are exact, but their unit vectors are not
    network = dense(5 * row, 3 * row, 7 * row, -np.ones(200), row)
    first = [place for place in ranking(name, network) if place != "a[3]"]
    assert first == ["a[4]", "a[1]", "a[0]", "a[2]"], "cosine 1 each: the shortest first"


def test_equal_norms_tie_whatever_the_order_of_their_weights() -> None:
    random = np.random.default_rng(3)
    row = random.normal(size=500) * 10.0 ** random.integers(
        -9, 9, size=500
    )  # with similar magnitudes the sums would be exact
    network = dense(*(random.permutation(row) for _ in range(20)))
    assert len(set(norms(network).values())) == 1
    assert ranking("norm-l1", network) == [f"a[{index}]" for index in range(20)]


def test_equal_means_tie_whatever_the_order_of_their_sums() -> None:
    for seed in range(20):
        rows = np.random.default_rng(seed).normal(size=(40, 8)).astype(np.float32)
        rows[0] = 2 * rows[-1]  # both have the same similarities to the others, summed in a different order
        order = ranking("cosine-mean", dense(*rows))
        assert order.index("a[0]") == order.index("a[39]") + 1


def test_layers_are_ranked_together_and_a_lonely_filter_comes_last() -> None:
    kernels = {
        "b": np.array([[1.0, 1.0], [0.0, 0.2]]),  # two similar filters
        "lonely": np.array([[9.0]]),
        "a": np.array([[1.0, 0.0], [0.0, 1.0]]),  # two orthogonal filters
        "c": np.array([[1.0, -1.0]]),  # two opposite filters
    }
    biases = {layer: np.zeros(kernel.shape[1]) for layer, kernel in kernels.items()}
    network = FakeNetwork(kernels, biases=biases, min_filters=0)
    order = ["b[0]", "b[1]", "a[0]", "a[1]", "c[0]", "c[1]", "lonely[0]"]
    assert ranking("cosine-max", network) == order
    assert ranking("cosine-mean", network) == order


@pytest.mark.parametrize("name", COSINES)
def test_filters_of_zeros_are_similar_to_none(name: str) -> None:
    order = ranking(name, dense((1.0, 0.0), (0.0, 0.0), (2.0, 0.1), (0.0, 0.0)))
    assert order == ["a[0]", "a[2]", "a[1]", "a[3]"]


def test_a_group_is_compared_by_its_joined_vectors() -> None:
    # By layer x alone filters 0 and 1 are alike (and short), by y alone 1 and 2; joined, 1 and 2 are.
    x = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.5]])
    y = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 9.0]])
    biases = {"x": np.zeros(3), "y": np.zeros(3)}
    groups = [(Filter("x", index), Filter("y", index)) for index in range(3)]
    free = FakeNetwork({"x": x, "y": y}, biases=biases)
    assert ranking("cosine-max", free)[:3] == ["x[0]", "x[1]", "y[1]"]
    tied = FakeNetwork({"x": x, "y": y}, biases=biases, groups=groups)
    (family,) = peers(tied)
    np.testing.assert_array_equal(family.vectors[1], [1, 0, 0, 0, 9, 0])  # kernel x, bias x, kernel y, bias y
    assert ranking("cosine-max", tied) == ["x[1]", "x[2]", "x[0]"]


def test_groups_are_compared_with_groups_of_the_same_layers_only() -> None:
    # x[0] + y[0] and x[1] + y[1] are tied, x[2] and x[3] are free; all filters of x are equal.
    groups = [(Filter("x", index), Filter("y", index)) for index in range(2)]
    kernels = {"x": np.ones((2, 4)), "y": np.array([[1.0, -8.0]])}
    network = FakeNetwork(kernels, biases={"x": np.zeros(4), "y": np.zeros(2)}, groups=groups)
    families = {tuple(map(str, family.filters)): family.vectors.shape for family in peers(network)}
    assert families == {("x[0]", "x[1]"): (2, 5), ("x[2]", "x[3]"): (2, 3)}
    assert ranking("cosine-max", network)[:2] == ["x[2]", "x[3]"]


def test_a_group_of_two_filters_of_one_layer_has_both_their_vectors() -> None:
    groups = [(Filter("a", index), Filter("a", index + 2)) for index in range(2)]
    network = dense((1.0,), (2.0,), (3.0,), (4.0,), bias=(5.0, 6.0, 7.0, 8.0), groups=groups)
    (family,) = peers(network)
    np.testing.assert_array_equal(family.vectors, [[1, 5, 3, 7], [2, 6, 4, 8]])


def test_a_batch_asks_for_one_of_two_copies() -> None:
    # After 0, its copy 1 has -1 and 0 left to compare with, as 2 and 3 have 0 and 0; after 2, 1 and 3 are opposite.
    assert batch(load_strategy("cosine-max"), dense(*CROSS), 2) == ["a[0]", "a[2]"]
    assert batch(load_strategy("cosine-max"), dense(*CROSS), HUGE) == ["a[0]", "a[2]", "a[3]"]  # one must stay


def oracle(vectors: np.ndarray, summary: str, absolute: bool) -> list[tuple[float, float, int]]:
    """Similarity, norm and position of each row, computed pair by pair in plain Python."""
    rows = [[float(value) for value in row] for row in vectors]
    lengths = [math.sqrt(math.fsum(value * value for value in row)) for row in rows]
    keys = []
    for i, first in enumerate(rows):
        values = []
        for j, second in enumerate(rows):
            if i != j:
                cosine = math.fsum(a * b for a, b in zip(first, second, strict=True)) / (lengths[i] * lengths[j])
                values.append(abs(cosine) if absolute else cosine)
        keys.append((max(values) if summary == "max" else math.fsum(values) / len(values), lengths[i], i))
    return keys


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 7), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from(COSINES))
def test_cosine_ranks_agree_with_plain_python(filters: int, weights: int, seed: int, name: str) -> None:
    random = np.random.default_rng(seed)
    kernel = random.integers(-3, 4, size=(weights, filters)) + 0.5  # few values: many ties, and no zero vectors
    network = FakeNetwork({"a": kernel}, biases={"a": random.integers(-1, 2, size=filters)})
    _, summary, *rest = name.split("-")
    keys = oracle(np.column_stack([kernel.T, network.bias("a")]), summary, bool(rest))
    expected = sorted(keys, key=lambda key: (-round(key[0], 12), round(key[1], 9), key[2]))
    assert ranking(name, network) == [f"a[{place}]" for _, _, place in expected]


def test_norms_rank_by_the_kernel() -> None:
    rows = ((3.0, 0.0), (2.0, 2.0), (-2.5, 1.0))  # L1: 3, 4, 3.5; L2: 3, 2.83, 2.69
    assert ranking("norm-l1", dense(*rows)) == ["a[0]", "a[2]", "a[1]"]
    assert ranking("norm-l2", dense(*rows)) == ["a[2]", "a[1]", "a[0]"]
    assert ranking("norm-l2", dense(*rows, bias=(0, 9, 9))) == ["a[2]", "a[1]", "a[0]"]
    assert ranking("norm-l2", dense(*rows, bias=(0, 9, 9)), bias=True) == ["a[0]", "a[2]", "a[1]"]


def test_relative_norms_do_not_favour_small_layers() -> None:
    kernels = {"small": np.array([[1.0, 1.1]]), "large": np.array([[5.0, 10.0], [5.0, 10.0]])}
    network = FakeNetwork(kernels, biases={"small": np.zeros(2), "large": np.zeros(2)})
    assert ranking("norm-l1", network)[:2] == ["small[0]", "small[1]"]
    # shares of the layer's mean: 0.95, 1.05; 0.67, 1.33
    assert ranking("norm-l1", network, relative=True) == ["large[0]", "small[0]", "small[1]", "large[1]"]


class Scored(FakeNetwork):
    """One layer with given scores for leaving out each of its filters."""

    def __init__(self, *scores: float, higher_is_better: bool = True) -> None:
        lengths = np.arange(len(scores), 0, -1.0)  # later filters are shorter
        super().__init__({"a": lengths[np.newaxis]}, higher_is_better=higher_is_better)
        self._scores = scores

    def score(self, without: Sequence[Filter] = ()) -> float:
        return self._scores[without[0].index] if without else 1.0


def test_ablation_ranks_by_the_loss_of_score() -> None:
    assert ranking("ablation", Scored(0.5, 0.9, 0.7)) == ["a[1]", "a[2]", "a[0]"]
    assert ranking("ablation", Scored(0.5, 0.9, 0.7, higher_is_better=False)) == ["a[0]", "a[2]", "a[1]"]


def test_ablation_breaks_ties_by_norm_and_puts_failures_last() -> None:
    scores = (math.nan, 0.9, 0.9, -math.inf, math.inf, 0.95)
    assert ranking("ablation", Scored(*scores)) == ["a[5]", "a[2]", "a[1]", "a[4]", "a[3]", "a[0]"]


@pytest.mark.parametrize("name", PATIENT)
def test_two_rejections_in_a_row_end_the_run(name: str) -> None:
    network = FakeNetwork({"conv": (3, 3, 1, 9)})
    assert len(play(load_strategy(name), network, reject)) == 2
    assert len(play(load_strategy(name, patience=5), network, reject)) == 5


@pytest.mark.parametrize("name", PATIENT)
def test_patience_restarts_after_an_acceptance(name: str) -> None:
    outcomes = iter([False, True, False, True, True, False, False, True])
    trials = play(load_strategy(name), FakeNetwork({"conv": (3, 3, 1, 9)}), lambda filters: next(outcomes))
    assert [trial.accepted for trial in trials] == [False, True, False, True, True, False, False]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_what_was_rejected_is_not_asked_for_until_an_acceptance(name: str) -> None:
    random = np.random.default_rng(0)
    limit = {"random": "trials", "sequential": "rounds"}.get(name, "patience")
    network = FakeNetwork({"conv": (3, 3, 1, 9)})
    trials = play(load_strategy(name, **{limit: None}), network, lambda filters: random.random() < 0.3)
    rejected: set[Filter] = set()
    for trial in trials:
        assert rejected.isdisjoint(trial.filters)
        rejected = set() if trial.accepted else rejected | set(trial.filters)
    assert len(trials) > 9
    assert len(rejected) >= 1, "it continues until all that are left were rejected"


def test_random_ends_after_ten_trials_whatever_their_outcome() -> None:
    shape = {"conv": (3, 3, 1, 30)}
    assert len(play(load_strategy("random"), FakeNetwork(shape))) == 10
    assert len(play(load_strategy("random"), FakeNetwork(shape), reject)) == 10
    assert len(play(load_strategy("random", trials=3), FakeNetwork(shape), count=4)) == 3
    assert len(play(load_strategy("random"), FakeNetwork({"conv": (3, 3, 1, 4)}), reject)) == 4, "all were rejected"


def test_random_is_a_function_of_seed_and_trials() -> None:
    network = FakeNetwork({"conv": (3, 3, 1, 1000)})

    def draws(seed: int) -> list[str]:
        return asked(load_strategy("random", seed=seed), network)

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert len(set(draws(3))) == 10
    strategy = load_strategy("random", seed=1)
    before = strategy.ask(network, 5)
    strategy.tell(Trial(1, (), 1.0, 1.0, 1.0, accepted=True))
    assert strategy.ask(network, 5) != before, "the same network after another trial"
    raw = np.random.Philox(key=[5, 0]).random_raw(1000)
    assert batch(load_strategy("random", seed=5), network, 1000)[:3] == [f"conv[{i}]" for i in np.argsort(raw)[:3]]


def test_random_draws_every_filter_about_as_often() -> None:
    network = FakeNetwork({"conv1": (2, 2, 1, 5), "conv2": (2, 2, 5, 5)})
    first = [batch(Random(seed=seed), network, 1)[0] for seed in range(2000)]
    counts = [first.count(str(filter)) for filter in network.candidates()]
    assert len(counts) == 10
    assert 150 < min(counts) <= max(counts) < 250, "mean 200, standard deviation 13"


def test_sequential_tries_every_filter_once_in_network_order() -> None:
    network = FakeNetwork({"b": (3, 3, 1, 3), "a": (3, 3, 3, 2)})
    order = ["b[0]", "b[1]", "b[2]", "a[0]", "a[1]"]
    assert asked(load_strategy("sequential"), network) == order
    accepted = asked(load_strategy("sequential"), network, lambda filters: filters[0].index == 0)
    assert accepted == ["b[0]", "b[1]", "b[2]", "a[0]"], "a[1] is the last of its layer by then"


def test_sequential_goes_round_again_only_where_the_network_has_changed() -> None:
    network = FakeNetwork({"a": (3, 3, 1, 5)})
    accepted = iter([False, False, True, False, False, False, False])
    order = asked(load_strategy("sequential", rounds=2), network, lambda filters: next(accepted))
    assert order == ["a[0]", "a[1]", "a[2]", "a[3]", "a[4]", "a[0]", "a[1]"]


def test_a_split_batch_counts_by_its_parts() -> None:
    network = dense(*CROSS)
    strategy = load_strategy("cosine-max")
    first = tuple(strategy.ask(network, 2))
    whole = Trial(1, first, 0.1, 1.0, 0.1, accepted=False, split=True)
    strategy.tell(whole)
    assert tuple(strategy.ask(network, 2)) == first
    for number, filter in enumerate(first, start=2):
        strategy.tell(dataclasses.replace(whole, number=number, filters=(filter,), split=False))
    assert tuple(strategy.ask(network, 2)) == (), "two parts, two rejections in a row"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cosine-max", {"patience": 0}),
        ("norm-l1", {"patience": -1}),
        ("ablation", {"patience": "two"}),
        ("random", {"trials": 0}),
        ("random", {"seed": -1}),
        ("random", {"seed": 0.5}),
        ("sequential", {"rounds": 1.5}),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, object]) -> None:
    ((parameter, value),) = parameters.items()
    with pytest.raises(OptionError, match=f"{parameter} to be an integer .* received {re.escape(repr(value))}"):
        load_strategy(name, **parameters)


@st.composite
def networks(draw: st.DrawFn) -> FakeNetwork:
    """Up to three layers, some filters tied, frozen or disabled, and few distinct weights so that there are ties."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    layers = {f"layer{i}": random.integers(-2, 3, size=(2, size)) for i, size in enumerate(sizes)}
    biases = {layer: random.integers(-1, 2, size=kernel.shape[1]) for layer, kernel in layers.items()}
    everything = [Filter(layer, index) for layer, kernel in layers.items() for index in range(kernel.shape[1])]
    tied = draw(st.permutations(everything))[: 2 * draw(st.integers(0, 2))]
    place = {filter: position for position, filter in enumerate(everything)}
    groups = [tuple(sorted(tied[i : i + 2], key=place.__getitem__)) for i in range(0, len(tied) - 1, 2)]
    some = st.lists(st.sampled_from(everything), max_size=2)
    return FakeNetwork(
        layers,
        biases=biases,
        groups=groups,
        frozen=draw(some),
        disabled=draw(some),
        min_filters=draw(st.integers(1, 2)),
        higher_is_better=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(networks(), st.sampled_from(sorted(BUILT_IN)), st.integers(1, 6), st.integers(0, 2**16))
def test_every_answer_on_any_network_is_legal(network: FakeNetwork, name: str, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    trials = play(load_strategy(name, seed=seed), network, lambda filters: random.random() < 0.7, count=count)
    layers = {filter.layer for trial in trials for filter in trial.filters}
    assert all(network.enabled(layer) for layer in layers), "every layer keeps a filter"
