"""The experiments of the thesis: their units, their numbers, their figures, and that they resume."""

from __future__ import annotations

import pytest

from shrinknet.experiments.strategies import Strategies

TINY = {"repetitions": 2, "crop": 16, "train_crops": 6, "grid": 2, "warmup_steps": 40, "steps": 10, "bootstrap": 50}


class TestStrategies:
    @pytest.mark.parametrize(("name", "threshold"), [("random", 0.9), ("ablation", 0.95)])
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
        histories.minimize("sequential", 0.5, "last", 1)  # what another run leaves behind does not matter
        run = histories.minimize(name, threshold, "last", 1)
        train, validation, test = (table.parts[part].arrays for part in ("train", "validation", "test"))
        model = edge_network(16, learning_rate=settings.learning_rate, seed=table.seed)
        expected = minimize(
            model, train, validation, strategy=name, threshold=threshold, warmup_steps=40, steps=10, batch_size=3,
            test_data=test, control=True, seed=table.seed, verbose=0,
        )  # fmt: skip
        assert [trial["score"] for trial in run["trials"]] == [trial.score for trial in expected.records]
        assert [trial["filters"] for trial in run["trials"]] == list(expected.trials["filters"])
        assert [trial["accepted"] for trial in run["trials"]] == list(expected.trials["accepted"])
        assert run["trials"]
        assert run["baseline"] == expected.baseline
        assert run["score"] == expected.summary.after.validation_score
        assert run["test_score"] == pytest.approx(expected.summary.after.score, rel=1e-5)
        assert run["test_control"] == pytest.approx(expected.summary.control_score, rel=1e-5)
