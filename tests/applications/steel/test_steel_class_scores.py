"""Scores of classifiers: by hand, as the report averages them, and as Keras counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinknet.applications.steel import class_scores, published
from shrinknet.errors import DataError, OptionError


class TestClassScores:
    truth = np.array([1, 1, 0, 0, 1])
    probability = np.array([0.9, 0.2, 0.8, 0.1, 0.7])

    def test_of_the_whole_set(self) -> None:
        scores = class_scores.whole(self.truth, self.probability)
        assert scores == pytest.approx({"accuracy": 0.6, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})
        onehot = np.eye(4)[[0, 1, 2]]
        outputs = np.array([[0.9, 0.6, 0, 0], [0.4, 0.3, 0, 0], [0, 0, 0.2, 0]])
        several = class_scores.whole(onehot, outputs)
        assert several == pytest.approx({"accuracy": 2 / 3, "precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5})

    def test_the_reports_means_over_batches(self) -> None:
        scores = class_scores.batchwise(self.truth, self.probability, 2)
        assert scores == pytest.approx(
            {"precision": 2 / 3, "recall": (1 / 2 + 0 + 1) / 3, "f1": (2 / 3 + 0 + 1) / 3}, abs=1e-5
        )
        assert class_scores.batchwise(self.truth, self.probability, 5)["f1"] == pytest.approx(2 / 3, abs=1e-5)
        with pytest.raises(OptionError, match="at least 1 image"):
            class_scores.batchwise(self.truth, self.probability, 0)

    def test_the_printed_f1_is_not_that_of_the_printed_precision_and_recall(self) -> None:
        for scores in (published.BINARY["test"], published.MULTICLASS["test"]):
            together = 2 * scores.precision * scores.recall / (scores.precision + scores.recall)
            assert abs(together - scores.f1) > 1e-4

    @settings(max_examples=25)  # Keras takes a tenth of a second for each
    @given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=30), st.integers(1, 8))
    def test_keras_counts_the_same(self, pairs: list[tuple[int, float]], batch: int) -> None:
        from shrinknet.applications.steel.class_metrics import (
            BatchwiseF1,
            BatchwisePrecision,
            BatchwiseRecall,
            WholeF1,
        )

        truth = np.array([pair[0] for pair in pairs], np.float32)[:, None]
        output = np.array([pair[1] for pair in pairs], np.float32)[:, None]
        expected = class_scores.batchwise(truth, output, batch)
        metrics = {"f1": BatchwiseF1(), "precision": BatchwisePrecision(), "recall": BatchwiseRecall()}
        total = WholeF1()
        for start in range(0, len(truth), batch):
            for metric in (*metrics.values(), total):
                metric.update_state(truth[start : start + batch], output[start : start + batch])
        for name, metric in metrics.items():
            assert float(metric.result()) == pytest.approx(expected[name], abs=1e-5)
        assert float(total.result()) == pytest.approx(class_scores.whole(truth, output)["f1"], abs=1e-6)

    def test_classes_and_confusion(self) -> None:
        truth, predicted = [0, 0, 1, 3, 3], [0, 1, 1, 3, 0]
        table = class_scores.by_class(truth, predicted).set_index("class")
        assert table["f1"].to_dict() == pytest.approx(
            {"0": 0.5, "1": 2 / 3, "2": 0, "3": 2 / 3, "4": 0, "macro": (0.5 + 2 / 3 + 2 / 3) / 3}
        )
        counts = class_scores.confusion(truth, predicted).set_index("class")
        assert counts.to_numpy().sum() == 5
        assert counts.at["3", "0"] == 1

    def test_the_whole_system(self) -> None:
        scores = class_scores.system_scores([0, 0, 1, 2, 3], [0, 4, 1, 3, 0])
        assert scores["accuracy"] == pytest.approx(2 / 5)
        assert scores["detected"] == pytest.approx(2 / 3)
        assert scores["false_alarms"] == 0.5
        assert scores["named"] == 0.5
        assert np.isnan(class_scores.system_scores([1, 2], [0, 0])["named"])

    def test_shapes(self) -> None:
        with pytest.raises(DataError, match="of one shape"):
            class_scores.whole([1, 0], [[0.5], [0.5]])
        with pytest.raises(DataError, match="labels of one shape"):
            class_scores.by_class([1], [1, 2])
