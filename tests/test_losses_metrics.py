"""Soft F1, the errors, edges within a tolerance and the quality index, against formulas written out by hand."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from shrinknet import metrics
from shrinknet.errors import DataError, OptionError
from shrinknet.losses import SoftF1, SoftF1Loss


def images(seed: int = 0, count: int = 4, size: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Outputs in [0, 1] and edge maps of zeros and ones, shape (count, size, size, 1)."""
    generator = np.random.default_rng(seed)
    shape = (count, size, size, 1)
    return generator.random(shape, np.float32), (generator.random(shape) < 0.2).astype(np.float32)


def soft_f1_by_hand(output: np.ndarray, truth: np.ndarray) -> float:
    scores = []
    for one, edges in zip(output, truth, strict=True):
        difference = sum(abs(float(a) - float(b)) for a, b in zip(one.flat, edges.flat, strict=True))
        hits = sum(float(a) * float(b) for a, b in zip(one.flat, edges.flat, strict=True))
        scores.append(2 * hits / (2 * hits + difference))
    return sum(scores) / len(scores)


def gradient(loss: SoftF1Loss, truth: np.ndarray, output: np.ndarray) -> np.ndarray:
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda values: loss(truth, values))(output))
    import tensorflow as tf

    values = tf.Variable(output)
    with tf.GradientTape() as tape:
        result = loss(truth, values)
    return np.asarray(tape.gradient(result, values))


class TestSoftF1:
    def test_loss_metric_and_numpy_equal_the_formula(self) -> None:
        output, truth = images()
        expected = soft_f1_by_hand(output, truth)
        metric = SoftF1()
        metric.update_state(truth, output)
        assert float(SoftF1Loss()(truth, output)) == pytest.approx(1 - expected, abs=1e-6)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
        assert metrics.soft_f1(output, truth) == pytest.approx(expected, abs=1e-12)

    def test_is_averaged_over_images_not_over_pixels(self) -> None:
        truth = np.zeros((2, 2, 2, 1), np.float32)
        truth[0, 0, 0], truth[1] = 1, 1
        output = np.zeros_like(truth)
        output[0, 0, 0] = 1  # image 0 is correct, image 1 misses everything
        assert metrics.soft_f1(output, truth) == pytest.approx(0.5)
        assert float(SoftF1Loss()(truth, output)) == pytest.approx(0.5)

    def test_two_blank_images_agree_and_their_gradient_is_zero(self) -> None:
        output, truth = images()
        output[1], truth[1] = 0, 0
        assert metrics.soft_f1(output[1:2], truth[1:2]) == 1
        assert float(SoftF1Loss()(truth[1:2], output[1:2])) == 0
        slope = gradient(SoftF1Loss(), truth, output)
        assert np.isfinite(slope).all()
        assert not slope[1].any()
        assert slope[0].any()

    def test_a_blank_truth_with_any_output_scores_zero(self) -> None:
        output, truth = np.full((1, 3, 3), 1e-3), np.zeros((1, 3, 3))
        assert metrics.soft_f1(output, truth) == 0
        assert np.isfinite(gradient(SoftF1Loss(), truth.astype("float32"), output.astype("float32"))).all()

    def test_an_output_below_zero_keeps_the_score_in_range(self) -> None:
        output, truth = np.array([[[-1.0, 0.0]]]), np.array([[[1.0, 0.0]]])  # E + 2 TP would be zero
        assert metrics.soft_f1(output, truth) == 0
        assert float(SoftF1Loss()(truth, output)) == 1

    def test_the_metric_streams_and_honours_sample_weight(self) -> None:
        output, truth = images()
        each = [metrics.soft_f1(one[..., 0], edges[..., 0]) for one, edges in zip(output, truth, strict=True)]
        metric = SoftF1()
        metric.update_state(truth[:3], output[:3], sample_weight=np.array([1.0, 0.0, 2.0], np.float32))
        metric.update_state(truth[3:], output[3:])
        assert float(metric.result()) == pytest.approx((each[0] + 2 * each[2] + each[3]) / 4, abs=1e-6)
        assert metric._direction == "up"
        assert metric.name == "soft_f1"

    def test_shapes_that_would_broadcast_are_refused(self) -> None:
        output, truth = images()
        with pytest.raises(DataError, match="the same shape"):
            SoftF1Loss()(truth[..., 0], output)
        with pytest.raises(DataError, match="the same shape"):
            SoftF1().update_state(truth[:1], output)
        with pytest.raises(DataError, match="the same shape"):
            metrics.soft_f1(output, truth[:1])

    def test_a_compiled_model_comes_back_with_both(self, tmp_path: Path) -> None:
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, padding="same")])
        model.compile("adam", SoftF1Loss(), metrics=[SoftF1()])
        output, truth = images(size=8)
        model.fit(output, truth, epochs=1, verbose=0)
        model.save(tmp_path / "model.keras")
        back = keras.saving.load_model(tmp_path / "model.keras")
        assert isinstance(back.loss, SoftF1Loss)
        again = back.evaluate(output, truth, verbose=0, return_dict=True)
        assert again == model.evaluate(output, truth, verbose=0, return_dict=True)
        assert again["soft_f1"] == pytest.approx(1 - again["loss"], abs=1e-6)

    def test_half_precision_outputs_do_not_overflow(self) -> None:
        output = ops.cast(np.ones((1, 300, 300, 1)), "float16")  # 90,000 is beyond float16
        assert float(SoftF1Loss()(np.ones((1, 300, 300, 1), "float32"), output)) == 0


