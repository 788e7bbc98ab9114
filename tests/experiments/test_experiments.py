"""The experiments of the thesis: their units, their numbers, their figures and pages, and that they resume."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from avalanche_tables import avalanche_units
from click.testing import CliRunner
from marking import slow
from matplotlib.figure import Figure
from matplotlib.text import Text

from shrinknet.cli.experiment import NAMES, line
from shrinknet.cli.program import program
from shrinknet.errors import DataError, MissingExtraError, OptionError, RunError
from shrinknet.experiments import QUESTIONS, correlations, drop_gain, frame, probes, question, strategies, units
from shrinknet.experiments.avalanche import Avalanche, analysis
from shrinknet.experiments.avalanche.analysis import difference, gather
from shrinknet.experiments.avalanche.settings import NETWORKS
from shrinknet.experiments.correlations import Correlations
from shrinknet.experiments.frame import Findings, Frames, as_mapping
from shrinknet.experiments.probes import Probes
from shrinknet.experiments.settings import PRESETS, as_toml, load_settings
from shrinknet.experiments.statistics import COEFFICIENTS, Estimate, correlation, draws, estimate, mean, median
from shrinknet.experiments.strategies import Strategies
from shrinknet.experiments.thesis import COLUMNS, ROWS, table_4_1
from shrinknet.experiments.units import UnitStore, complete
from shrinknet.files.tables import csv_bytes

ROOT = Path(__file__).parents[2]
TINY = {"repetitions": 2, "crop": 16, "train_crops": 6, "grid": 2, "warmup_steps": 40, "steps": 10, "bootstrap": 50}
FILTERS = [f"conv{layer}[{index}]" for layer in (1, 2) for index in range(5)]
THESIS = {"correlations": Correlations, "drop-gain": Correlations, "strategies": Strategies, "probes": Probes}
# The steel experiments have their own data and settings: see tests/experiments/test_steel_experiments.py.
SETTINGS = {**THESIS, "avalanche": Avalanche}


def made_up(name: str, repetitions: int = 6, seed: int = 0) -> Frames:
    """Tables like those from units, without training."""
    generator = np.random.default_rng(seed)
    if name == "avalanche":
        return gather(avalanche_units(repetitions))
    if name in ("correlations", "drop-gain"):
        rows = [
            {
                "repetition": repetition,
                "filter": filter,
                **{column: generator.uniform(-1, 1) for column in COLUMNS},
                "start": generator.uniform(0.1, 0.5),
                "final": generator.uniform(0.4, 0.6),
                "best": generator.uniform(0.5, 0.6),
                **{f"reference_{moment}": 0.5 + repetition / 100 for moment in ("start", "final", "best")},
            }
            for repetition in range(repetitions)
            for filter in FILTERS
        ]
        return {"points": pd.DataFrame(rows)}
    if name == "strategies":
        rows = [
            {
                "repetition": repetition,
                "strategy": strategy,
                "threshold": threshold,
                **{
                    f"{part}{what}": generator.uniform(0.4, 0.6)
                    for part in ("", "test_")
                    for what in ("baseline", "score", "control")
                },
                "disabled": int(generator.integers(0, 9)),
                "tried": 10,
            }
            for repetition in range(repetitions)
            for strategy in ("cosine-max", "random", "sequential")
            for threshold in (0.85, 0.9, 0.95, 0.98, 1.0)
        ]
        return {"runs": pd.DataFrame(rows)}
    numbers = ("at once", "after", "without", "similarity at once", "similarity after", "nearest other", "others moved")
    rows = [
        {"repetition": repetition, "filter": filter, "way": way, "start": start,
         **{number: generator.uniform(0.2, 1) for number in numbers}, "before": 0.5, "reference": 0.6}
        for repetition in range(repetitions) for filter in FILTERS
        for way, start in (*probes.PROBES, probes.REFERENCE)
    ]  # fmt: skip
    return {"probes": pd.DataFrame(rows)}


def analysed(name: str, frames: Frames) -> Findings:
    return question(name).analyse(frames, SETTINGS[name](bootstrap=50))


BY_SCIPY = {"prs": scipy.stats.pearsonr, "knd": scipy.stats.kendalltau, "spr": scipy.stats.spearmanr}


class TestStatistics:
    x = np.array([0.1, 0.4, 0.4, 0.9, -0.3, 0.2, 0.5, 0.1])
    y = np.array([1.0, 3.0, 2.0, 3.0, 0.5, 1.5, -1.0, 1.0])

    @pytest.mark.parametrize("kind", COEFFICIENTS)
    def test_each_sample_is_what_scipy_computes_of_the_points_drawn(self, kind: str) -> None:
        weights = draws(np.repeat(np.arange(4), 2), 20, seed=1)
        found = correlation(kind, self.x, self.y, weights)
        for weight, value in zip(weights.astype(int), found, strict=True):
            x, y = np.repeat(self.x, weight), np.repeat(self.y, weight)
            if np.ptp(x) and np.ptp(y):
                assert value == pytest.approx(BY_SCIPY[kind](x, y).statistic, abs=1e-12)
            else:
                assert np.isnan(value)

    @pytest.mark.parametrize("kind", COEFFICIENTS)
    def test_a_constant_column_has_no_coefficient_and_holes_are_left_out(self, kind: str) -> None:
        weights = np.ones((1, 8))
        assert np.isnan(correlation(kind, np.full(8, 0.1), self.y, weights)).all()
        holed = np.where(np.arange(8) == 3, np.nan, self.x)
        expected = correlation(kind, np.delete(self.x, 3), np.delete(self.y, 3), weights[:, 1:])
        assert correlation(kind, holed, self.y, weights) == pytest.approx(expected)

    def test_repetitions_are_drawn_whole(self) -> None:
        weights = draws(np.array([7, 7, 3, 3, 3, 9]), 100, seed=0)
        assert (weights[0] == 1).all()
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 2:5] == weights[:, 2:3]).all()
        assert (weights[:, 0] + weights[:, 2] + weights[:, 5] == 3).all()
        assert len({tuple(row) for row in weights}) > 5
        assert np.array_equal(weights, draws(np.array([7, 7, 3, 3, 3, 9]), 100, seed=0))

    def test_mean_and_median_are_those_of_the_points_drawn(self) -> None:
        values = np.array([3.0, 1.0, np.nan, 2.0, 8.0])
        weights = np.array([[1, 1, 1, 1, 1], [2, 0, 5, 1, 1], [0, 0, 3, 0, 0], [0, 1, 0, 0, 1]], float)
        assert mean(values, weights) == pytest.approx([3.5, 4.0, np.nan, 4.5], nan_ok=True)
        assert median(values, weights) == pytest.approx([2.5, 3.0, np.nan, 4.5], nan_ok=True)

    def test_an_estimate_has_the_interval_of_the_samples(self) -> None:
        found = estimate(np.array([0.5, *np.linspace(0, 1, 1001)]))
        assert found == pytest.approx((0.5, 0.025, 0.975))
        assert str(found) == "0.50 [0.03, 0.97]"

    def test_one_repetition_tells_nothing_of_others(self) -> None:
        found = estimate(mean(self.x, draws(np.zeros(8), 50, seed=0)))
        assert found.value == pytest.approx(self.x.mean())
        assert np.isnan([found.low, found.high]).all()
        assert correlations.verdict(found, positive=True) == "undecided"


class TestSettings:
    def test_the_command_line_overrides_the_file_and_the_file_the_preset(self, tmp_path: Path) -> None:
        file = tmp_path / "config.toml"
        file.write_text('preset = "laptop"\nsteps = 700\nseed = 3\n')
        settings, preset = load_settings(Correlations, None, file, ["steps=900", "images=VOC2012", "shares=[1, 2, 3]"])
        assert preset == "laptop"
        assert (settings.steps, settings.seed, settings.warmup_steps) == (900, 3, 4000)
        assert settings.images == ("VOC2012",)
        assert settings.shares == (1.0, 2.0, 3.0)
        assert load_settings(Correlations, "smoke", file)[0].warmup_steps == 400
        assert load_settings(Correlations)[1] == "smoke"

    def test_they_are_recorded_as_the_difference_from_the_preset(self, tmp_path: Path) -> None:
        settings = Strategies.preset("laptop", steps=5, thresholds=(0.5,), images=("a b", 'c"d'), learning_rate=1e-5)
        text = as_toml(settings, "laptop")
        assert len(text.splitlines()) == 5
        (tmp_path / "config.toml").write_text(text)
        assert load_settings(Strategies, None, tmp_path / "config.toml") == (settings, "laptop")

    def test_unknown_names_and_wrong_values_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=r"no setting 'step' \(--set\); did you mean 'steps'"):
            load_settings(Correlations, sets=["step=3"])
        with pytest.raises(OptionError, match=r"no setting 'zzz'.*there are repetitions, seed"):
            load_settings(Correlations, sets=["zzz=3"])
        with pytest.raises(OptionError, match=r"Expected steps as int \(--set\); received 'many'"):
            load_settings(Correlations, sets=["steps=many"])
        with pytest.raises(OptionError, match=r"Expected steps as int.*received True"):
            load_settings(Correlations, sets=["steps=true"])
        with pytest.raises(OptionError, match="key=value"):
            load_settings(Correlations, sets=["steps"])
        with pytest.raises(OptionError, match="at least 1; received 0"):
            Correlations(every=0)
        with pytest.raises(OptionError, match="canny or sobel"):
            Correlations(edges="roberts")
        with pytest.raises(OptionError, match=r"thresholds in \(0, 1\]"):
            Strategies(thresholds=(1.5,))
        with pytest.raises(OptionError, match="no preset 'huge'"):
            Correlations.preset("huge")
        (tmp_path / "bad.toml").write_text("steps = = 3")
        with pytest.raises(OptionError, match=r"bad\.toml' are not valid TOML"):
            load_settings(Correlations, file=tmp_path / "bad.toml")

    def test_only_what_changes_a_training_changes_the_digest(self) -> None:
        base = Correlations()
        for change in ({"repetitions": 3}, {"bootstrap": 7}, {"points": "a.csv"}, {"cache": "x"}):
            assert base.changed(change, "").digest() == base.digest()
        for change in ({"seed": 1}, {"steps": 3}, {"every": 7}, {"learning_rate": 1e-4}, {"images": ["x"]}):
            assert base.changed(change, "").digest() != base.digest()

    @pytest.mark.parametrize("kind", list(dict.fromkeys(THESIS.values())))
    def test_the_laptop_preset_is_what_is_recorded_at_least(self, kind: Any) -> None:
        for preset in PRESETS:
            kind.preset(preset)
        laptop, paper = kind.preset("laptop"), kind.preset("paper")
        assert min(laptop.warmup_steps, laptop.steps) >= 1000
        assert laptop.repetitions >= {Correlations: 20, Strategies: 10, Probes: 1}[kind]
        assert paper.warmup_steps == 10_000
        assert (paper.crop, paper.batch, paper.widths, paper.kernel) == (256, 3, (5, 5, 1), 5)


class TestQuestions:
    def test_the_command_line_knows_all(self) -> None:
        assert tuple(QUESTIONS) == NAMES
        for name in QUESTIONS:
            assert question(name).name == name
        with pytest.raises(OptionError, match="no experiment 'x'; there are correlations"):
            question("x")

    def test_settings_of_another_experiment_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match="Expected Correlations for correlations"):
            frame.run(question("correlations"), Strategies(), tmp_path)


class TestUnits:
    def test_finished_repetitions_are_not_computed_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        computed, told = [], []

        def repetition(settings: Any, number: int) -> dict[str, Any]:
            computed.append(number)
            return {"value": number / 3, "none": float("nan")}

        monkeypatch.setattr(correlations, "repetition", repetition)
        monkeypatch.setattr(units, "use_one_thread", lambda: 1)
        settings = Correlations(repetitions=3)
        tell = lambda *what: told.append(what)  # noqa: E731
        first = complete("correlations", settings, tmp_path, tell=tell)
        assert computed == [0, 1, 2]
        assert [unit["value"] for unit in first] == [0, 1 / 3, 2 / 3]
        assert first[0]["none"] is None
        assert [what[:2] for what in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
        assert told[0][2] is None and told[3][2] == 0
        assert complete("correlations", settings, tmp_path) == first
        damaged = next(tmp_path.rglob("0001.json"))
        damaged.write_text(damaged.read_text().replace("0.3333", "0.4333"))
        assert complete("correlations", settings.changed({"repetitions": 5}, ""), tmp_path)[:3] == first
        assert computed == [0, 1, 2, 1, 3, 4]
        assert complete("correlations", settings.changed({"steps": 7}, ""), tmp_path)[0]["value"] == 0
        assert computed[6:] == [0, 1, 2]
        assert (tmp_path / "units" / ".gitignore").read_text() == "*\n"

    def test_invalid_files_are_not_units(self, tmp_path: Path) -> None:
        store = UnitStore(tmp_path, "correlations", Correlations())
        assert store.read(0) is None
        store.write(0, {"a": 1.5})
        assert store.read(0) == {"a": 1.5}
        for content in ("", "[]", '{"unit": {}}', "\x00"):
            (store.folder / "0000.json").write_text(content)
            assert store.read(0) is None

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["correlations", "strategies", "probes"])
    def test_a_repetition_does_not_depend_on_what_was_computed_before(self, name: str) -> None:
        module = {"correlations": correlations, "strategies": strategies, "probes": probes}[name]
        extra = {"strategies": {"strategies": ("random",), "thresholds": (0.9, 1.0)}}.get(name, {})
        settings = SETTINGS[name].preset("paper", **TINY, **extra)
        first = module.repetition(settings, 1)
        other = module.repetition(settings, 0)
        assert module.repetition(settings, 1) == first
        assert other != first

    @pytest.mark.slow
    def test_photographs_on_disk_give_the_bits_of_those_in_memory(self, tmp_path: Path) -> None:
        from shrinknet.experiments.bench import bench

        settings = Correlations.preset(
            "paper", **{**TINY, "train_crops": 5, "every": 4}
        )  # 35 crops: the last batch is smaller
        assert "train" in bench(settings).parts
        expected = correlations.repetition(settings, 0)
        streamed = settings.changed({"memory": 0, "cache": str(tmp_path)}, "")
        assert correlations.repetition(streamed, 0) == expected
        assert streamed.digest() == settings.digest()
        assert len(list(tmp_path.rglob("*.png"))) == 14
        run = strategies.repetition(Strategies.preset("paper", **TINY, memory=0, strategies=("ablation",)), 0)
        assert run == strategies.repetition(Strategies.preset("paper", **TINY, strategies=("ablation",)), 0)

    def test_a_cluster_that_does_not_respond_is_reported(self, tmp_path: Path) -> None:
        pytest.importorskip("distributed")
        with pytest.raises(RunError, match="No Dask scheduler responds at 'nowhere'"):
            complete("correlations", Correlations(), tmp_path, cluster="nowhere")

    def test_a_missing_package_is_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "joblib", None)
        with pytest.raises(MissingExtraError, match=r"extra experiments.*joblib is not.*pip install .*'joblib>="):
            complete("correlations", Correlations(), tmp_path, jobs=2)
        with pytest.raises(OptionError, match="jobs of at least 1"):
            complete("correlations", Correlations(), tmp_path, jobs=0)


class TestCorrelations:
    def test_the_thesis_table_ends_in_its_own_order(self) -> None:
        table = correlations.with_order(table_4_1()).set_index("coefficient")
        assert list(table.index) == [*ROWS, *(f"{place}. max" for place in range(1, 7))]
        assert list(table.columns) == list(COLUMNS)
        assert list(table["cos:min"])[6:] == [-0.04, -0.05, -0.06, -0.20, -0.27, -0.32]  # as printed in the thesis
        assert list(table["|cos|:median"])[6:] == [0.28, 0.22, 0.16, 0.03, 0.02, 0.02]

    def test_points_by_hand(self) -> None:
        scores = {"": [0.5, 0.6, 0.8], "conv1[0]": [0.25, 0.9, 0.4], "conv1[1]": [0.5, 0.6, 0.8]}
        unit = {"repetition": 4, "curves": scores, "cosines": {"conv1[0]": [0.5, -1.0, 0.2], "conv1[1]": []}}
        points = correlations.relative(correlations.gather([unit])["points"]).set_index("filter")
        row = points.loc["conv1[0]"]
        assert (row["loss"], row["loss_after"], row["best"]) == (0.5, 0.5, 1.125)
        assert (row["cos:min"], row["|cos|:min"], row["cos:max"], row["|cos|:max"]) == (-1.0, 0.2, 0.5, 1.0)
        assert row["cos:mean"] == pytest.approx(-0.1)
        assert row["|cos|:median"] == 0.5
        assert row["cos:std"] == pytest.approx(np.std([0.5, -1.0, 0.2]))
        assert points.loc["conv1[1]", list(COLUMNS)].isna().all()

    def test_the_table_has_the_coefficients_of_the_points(self) -> None:
        frames = made_up("correlations")
        findings = analysed("correlations", frames)
        table = as_mapping(findings.tables["table"])
        points = correlations.relative(frames["points"])
        assert list(table)[:6] == list(ROWS)
        for column in COLUMNS:
            for quantity in ("loss", "best"):
                for kind, function in BY_SCIPY.items():
                    expected = function(points[column], points[quantity]).statistic
                    assert table[f"{quantity}({kind})"][column] == pytest.approx(expected, abs=1e-9)
            six = sorted((table[row][column] for row in ROWS), reverse=True)
            assert [table[f"{place}. max"][column] for place in range(1, 7)] == six

    def test_both_signs_and_both_moments_are_reported(self) -> None:
        intervals = analysed("correlations", made_up("correlations")).tables["intervals"]
        rows = intervals.set_index(["quantity", "coefficient", "column"]).sort_index()
        for kind in COEFFICIENTS:
            for kept, lost in (("loss", "drop"), ("loss after training", "drop after training")):
                assert rows.loc[(kept, kind), "value"].to_numpy() == pytest.approx(-rows.loc[(lost, kind), "value"])
                assert rows.loc[(kept, kind), "low"].to_numpy() == pytest.approx(-rows.loc[(lost, kind), "high"])
        assert not np.allclose(rows.loc[("loss", "prs"), "value"], rows.loc[("loss after training", "prs"), "value"])

    def test_what_cannot_be_computed_is_null_and_reported(self) -> None:
        frames = made_up("correlations")
        frames["points"]["cos:std"] = 0.25
        frames["points"].loc[3, "start"] = np.nan
        findings = analysed("correlations", frames)
        table = as_mapping(findings.tables["table"])
        assert table["loss(prs)"]["cos:std"] is None
        assert table["6. max"]["cos:std"] is None
        assert table["loss(prs)"]["cos:max"] is not None
        notes = " ".join(findings.notes)
        assert "Could not be computed" in notes and "loss with cos:std" in notes
        assert "1 of 60 points" in notes
        page = correlations.page(Correlations(), frames, findings)
        assert "| - |" in page

    def test_verdicts_follow_the_intervals(self) -> None:
        assert correlations.verdict(Estimate(0.3, 0.1, 0.5), positive=True) == "holds"
        assert correlations.verdict(Estimate(0.3, 0.1, 0.5), positive=False) == "fails"
        assert correlations.verdict(Estimate(0.3, -0.1, 0.5), positive=True) == "undecided"
        frames = made_up("correlations")
        frames["points"]["start"] = 0.3 - 0.2 * frames["points"]["cos:min"]
        frames["points"]["best"] = 0.3 + 0.2 * frames["points"]["cos:max"]
        words = {claim.text: claim.verdict for claim in analysed("correlations", frames).claims}
        assert words["cos:min correlates negatively with loss"] == "holds"
        assert words["cos:min shows the greatest negative correlation to loss"] == "holds"
        assert words["cos:max correlates with best"] == "holds"
        assert words["cos:max goes with best more than any other column"] == "holds"
        assert words["the correlations are not very strong"] == "fails"

    @pytest.mark.slow
    def test_recorded_points_make_training_unnecessary(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(frame, "complete", lambda *a, **k: pytest.fail("it trains"))
        (tmp_path / "points.csv").write_bytes(csv_bytes(made_up("correlations")["points"]))
        settings = Correlations(points=str(tmp_path / "points.csv"), bootstrap=20)
        for name in ("correlations", "drop-gain"):
            result = frame.run(question(name), settings, tmp_path / name)
            assert result.repetitions == 6
            assert all(Path(path).is_file() for path in result.files)
        (tmp_path / "points.csv").write_text("repetition,filter\n0,a\n")
        with pytest.raises(DataError, match=r"has no rows, or lacks numbers in the columns .*cos:max"):
            correlations.recorded(settings)
        with pytest.raises(DataError, match="cannot be read"):
            correlations.recorded(Correlations(points=str(tmp_path / "none.csv")))


class TestDropGain:
    def test_the_best_filter_is_that_of_the_greatest_final_score(self) -> None:
        points = made_up("drop-gain")["points"]
        points.loc[points["repetition"] == 2, "final"] = 0.55  # a tie: the first in network order
        pairs = drop_gain.drops_and_gains(points)
        assert pairs["best filter"].sum() == 6
        chosen = pairs[pairs["best filter"]].set_index("repetition")["filter"]
        assert chosen[2] == "conv1[0]"
        for repetition, rows in points.groupby("repetition"):
            assert rows.set_index("filter")["final"].idxmax() == chosen[repetition]
        assert pairs["drop"].to_numpy() == pytest.approx(points["start"] / points["reference_start"])
        assert pairs["gain"].to_numpy() == pytest.approx(points["best"] / points["reference_best"])

    def test_panels_are_those_of_figure_4_1(self) -> None:
        pairs = drop_gain.drops_and_gains(made_up("drop-gain")["points"])
        panels = drop_gain.subsets(pairs)
        assert list(panels) == [
            (layer, which) for layer in ("all layers", "conv1", "conv2") for which in ("all filters", "best filter")
        ]
        assert [len(rows) for rows in panels.values()][::2] == [60, 30, 30]
        assert sum(len(panels[layer, "best filter"]) for layer in ("conv1", "conv2")) == 6

    def test_claims_can_hold_and_fail(self) -> None:
        frames = made_up("drop-gain")
        words = [claim.verdict for claim in analysed("drop-gain", frames).claims]
        assert words[0] == "holds"  # independent by construction
        frames["points"]["best"] = frames["points"]["start"] + 0.1
        claims = analysed("drop-gain", frames).claims
        assert [claim.verdict for claim in claims] == ["fails", "fails", "holds"]


class TestStrategies:
    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "threshold"), [("random", 1.0), ("sequential", 0.98)])
    def test_a_run_is_that_of_the_loop(self, name: str, threshold: float) -> None:
        from shrinknet.applications.edges.model import edge_network
        from shrinknet.experiments.bench import bench
        from shrinknet.experiments.histories import Histories
        from shrinknet.minimizer import minimize

        settings = Strategies.preset("paper", **TINY)
        table = bench(settings)
        table.begin(1)
        table.train(settings.warmup_steps, trial=0)
        histories = Histories(table, settings.steps)
        histories.minimize("sequential", 0.5, "last", 1)  # the state left by another run does not matter
        run = histories.minimize(name, threshold, "last", 1)
        train, validation, test = (table.parts[part].arrays for part in ("train", "validation", "test"))
        model = edge_network(16, learning_rate=settings.learning_rate, seed=table.seed)
        expected = minimize(
            model, train, validation, preset="thesis", strategy=name, threshold=threshold, warmup_steps=40, steps=10,
            batch_size=3, test_data=test, control=True, seed=table.seed, verbose=0,
        )  # fmt: skip
        assert [trial["score"] for trial in run["trials"]] == [trial.score for trial in expected.records]
        assert [trial["filters"] for trial in run["trials"]] == list(expected.trials["filters"])
        assert [trial["accepted"] for trial in run["trials"]] == list(expected.trials["accepted"])
        assert {trial["accepted"] for trial in run["trials"]} == {True, False}
        assert run["baseline"] == expected.baseline
        assert run["score"] == expected.summary.after.validation_score
        assert run["test_score"] == pytest.approx(expected.summary.after.score, rel=1e-5)
        assert run["test_control"] == pytest.approx(expected.summary.control_score, rel=1e-5)

    @pytest.mark.slow
    def test_runs_with_the_same_history_share_their_trials(self) -> None:
        settings = Strategies.preset("paper", **TINY, strategies=("sequential",), thresholds=(0.01, 0.02, 0.03))
        unit = strategies.repetition(settings, 0)
        first, *others = (run["trials"] for run in unit["runs"])
        assert len(first) == 8  # all but the last filter of each layer
        assert others == [first, first]
        assert unit["trained"] == 8 + 8  # once each, and the control

    def test_shares_are_of_the_score_after_the_warm_up(self) -> None:
        runs = strategies.measured(made_up("strategies")["runs"])
        assert runs["kept"].to_numpy() == pytest.approx(runs["score"] / runs["baseline"])
        assert runs["control, test"].to_numpy() == pytest.approx(runs["test_control"] / runs["test_baseline"])

    def test_the_table_has_a_row_for_each_cell(self) -> None:
        frames = made_up("strategies")
        table = as_mapping(analysed("strategies", frames).tables["table"])
        assert len(table) == 15
        cell = frames["runs"].query("strategy == 'random' and threshold == 0.98")
        assert table["random 0.98"]["filters disabled"] == pytest.approx(cell["disabled"].mean())
        assert table["random 0.98"]["control"] == pytest.approx((cell["control"] / cell["baseline"]).mean())
        assert table["random 0.98"]["runs"] == 6

    def test_random_is_compared_with_each_of_the_others(self) -> None:
        frames = made_up("strategies")
        runs = frames["runs"]
        runs.loc[runs["strategy"] == "random", "disabled"] = 9
        runs.loc[runs["strategy"] == "cosine-max", "score"] = 0.9 * runs["baseline"]
        runs.loc[runs["strategy"] == "random", "score"] = 0.8 * runs["baseline"]
        words = {claim.text: claim.verdict for claim in analysed("strategies", frames).claims}
        assert words["random disables more filters than cosine-max"] == "holds"
        assert words["random disables more filters than sequential"] == "holds"
        assert words["random keeps more of the score than cosine-max"] == "fails"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """The probes of one small network."""
    unit = probes.repetition(Probes.preset("paper", **TINY), 0)
    return probes.gather([{**unit, "repetition": 0}])["probes"].set_index(["way", "start", "filter"]).sort_index()


class TestProbes:
    @pytest.mark.slow
    def test_every_filter_is_probed_in_every_way(self, rows: pd.DataFrame) -> None:
        assert len(rows) == 10 * (5 + 1)

    def test_a_zeroed_filter_stays_zero(self, rows: pd.DataFrame) -> None:
        zeroed = rows.xs("zeroed", level="start")
        assert (zeroed["size after"] == 0).all()
        assert (zeroed["similarity after"] == 0).all()
        assert (zeroed["after"] == zeroed["without"]).all()

    def test_frozen_others_do_not_move_and_the_filter_does(self, rows: pd.DataFrame) -> None:
        assert (rows.loc["others frozen", "others moved"] == 0).all()
        assert (rows.loc["disabled", "others moved"] > 0).all()
        drawn = rows.loc[("others frozen", "reinitialized")]
        assert (drawn["similarity after"] != drawn["similarity at once"]).any()
        frozen = rows.loc[("disabled and frozen", "switched off")]
        assert (frozen["similarity after"] == 1).all()

    def test_zeroing_is_switching_off_at_once(self, rows: pd.DataFrame) -> None:
        zeroed, off = rows.loc[("disabled", "zeroed")], rows.loc[("disabled and frozen", "switched off")]
        assert zeroed["at once"].to_numpy() == pytest.approx(off["at once"].to_numpy(), abs=1e-6)
        assert zeroed["without"].to_numpy() == pytest.approx(off["without"].to_numpy(), abs=1e-4)

    def test_a_disabled_filter_cannot_relearn(self) -> None:
        table = as_mapping(analysed("probes", made_up("probes")).tables["table"])
        assert table["disabled and frozen: switched off"]["relearned"] is None
        assert table["disabled: reinitialized"]["relearned"] is not None

    def test_the_verdict_counts_filters_that_came_back(self) -> None:
        frames = made_up("probes")
        rows = frames["probes"]
        rows.loc[(rows["way"] == "disabled") & (rows["start"] == "reinitialized"), "similarity after"] = 0.95
        rows.loc[(rows["way"] == "others frozen") & (rows["start"] == "reinitialized"), "similarity after"] = 0.5
        words = {claim.text: claim.verdict for claim in analysed("probes", frames).claims}
        assert words["the filter relearned its past values (disabled, reinitialized)"] == "holds"
        assert words["the filter relearned its past values (others frozen, reinitialized)"] == "fails"


def texts(figure: Figure) -> list[Text]:
    """All drawn texts."""
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of overlapping texts, or a text paired with itself if it extends beyond the figure."""
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in _drawn(figure)}
    pairs = [
        (one.get_text(), other.get_text())
        for one, other in combinations(boxes, 2)
        if one.get_rotation() % 90 == other.get_rotation() % 90 == 0 and boxes[one].overlaps(boxes[other])
    ]
    outside = [
        (text.get_text(), "outside")
        for text, box in boxes.items()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1
    ]
    return pairs + outside


