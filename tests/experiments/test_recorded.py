"""Every recorded table follows from its recorded rows, by pandas and SciPy alone, and pages state what they give."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recorded
import verdicts

ROOT = Path(__file__).parents[2] / "experiments"
STRATEGIES = [path.parent.relative_to(ROOT) for path in sorted(ROOT.glob("strategies/*/runs.csv"))]


def assert_same(found: pd.DataFrame, name: str, key: str) -> None:
    table = recorded.recorded(name, "table")
    both = table.merge(found, on=key, suffixes=("", " again"))
    columns = [column for column in found.columns if column != key]
    assert len(both) == len(found) > 0
    for column in columns:
        np.testing.assert_allclose(both[column], both[f"{column} again"], atol=2e-9, err_msg=column)


def test_correlations() -> None:
    assert_same(recorded.correlations(), "correlations/results", "coefficient")


def test_drop_gain() -> None:
    found = recorded.drop_gain()
    found["median gain"] = found["median gain"].round(10)
    assert_same(found.drop(columns="n"), "drop-gain/results", "points")


@pytest.mark.parametrize("name", STRATEGIES, ids=str)
def test_strategies(name: Path) -> None:
    assert_same(recorded.strategies(str(name)), str(name), "cell")


def test_probes() -> None:
    assert_same(recorded.probes(), "probes/results", "probe")


def test_avalanche() -> None:
    assert_same(recorded.avalanche(), "avalanche/results", "network")


@pytest.mark.parametrize("name", ["avalanche", "steel"])
def test_shrunk(name: str) -> None:
    """The claim of every network and strategy states the shares that the rows give."""
    text = (ROOT / name / "README.md").read_text()
    for (network, strategy), rows in recorded.shrunk(name).groupby(["network", "strategy"]):
        assert len(rows) == 3
        claim = next(line for line in text.splitlines() if "multiply-adds" in line and str(strategy) in line
                     and ("U-Net" if network == "unet" else f"{network} loses") in line)  # fmt: skip
        if name == "avalanche":
            for column in ("left", "kept"):
                assert ", ".join(f"{value:.2f}" for value in rows[column]) in claim
        else:
            assert f"{rows['left'].mean():.2f} [" in claim and f"{rows['kept'].mean():.2f} [" in claim


@pytest.mark.parametrize("name", verdicts.SOURCES)
def test_verdicts_follow_from_the_tables(name: str) -> None:
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    assert verdicts.rewritten(text, verdicts.table(name)) == text, "run `python tools/verdicts.py`"


def test_pages_state_what_the_rows_give() -> None:
    text = " ".join(re.sub(r"\s+", " ", path.read_text()) for path in ROOT.glob("*/README.md"))
    facts = recorded.dead_filters()
    for value in (
        recorded.equal_trials("strategies/results", "cosine-max"),
        recorded.equal_trials("strategies/results", "sequential"),
        recorded.equal_trials("strategies/others", "cosine-mean"),
        facts["dead filters"],
        facts["... without dead filters"],
        facts["Spearman of drop and final score"],
        recorded.returned(),
        recorded.moved()["by network"],
    ):
        assert str(value) in text, value