class TestErrors:
    def test_equal_numpy(self) -> None:
        output, truth = images()
        assert metrics.mae(output, truth) == pytest.approx(float(np.mean(np.abs(output - truth))), rel=1e-6)
        assert metrics.mse(output, truth) == pytest.approx(float(np.mean((output - truth) ** 2)), rel=1e-6)

    @pytest.mark.parametrize("shape", [(3,), (2, 4, 4, 3), (0, 4, 4), (1, 2, 3, 4, 1)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DataError, match="received an array of shape"):
            metrics.mae(np.zeros(shape), np.zeros(shape))


def line(column: int, size: int = 40) -> np.ndarray:
    image = np.zeros((size, size))
    image[:, column] = 1
    return image


class TestPrecisionRecall:
    def test_counts_by_hand_without_tolerance(self) -> None:
        output, truth = np.zeros((4, 4)), np.zeros((4, 4))
        output[0, :3], truth[0, 1:] = 0.7, 1  # three found, three wanted, two of them the same
        score = metrics.precision_recall_f1(output, truth, threshold=0.5, tolerance=0, thin=False)
        assert score == pytest.approx((2 / 3, 2 / 3, 2 / 3))
        assert metrics.precision_recall_f1(output, truth, threshold=0.8, tolerance=0) == (0, 0, 0)

    def test_a_shift_within_the_tolerance_is_forgiven(self) -> None:
        diagonal = np.hypot(9, 9)  # a size for which 2 / diagonal * diagonal is just below 2
        output, truth = line(5, 9), line(3, 9)
        assert metrics.precision_recall_f1(output, truth, tolerance=2 / diagonal) == (1, 1, 1)
        assert metrics.precision_recall_f1(output, truth, tolerance=1.9 / diagonal) == (0, 0, 0)

    def test_pairs_are_one_to_one(self) -> None:
        diagonal = np.hypot(40, 40)
        output, truth = line(9) + line(11), line(10)
        score = metrics.precision_recall_f1(output, truth, tolerance=1 / diagonal)
        assert score == pytest.approx((0.5, 1, 2 / 3))
        assert metrics.precision_recall_f1(truth, output, tolerance=1 / diagonal) == pytest.approx((1, 0.5, 2 / 3))

    def test_the_pairing_is_the_greatest_possible(self) -> None:
        # a greedy matching that gives the middle target to the first output loses a pair
        output, truth = np.zeros((1, 9)), np.zeros((1, 9))
        output[0, [2, 4]], truth[0, [3, 1]] = 1, 1
        assert metrics.precision_recall_f1(output, truth, tolerance=1 / np.hypot(1, 9), thin=False) == (1, 1, 1)

    def test_thick_lines_are_thinned(self) -> None:
        thick, truth = line(9) + line(10) + line(11), line(10)
        tolerance = 1 / np.hypot(40, 40)
        assert metrics.precision_recall_f1(thick, truth, tolerance=tolerance).precision > 0.9
        assert metrics.precision_recall_f1(thick, truth, tolerance=tolerance, thin=False).precision < 0.4

    def test_without_edges(self) -> None:
        blank = np.zeros((8, 8))
        assert metrics.precision_recall_f1(blank, blank) == (1, 1, 1)
        assert metrics.precision_recall_f1(blank, line(3, 8)) == (0, 0, 0)
        assert metrics.precision_recall_f1(line(3, 8), blank) == (0, 0, 0)

    def test_counts_are_summed_over_images(self) -> None:
        output = np.stack([line(3, 8), np.zeros((8, 8))])
        truth = np.stack([line(3, 8), np.eye(8)])
        assert metrics.precision_recall_f1(output, truth, tolerance=0) == pytest.approx((1, 0.5, 2 / 3))

    def test_a_negative_tolerance_is_refused(self) -> None:
        with pytest.raises(OptionError, match="0 or more"):
            metrics.precision_recall_f1(np.zeros((4, 4)), np.zeros((4, 4)), tolerance=-1)


def quality_by_hand(first: np.ndarray, second: np.ndarray, window: int) -> float:
    scores = []
    for row in range(first.shape[0] - window + 1):
        for column in range(first.shape[1] - window + 1):
            x = first[row : row + window, column : column + window].ravel()
            y = second[row : row + window, column : column + window].ravel()
            covariance = np.sum((x - x.mean()) * (y - y.mean())) / (x.size - 1)
            top = 4 * covariance * x.mean() * y.mean()
            scores.append(top / ((x.var(ddof=1) + y.var(ddof=1)) * (x.mean() ** 2 + y.mean() ** 2)))
    return float(np.mean(scores))


class TestUniversalQualityIndex:
    @pytest.mark.parametrize("window", [2, 7, 8, 13])
    def test_equals_the_formula(self, window: int) -> None:
        first, second = np.random.default_rng(1).random((2, 20, 13))
        expected = quality_by_hand(first, second, window)
        assert metrics.universal_quality_index(first, second, window) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("window", [7, 9])
    def test_equals_structural_similarity_without_constants(self, window: int) -> None:
        from skimage.metrics import structural_similarity

        first, second = np.random.default_rng(2).random((2, 30, 25))
        expected = structural_similarity(first, second, win_size=window, data_range=1.0, K1=0, K2=0)
        assert metrics.universal_quality_index(first, second, window) == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("window", [7, 8])
    def test_flat_patches(self, window: int) -> None:
        flat, texture = np.full((12, 12), 0.1), np.random.default_rng(3).random((12, 12))
        index = metrics.universal_quality_index
        assert index(flat, flat, window) == 1
        assert index(0 * flat, 0 * flat, window) == 1
        assert index(flat, 3 * flat, window) == pytest.approx(0.6)  # 2 * 0.1 * 0.3 / (0.01 + 0.09)
        assert index(flat, 0 * flat, window) == 0
        assert index(flat, texture, window) == 0

    def test_faint_texture_on_a_bright_ground_is_not_lost(self) -> None:
        texture = np.random.default_rng(4).random((12, 12))
        plain = metrics.universal_quality_index(texture, texture.T, 8)
        faint = metrics.universal_quality_index(1 + 1e-7 * texture, 1 + 1e-7 * texture.T, 8)
        structure = quality_by_hand(1 + 1e-7 * texture, 1 + 1e-7 * texture.T, 8)
        assert faint == pytest.approx(structure, abs=1e-6)
        assert abs(plain) < 0.5

    def test_is_averaged_over_images(self) -> None:
        first, second = np.random.default_rng(5).random((2, 3, 10, 10))
        each = [metrics.universal_quality_index(a, b) for a, b in zip(first, second, strict=True)]
        assert metrics.universal_quality_index(first[..., None], second[..., None]) == pytest.approx(np.mean(each))

    def test_a_window_that_does_not_fit_is_refused(self) -> None:
        with pytest.raises(OptionError, match="does not fit the images"):
            metrics.universal_quality_index(np.zeros((6, 9)), np.zeros((6, 9)), 7)
