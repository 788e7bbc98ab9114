"""What figures promise: one look for each strategy, all points visible, the sampling error of the thesis's numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from shrinknet.experiments.drop_gain import is_dead
from shrinknet.experiments.figures import jitter, look
from shrinknet.experiments.thesis import sampling_error


def test_a_strategy_looks_the_same_in_every_figure() -> None:
    names = ["cosine-max", "random", "sequential", "default", "my-own"]
    alone = [look(name, [name]) for name in names]
    together = [look(name, names) for name in names]
    assert alone == together
    assert len({str(each) for each in together}) == len(names)


def test_jitter_separates_equal_points_and_is_always_the_same() -> None:
    shifts = jitter(10, 0.2)
    assert len(np.unique(shifts.round(4))) == 10 and np.abs(shifts).max() <= 0.1
    np.testing.assert_array_equal(shifts, jitter(10, 0.2))


def test_the_sampling_error_of_pearson_is_that_of_scipy() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 100))
    found = stats.pearsonr(x, y)
    np.testing.assert_allclose(sampling_error(found.statistic, "prs"), found.confidence_interval(0.95), atol=1e-4)


@pytest.mark.parametrize(("kind", "method"), [("spr", stats.spearmanr), ("knd", stats.kendalltau)])
def test_the_sampling_error_of_rank_correlations_covers_95_in_100(kind: str, method: object) -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        x, y = random.normal(size=(2, 100))
        low, high = sampling_error(method(x, y).statistic, kind)  # type: ignore[operator]
        inside += low <= 0 <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_a_filter_without_which_nothing_changes_is_dead() -> None:
    assert is_dead(pd.DataFrame({"drop": [1.0, 1 - 1e-9, 0.999, 1.001]})).tolist() == [True, True, False, False]
