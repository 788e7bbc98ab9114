"""How many filters are tried at once, and how scores are compared."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinknet.criterion import Criterion
from shrinknet.errors import OptionError, ScoreError
from shrinknet.filters import Filter
from shrinknet.loop.options import Options
from shrinknet.loop.pace import Adaptive, Bisect, Bisecting, Fixed, InRounds, Rounds, make_pace
from shrinknet.loop.proposals import ByCount
from shrinknet.loop.scoring import Scorer, make_scorer

FILTERS = tuple(Filter("conv", index) for index in range(8))


@given(st.sets(st.integers(0, 7)))
def test_adaptive_keeps_all_that_can_go_and_never_tries_a_bad_filter_alone_twice(bad_indices: set[int]) -> None:
    bad = {FILTERS[index] for index in bad_indices}
    pace, kept, rejected = Adaptive(), set(), set()

    def ask(count: int) -> tuple[Filter, ...]:
        return tuple(filter for filter in FILTERS if filter not in kept | rejected)[:count]

    for _ in range(100):
        batch = pace.next(ByCount(ask), set(FILTERS) - kept)
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
    pace, sizes = Adaptive(), []
    for _ in range(4):
        batch = pace.next(ByCount(lambda count: tuple(Filter("conv", index) for index in range(count))), set())
        sizes.append(len(batch))
        pace.tell(batch, accepted=True)
    assert sizes == [1, 2, 4, 8]


@pytest.mark.parametrize(("pace", "count"), [("one", 1), (1, 1), (5, 5)])
def test_a_fixed_pace_asks_for_as_many(pace: Any, count: int) -> None:
    asked: list[int] = []
    fixed = make_pace(pace, has_goals=False, decides=True)
    assert isinstance(fixed, Fixed)
    for accepted in (False, True):
        fixed.next(ByCount(lambda count: asked.append(count) or FILTERS[:1]), set())
        fixed.tell(FILTERS[:1], accepted)
    assert asked == [count, count]
    assert not fixed.splits(FILTERS)


class Line:
    """Proposals of a network whose filters cost the same: the first so many that are neither kept nor refused."""

    def __init__(self, left: int, goal: int = 0) -> None:
        self.left, self.goal = left, goal

    def of_count(self, count: int) -> tuple[Filter, ...]:
        return tuple(Filter("conv", index) for index in range(min(count, self.left - self.goal)))

    def of_cost(self, share: float) -> tuple[Filter, ...]:
        return self.of_count(max(1, math.ceil(share * self.left)))

    def towards_goals(self, part: float) -> tuple[Filter, ...]:
        return self.of_count(math.ceil(part * (self.left - self.goal)))


@given(st.integers(1, 5_000), st.floats(0, 1))
def test_bisecting_finds_the_boundary_in_a_number_of_trials_that_grows_with_its_logarithm(
    width: int, boundary: float
) -> None:
    """Filters can go down to a share of them; the run ends after two rejections of the smallest step."""
    least = 0.02
    pace, left, trials, rejections = Bisecting(Bisect(least=least)), width, 0, 0
    while rejections < 2 and left > 1:
        batch = pace.next(Line(left), ())
        accepted = left - len(batch) >= boundary * width
        split = not accepted and pace.splits(batch)
        pace.tell(batch, accepted)
        left -= len(batch) if accepted else 0
        rejections = 0 if accepted else rejections + (not split)
        trials += 1
    assert left >= boundary * width or left == width
    assert left - boundary * width <= max(2 * least * left, 2) or left == 1
    assert trials <= 12 * math.log(width + 2) + 60


@given(st.integers(1, 4_000), st.integers(1, 20), st.floats(0, 0.99))
def test_rounds_reach_the_target_in_equal_steps(width: int, count: int, share: float) -> None:
    pace, left, sizes, goal = InRounds(Rounds(count)), width, [], math.floor(share * width)
    while left > goal:
        batch = pace.next(Line(left, goal), ())
        left -= len(batch)
        sizes.append(len(batch))
        pace.tell(batch, accepted=True)
    assert len(sizes) <= count and max(sizes) - min(sizes) <= count


@pytest.mark.parametrize(
    ("has_goals", "decides", "kind"), [(True, False, InRounds), (True, True, Bisecting), (False, True, Bisecting)]
)
def test_the_automatic_pace(has_goals: bool, decides: bool, kind: type) -> None:
    assert isinstance(make_pace("auto", has_goals=has_goals, decides=decides), kind)


@pytest.mark.parametrize("spec", [0, True, "fast", 1.5, None, "rounds", Rounds(2)])
def test_a_pace_that_cannot_be_used(spec: Any) -> None:
    with pytest.raises(OptionError, match="pace"):
        make_pace(spec, has_goals=False, decides=True)


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


@pytest.mark.parametrize(("guard", "accepted"), [(0.9, True), (0.89, False), (math.nan, False), (None, False)])
def test_a_guard_can_only_reject(guard: float | None, accepted: bool) -> None:
    criterion = Criterion(0.5, guards={"auc": Criterion(0.9)})
    guards = {} if guard is None else {"auc": guard}
    verdict = criterion.verdict(0.8, 1.0, guards, {"auc": 1.0})
    assert (verdict.ratio, verdict.accepted) == (0.8, accepted)
    assert not criterion.verdict(0.4, 1.0, {"auc": 1.0}, {"auc": 1.0}).accepted
    assert criterion.missing(0.8, 1.0) == 0  # of the score itself


def test_thresholds_are_for_all_scores_or_by_name() -> None:
    scorer = Scorer("accuracy", True, guards=(Scorer("loss", False),))
    assert Options(threshold=0.9).criterion(scorer) == Criterion(0.9, guards={"loss": Criterion(0.9, False)})
    own = Options(threshold=0.9, max_drop={"loss": 0.1}).criterion(scorer)
    assert own == Criterion(0.9, guards={"loss": Criterion(None, False, 0.1)})
    own = Options(threshold={"loss": 0.9}, max_drop=0.1).criterion(scorer)
    assert own == Criterion(None, max_drop=0.1, guards={"loss": Criterion(0.9, False)})
    mixed = Options(threshold={"accuracy": 0.9}, max_drop={"loss": 0.1})
    assert mixed.criterion(scorer) == Criterion(0.9, guards={"loss": Criterion(None, False, 0.1)})
    for threshold in ({"accuracy": 0.9}, {"accuracy": 0.9, "loss": 0.9, "auc": 0.9}):
        with pytest.raises(OptionError, match=r"each of the scores accuracy, loss; received accuracy"):
            Options(threshold=threshold).criterion(scorer)
    with pytest.raises(OptionError, match=r"received 1\.5"):
        Options(threshold={"accuracy": 1.5})


@pytest.mark.parametrize(("threshold", "max_drop"), [(0.9, 0.0), ({"loss": 0.9}, {"loss": 0.1, "accuracy": 0.1})])
def test_a_score_has_a_threshold_or_a_max_drop(threshold: Any, max_drop: Any) -> None:
    with pytest.raises(OptionError, match=r"threshold or max_drop for a score, not both.*Leave one out"):
        Options(threshold=threshold, max_drop=max_drop)


@pytest.mark.parametrize(
    ("epoch", "steps", "final"), [(2, 50, 40), (16, 50, 320), (25, 50, 500), (235, 235, 1_175), (9_000, 500, 5_000)]
)
def test_steps_that_were_left_open_follow_the_size_of_the_data(epoch: int, steps: int, final: int) -> None:
    options = Options(threshold=0.9).with_steps(epoch)
    assert (options.training.steps, options.final.steps) == (steps, final)


def test_the_first_of_several_is_the_score() -> None:
    results = ["loss", "accuracy"]
    scorer = make_scorer(["accuracy", "loss"], "auto", Bare(), results)
    assert (scorer.name, scorer.higher_is_better) == ("accuracy", True)
    assert scorer.guards == (Scorer("loss", False),)
    evaluated: list[int] = []
    both = scorer.with_guards(None, lambda: evaluated.append(1) or {"loss": 2.0, "accuracy": 0.5})  # type: ignore[func-returns-value]
    assert both == (0.5, {"loss": 2.0}) and evaluated == [1]
    assert make_scorer(["accuracy", odd], {"odd": "min"}, Bare(), results).guards[0].higher_is_better is False
    for score, mode in ((["loss", "loss"], "auto"), (["loss"], {"auc": "max"}), ([], "auto")):
        with pytest.raises(ScoreError, match=r"different names|at least one"):
            make_scorer(score, mode, Bare(), results)


def odd(model: Any) -> float:
    return 1.0


class Bare:
    """A model without metrics."""

    metrics: tuple[Any, ...] = ()