def _drawn(figure: Figure) -> Iterator[Text]:
    """Without ticks beyond the ends of their axis, which matplotlib creates but does not draw."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {tick.label1, tick.label2}
    yield from (text for text in texts(figure) if text not in hidden)


@pytest.fixture(scope="module", params=tuple(SETTINGS))
def figures(request: pytest.FixtureRequest) -> dict[str, Figure]:
    """All figures of an experiment."""
    frames = made_up(request.param)
    return dict(question(request.param).draw(frames, analysed(request.param, frames)))


class TestFigures:
    def test_text_is_large_enough(self, figures: dict[str, Figure]) -> None:
        for name, figure in figures.items():
            assert min(text.get_fontsize() for text in texts(figure)) >= 8, name
            assert figure.get_size_inches()[0] <= 8  # wider figures are scaled down on a page, and their text too

    def test_texts_do_not_overlap(self, figures: dict[str, Figure]) -> None:
        for name, figure in figures.items():
            assert len(texts(figure)) > 5
            assert not overlaps(figure), name

    def test_overlaps_are_found(self) -> None:
        figure = Figure()
        figure.text(0.5, 0.5, "one")
        figure.text(0.51, 0.5, "two")
        figure.text(0.99, 0.1, "leaves the figure")
        assert overlaps(figure) == [("one", "two"), ("leaves the figure", "outside")]

    def test_labels_have_units(self, figures: dict[str, Figure]) -> None:
        for name, figure in figures.items():
            labels = [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()) if label]
            assert labels or not any(axes.axison for axes in figure.axes), name  # pictures have no axes
            for label in labels:
                assert re.search(r"\((%|number|no unit)", label), f"{name}: {label}"

    def test_the_same_drawing_gives_the_same_bytes(self) -> None:
        from shrinknet.experiments.figures import encoded

        frames = made_up("probes")
        first, again = (encoded(question("probes").draw(frames, analysed("probes", frames))["scores"]) for _ in "12")
        assert first == again
        assert first["png"].startswith(b"\x89PNG")
        assert b"<svg" in first["svg"]


class TestResult:
    @pytest.mark.parametrize(
        "name", [slow(name) if name in ("avalanche", "correlations") else name for name in SETTINGS]
    )
    def test_everything_is_written_and_can_be_read(self, name: str, tmp_path: Path) -> None:
        asked, frames = question(name), made_up(name)
        settings = SETTINGS[name](bootstrap=50)
        findings = asked.analyse(frames, settings)
        facts = frame.about(settings, "paper")
        paths = frame.write(asked, settings, "paper", frames, findings, facts, tmp_path)
        names = {path.name for path in paths}
        assert {"config.toml", "about.json", "table.csv", "table.parquet", f"{name}.md"} <= names
        assert len([name for name in names if name.endswith(".svg")]) == len(asked.draw(frames, findings))
        table = pd.read_csv(tmp_path / "table.csv", engine="python")
        pd.testing.assert_frame_equal(table, findings.tables["table"], check_dtype=False)
        stored = pd.read_parquet(tmp_path / "table.parquet")
        pd.testing.assert_frame_equal(stored, findings.tables["table"], check_dtype=False)
        page = (tmp_path / f"{name}.md").read_text()
        for link in re.findall(r"\]\(([^)]+)\)", page):
            assert (tmp_path / link).is_file()
        for claim in findings.claims:
            assert claim.text.replace("|", "\\|") in page
            assert claim.verdict in ("holds", "fails", "undecided")
        assert "nan" not in page.replace("nanm", "")

    def test_facts_record_the_origin_of_a_result(self, tmp_path: Path) -> None:
        import pyarrow.parquet

        facts = frame.about(Correlations(seed=5), "laptop")
        assert facts["seed"] == 5
        assert {"commit", "tensorflow", "keras", "numpy", "python", "machine", "processor"} <= set(facts)
        assert re.fullmatch(r"([0-9a-f]{40}\+?)?", facts["commit"])
        (tmp_path / "table.parquet").write_bytes(frame._parquet(pd.DataFrame({"a": [1.0]}), {**facts, "hours": 3}))
        recorded = json.loads(pyarrow.parquet.read_schema(tmp_path / "table.parquet").metadata[b"shrinknet"])
        assert recorded == facts

    def test_prints_table_verdicts_and_page(self, tmp_path: Path) -> None:
        findings = analysed("correlations", made_up("correlations"))
        result = frame.Recorded(
            "correlations", as_mapping(findings.tables["table"]), 6, ("out/correlations.md",), findings
        )
        text = str(result)
        assert "loss(prs)" in text and "6. max" in text and "|cos|:median" in text
        assert "cos:max correlates with best" in text
        assert text.endswith("out/correlations.md")
        record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert set(record) >= {"table", "repetitions", "files"}


RECORDED = sorted(path.parent for path in ROOT.glob("experiments/*/results/about.json"))


@pytest.mark.parametrize(
    "folder",
    [
        (slow if folder.parent.name == "correlations" else pytest.param)(folder, id=folder.parent.name)
        for folder in RECORDED
    ],
)
class TestRecorded:
    """The results under experiments/, rebuilt from their tables."""

    def test_tables_and_page_follow_from_the_recorded_points(self, folder: Path) -> None:
        asked = question(folder.parent.name)
        settings, preset = load_settings(asked.settings, None, folder / "config.toml")
        assert preset == "laptop"
        frames = {path.stem: pd.read_csv(path, engine="python") for path in folder.glob("*.csv")}
        findings = asked.analyse(frames, settings)
        for name, table in findings.tables.items():
            recorded = frames[name]
            assert list(recorded.columns) == [str(column) for column in table.columns]
            for column in recorded.columns:
                if pd.api.types.is_float_dtype(recorded[column]):
                    assert recorded[column].to_numpy() == pytest.approx(
                        table[column].to_numpy(float), abs=1e-7, nan_ok=True
                    )
                else:
                    assert recorded[column].astype(str).tolist() == table[column].astype(str).tolist()
        assert (folder / f"{asked.name}.md").read_text() == asked.page(settings, frames, findings)

    def test_records_its_origin(self, folder: Path) -> None:
        facts = json.loads((folder / "about.json").read_text())
        assert re.fullmatch(r"[0-9a-f]{40}", facts["commit"])  # a commit without uncommitted changes
        assert facts["tensorflow"] and facts["processor"]

    def test_is_as_large_as_it_should_be(self, folder: Path) -> None:
        settings, _ = load_settings(question(folder.parent.name).settings, None, folder / "config.toml")
        if folder.parent.name in ("avalanche", "steel"):
            assert settings.repetitions >= 3
            return
        assert min(settings.warmup_steps, settings.steps) >= 1000
        if folder.parent.name == "strategies":
            assert (pd.read_csv(folder / "table.csv")["runs"] >= 10).all()
            assert len(pd.read_csv(folder / "table.csv")) >= 15
        elif folder.parent.name in ("correlations", "drop-gain"):
            points = pd.read_csv(folder / "points.csv")
            assert points["repetition"].nunique() >= 20
            assert points["reference_start"].mean() >= 0.3

    def test_files_are_small_and_the_readme_has_the_command(self, folder: Path) -> None:
        assert all(path.stat().st_size < 1_000_000 for path in folder.iterdir() if path.is_file())
        name = folder.parent.name
        text = (folder.parent / "README.md").read_text()
        assert f"shrinknet experiment {name} --config experiments/{name}/config.toml" in text
        for verdict in set(re.findall(r"\| \*\*(\w+)\*\* \|", (folder / f"{name}.md").read_text())):
            assert f"**{verdict}**" in text


class TestCommand:
    def test_progress_is_a_line_with_the_time_left(self) -> None:
        assert line("probes", 0, 4, None) == f"probes  [{'-' * 24}]  0/4 repetitions"
        assert line("probes", 2, 4, 30.2).endswith("2/4 repetitions  about 30 s left")
        assert line("probes", 2, 4, 7200.0).endswith("about 2.0 h left")

    def test_errors_are_sentences(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(program, ["experiment", "correlations", "--set", "step=3"])
        assert result.exit_code == 2
        assert "did you mean 'steps'" in result.stderr
        assert CliRunner().invoke(program, ["experiment", "nothing"]).exit_code == 2

    def test_help_loads_nothing_heavy(self) -> None:
        command = [sys.executable, "-X", "importtime", "-m", "shrinknet", "experiment", "-h"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        modules = {entry.rsplit("|", 1)[1].strip().split(".")[0] for entry in run.stderr.splitlines() if "|" in entry}
        assert "shrinknet" in modules
        assert not modules & {"numpy", "pandas", "keras", "tensorflow", "seaborn", "matplotlib", "joblib"}


SMALL = ["--set", "repetitions=4", "--set", "steps=20", "--set", "every=10", "--set", "warmup_steps=60",
         "--set", "crop=16", "--set", "bootstrap=20"]  # fmt: skip


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "shrinknet", "experiment", "correlations", *SMALL, "--out", str(out), *options]


def tables(out: Path) -> dict[str, bytes]:
    """Every table of a result, as bytes."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".csv", ".parquet", ".md")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a run without interruption, in one process."""
    out = tmp_path_factory.mktemp("one")
    run = subprocess.run(command(out, "--json"), capture_output=True, text=True, check=True)
    record = json.loads(run.stdout)
    assert record["repetitions"] == 4
    assert all(Path(path).is_file() for path in record["files"])
    assert "4/4 repetitions" in run.stderr
    return tables(out)


