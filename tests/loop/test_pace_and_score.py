"""How many filters are tried at once, and how scores are compared."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinknet.errors import ScoreError
from shrinknet.filters import Filter
from shrinknet.loop.pace import Pace
from shrinknet.loop.scoring import Scorer, make_scorer

FILTERS = tuple(Filter("conv", index) for index in range(8))


@given(st.sets(st.integers(0, 7)))
def test_adaptive_keeps_all_that_can_go_and_never_tries_a_bad_filter_alone_twice(bad_indices: set[int]) -> None:
    bad = {FILTERS[index] for index in bad_indices}
    pace, kept, rejected = Pace("adaptive"), set(), set()

    def ask(count: int) -> tuple[Filter, ...]:
        return tuple(filter for filter in FILTERS if filter not in kept | rejected)[:count]

    for _ in range(100):
        batch = pace.next(ask, set(FILTERS) - kept)
        if not batch:
            break
        assert not set(batch) & kept
        accepted = not set(batch) & bad
        if accepted:
            kept |= set(batch)
        elif len(batch) == 1:
            assert batch[0] not in rejected
            rejected |= set(batch)
        pace.tell(batch, accepted)
    assert kept == set(FILTERS) - bad
    assert rejected == bad


def test_adaptive_doubles_after_a_success() -> None:
    pace, sizes = Pace("adaptive"), []
    for _ in range(4):
        batch = pace.next(lambda count: tuple(Filter("conv", index) for index in range(count)), set())
        sizes.append(len(batch))
        pace.tell(batch, accepted=True)
    assert sizes == [1, 2, 4, 8]


@pytest.mark.parametrize(("pace", "count"), [("one", 1), (1, 1), (5, 5)])
def test_a_fixed_pace_asks_for_as_many(pace: Any, count: int) -> None:
    asked: list[int] = []
    fixed = Pace(pace)
    for accepted in (False, True):
        fixed.next(lambda count: asked.append(count) or FILTERS[:1], set())
        fixed.tell(FILTERS[:1], accepted)
    assert asked == [count, count]
    assert not fixed.splits(FILTERS)


@pytest.mark.parametrize(
    ("higher", "score", "reference", "ratio"),
    [
        (True, 0.9, 1.0, 0.9),
        (True, 2.0, 1.0, 2.0),
        (False, 0.5, 1.0, 2.0),
        (False, 2.0, 1.0, 0.5),
        (False, 0.0, 1.0, math.inf),
        (True, -1.0, 1.0, -1.0),
    ],
)
def test_the_ratio_is_the_share_that_is_kept(higher: bool, score: float, reference: float, ratio: float) -> None:
    assert Scorer("s", higher).ratio(score, reference) == ratio


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_a_score_that_is_not_finite_is_worth_nothing(score: float, higher: bool) -> None:
    assert not Scorer("s", higher).ratio(score, 1.0) >= 0.01


class Metric:
    def __init__(self, name: str, direction: str | None = None) -> None:
        self.name = name
        self._direction = direction


class Net:
    def __init__(self, *metrics: Metric) -> None:
        self.metrics = list(metrics)


@pytest.mark.parametrize(
    ("name", "direction", "higher"),
    [
        ("accuracy", None, True),
        ("soft_f1", None, True),
        ("val_iou", None, True),
        ("mse", None, False),
        ("my_loss", None, False),
        ("mean_absolute_error", None, False),
        ("thing", "up", True),
        ("thing", "down", False),
        ("error_rate", None, False),
    ],
)
def test_the_direction_is_told_by_the_metric_or_its_name(name: str, direction: str | None, higher: bool) -> None:
    assert make_scorer(name, "auto", Net(Metric(name, direction)), {name: 1.0}).higher_is_better is higher


def test_a_direction_that_cannot_be_told_is_asked_for() -> None:
    with pytest.raises(ScoreError, match="higher 'thing' is better: say mode='max'"):
        make_scorer("thing", "auto", Net(), {"thing": 1.0, "loss": 1.0})
    assert make_scorer("thing", "min", Net(), {"thing": 1.0}).higher_is_better is False


def test_the_first_metric_is_the_score_and_else_the_loss() -> None:
    assert make_scorer(None, "auto", Net(), {"loss": 1.0, "accuracy": 0.5, "mse": 1.0}).name == "accuracy"
    assert make_scorer(None, "auto", Net(), {"loss": 1.0, "a_loss": 1.0}).name == "loss"