@pytest.mark.slow
class TestSameBytes:
    def test_with_two_jobs(self, expected: dict[str, bytes], tmp_path: Path) -> None:
        subprocess.run(command(tmp_path, "--jobs", "2"), capture_output=True, check=True)
        assert tables(tmp_path) == expected

    def test_after_a_kill(self, expected: dict[str, bytes], tmp_path: Path) -> None:
        process = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finished = _wait_for(lambda: list(tmp_path.rglob("0001.json")), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert finished
        assert not (tmp_path / "table.csv").exists()
        before = {path: path.stat().st_mtime_ns for path in finished}
        subprocess.run(command(tmp_path), capture_output=True, check=True)
        assert tables(tmp_path) == expected
        assert {path: path.stat().st_mtime_ns for path in before} == before  # not computed again

    def test_in_a_cluster_that_loses_a_worker(self, expected: dict[str, bytes], tmp_path: Path) -> None:
        pytest.importorskip("distributed")
        dask = [sys.executable, "-m", "dask"]
        info = tmp_path / "scheduler.json"
        options = ["--scheduler-file", str(info), "--no-dashboard"]
        started = [subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *options])]
        try:
            assert _wait_for(info.exists, started[0])
            worker = [*dask, "worker", *options, "--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]
            started += [subprocess.Popen(worker) for _ in range(2)]
            address = json.loads(info.read_text())["address"]
            out = tmp_path / "out"
            process = subprocess.Popen(command(out, "--cluster", address))
            started.append(process)
            assert _wait_for(lambda: list(out.rglob("000?.json")), process)
            started[1].send_signal(signal.SIGKILL)
            assert process.wait(timeout=300) == 0
            assert started[1].wait() == -signal.SIGKILL
        finally:
            for one in reversed(started):
                one.kill()
                one.wait()
        assert tables(out) == expected


def _wait_for(condition: Any, process: subprocess.Popen[bytes], seconds: float = 300) -> Any:
    """The value of the condition as soon as it is true; fails if the process ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        assert process.poll() is None
        time.sleep(0.05)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", tuple(SETTINGS))
def test_the_smoke_preset_prints_a_table(name: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "shrinknet", "experiment", name, "--preset", "smoke", "--json"]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ})
    record = json.loads(run.stdout)
    assert record["repetitions"] >= (1 if name == "avalanche" else 2)
    assert all((tmp_path / path).is_file() for path in record["files"])
    assert all(isinstance(row, dict) for row in record["table"].values())
    if name == "correlations":
        assert list(record["table"]) == [*ROWS, *(f"{place}. max" for place in range(1, 7))]
        assert all(list(row) == list(COLUMNS) for row in record["table"].values())


@pytest.mark.parametrize("kind", sorted(set(SETTINGS.values()), key=str))
def test_the_docs_name_every_setting(kind: Any) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    for name in (field.name for field in dataclasses.fields(kind)):
        assert f"`{name}`" in text, name


def test_the_settings_for_voc_fit_every_experiment() -> None:
    for kind in THESIS.values():
        for preset in PRESETS:
            assert load_settings(kind, preset, ROOT / "experiments" / "voc2012.toml")[0].train_crops == 1


class TestAvalanche:
    def test_every_network_of_a_repetition_is_a_unit_and_so_are_its_colours(self) -> None:
        settings = Avalanche.preset("smoke", repetitions=2)
        assert settings.units == 2 * (len(NETWORKS) + 1)
        assert Correlations(repetitions=3).units == 3

    def test_a_difference_is_paired_and_a_claim_needs_its_interval(self) -> None:
        rows = [{"repetition": repetition, "network": network, "image": image, "iou": base + gain * (network == "b")}
                for repetition, gain in enumerate((0.1, 0.2, 0.3)) for image, base in (("x", 0.1), ("y", 0.6))
                for network in ("a", "b")]  # fmt: skip
        one, other = {"network": "b"}, {"network": "a"}
        found = difference(pd.DataFrame(rows), "iou", one, other, Avalanche(bootstrap=200))
        assert found.value == pytest.approx(0.2) and 0.1 <= found.low < found.high <= 0.3 + 1e-9
        assert analysis.verdict(found) == "holds"
        assert analysis.verdict(difference(pd.DataFrame(rows), "iou", other, one, Avalanche(bootstrap=200))) == "fails"
        single = difference(pd.DataFrame(rows[:4]), "iou", one, other, Avalanche(bootstrap=200))
        assert analysis.verdict(single) == "undecided"

    def test_half_of_the_cost_at_almost_all_of_the_score(self) -> None:
        units = avalanche_units(3)
        for unit in units:
            for run in unit["shrinking"]:
                left, kept = (40, 0.99) if run["strategy"] == "random" else (60, 1.2)
                run |= {"multiply-adds before": 100, "multiply-adds after": left, "IoU control": 0.5,
                        "IoU after": 0.5 * kept}  # fmt: skip
        claims = analysed("avalanche", gather(units)).claims
        halved = [claim for claim in claims if "half of its multiply-adds" in claim.text]
        words = {claim.text.split(", ")[-2]: claim.verdict for claim in halved}
        assert words == {"default choice": "fails", "random choice": "holds"}

    def test_one_repetition_has_no_intervals(self) -> None:
        frames = gather(avalanche_units(1))
        findings = analysed("avalanche", frames)
        assert "nan" not in question("avalanche").page(Avalanche(), frames, findings)

    def test_without_known_light_there_is_no_figure_10(self) -> None:
        units = avalanche_units(1)
        units[0] |= {"lights": [], "histograms": [], "light": []}
        frames = gather(units)
        findings = analysed("avalanche", frames)
        assert "figure-10" not in question("avalanche").draw(frames, findings)
        assert "light.csv" in question("avalanche").page(Avalanche(data="mine"), frames, findings)
