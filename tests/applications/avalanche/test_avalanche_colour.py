"""Colour statistics, sun and shade, principal components, and pyramids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shrinknet.applications.avalanche.components import components_for, explained_variance
from shrinknet.applications.avalanche.light import light_classifier, light_scores, shown
from shrinknet.errors import DataError, MissingExtraError, OptionError
from shrinknet.imaging.colour_statistics import colour_summary, colour_table, histograms, peaks
from shrinknet.imaging.pyramids import BINOMIAL, enlarged, reduced, reduced_mask


class TestHistograms:
    def test_counts_by_hand(self) -> None:
        image = np.zeros((2, 5, 3), np.uint8)
        image[..., 0] = np.arange(10).reshape(2, 5)
        table = histograms(image)
        assert table["value"].tolist() == list(range(256))
        assert table["red"][:10].tolist() == [0.1] * 10
        assert table["blue"][0] == 1
        assert table["brightness"][:10].tolist() == [0.1] * 10  # the greatest channel
        assert table["saturation"][255] == pytest.approx(0.9)  # all but the black pixel
        assert table["hue"].sum() == pytest.approx(1)  # of the coloured ones

    def test_hue_goes_around_and_grey_has_none(self) -> None:
        grey = np.full((4, 4, 3), 90, np.uint8)
        assert histograms(grey)["hue"].sum() == 0
        assert colour_summary(grey)["hue_share"] == 0
        red = np.zeros((10, 10, 3), np.uint8)
        red[..., 0], red[:5, :, 1], red[5:, :, 2] = 200, 6, 6  # just beside of red on either side
        assert [place for place, _ in peaks(histograms(red)["hue"].to_numpy(), around=True)] == [0]

    def test_black_and_white_are_no_neighbours(self) -> None:
        image = np.zeros((4, 4, 3), np.uint8)
        image[:2] = 255
        assert colour_summary(image)["red_share"] == pytest.approx(0.5 / (3 * np.sqrt(2 * np.pi)), rel=0.01)

    def test_peaks(self) -> None:
        values = np.zeros(256)
        values[[0, 100, 104, 255]] = 0.3, 0.25, 0.25, 0.2
        found = peaks(values)
        assert [place for place, _ in found] == [102, 0, 255]
        assert peaks(np.zeros(256)) == []
        values[180] = 0.01
        assert len(peaks(values)) == 3
        assert len(peaks(values, least=0.001)) == 4

    def test_a_summary(self) -> None:
        random = np.random.default_rng(0)
        blue = np.clip(random.normal((100, 120, 150), 4, (50, 50, 3)), 0, 255).astype(np.uint8)
        table = colour_table([("blue", blue), ("white", np.full((8, 8, 3), 230, np.uint8))]).set_index("image")
        assert table.loc["blue", ["red_peak", "green_peak", "blue_peak"]].tolist() == pytest.approx(
            [100, 120, 150], abs=3
        )
        assert table.at["blue", "separation"] == pytest.approx(50, abs=4)
        assert table.at["blue", "overlap"] < 0.1
        assert table.at["white", "overlap"] == 1
        assert table.at["white", "mean_brightness"] == 230
        assert table.at["white", "mean_saturation"] == 0

    def test_other_arrays(self) -> None:
        with pytest.raises(DataError, match="uint8 and shape"):
            histograms(np.zeros((3, 3, 3), np.float32))


class TestLight:
    def test_sunny_and_shady_slopes_are_told_apart(self, slopes: Any) -> None:
        names = slopes.names
        images, lights = [slopes.image(name) for name in names], [slopes.light[name] for name in names]
        classifier = light_classifier(images[:7], lights[:7])
        table = light_scores(classifier, images[7:], lights[7:], names[7:])
        assert table["right"].all()
        assert classifier(images[0]) == lights[0]
        weights = classifier.weights()
        assert set(weights["feature"]) >= {"overlap", "separation"}
        assert weights["weight"].abs().is_monotonic_decreasing

    def test_the_images_that_are_shown(self, slopes: Any) -> None:
        chosen = shown(slopes, 2)
        assert {light: len(names) for light, names in chosen.items()} == {"sunny": 2, "shady": 2}
        assert all(slopes.light[name] == light for light, names in chosen.items() for name in names)

    def test_labels_of_one_kind(self, slopes: Any) -> None:
        with pytest.raises(DataError, match=r"images of both kinds, sunny and shady; received 1 images"):
            light_classifier([slopes.image(slopes.names[0])], ["sunny"])

    def test_without_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match="the extra avalanche: sklearn"):
            light_classifier([], [])
        with pytest.raises(MissingExtraError, match="the extra avalanche: sklearn"):
            explained_variance(np.zeros((3, 2, 2, 1)))


class TestComponents:
    def test_as_many_as_there_are_causes(self) -> None:
        random = np.random.default_rng(0)
        causes = random.normal(size=(200, 3)) * (5, 2, 1)
        flat = causes @ np.linalg.qr(random.normal(size=(12, 3)))[0].T
        windows = flat.reshape(200, 2, 2, 3) + 0.5
        curve = explained_variance(windows)
        assert len(curve) == 12
        expected = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
        assert np.allclose(curve["share"], expected / expected.sum())
        assert curve["cumulative"].iloc[-1] == pytest.approx(1)
        assert components_for(curve, 0.999) == 3
        assert components_for(curve, 0.5) == 1
        assert components_for(explained_variance(windows, 2), 1.0) is None

    def test_standardized(self) -> None:
        windows = np.random.default_rng(0).normal(size=(500, 1, 2, 1)) * np.array([100, 1])[None, None, :, None]
        assert explained_variance(windows)["share"].iloc[0] > 0.99
        assert explained_variance(windows, standardized=True)["share"].iloc[0] < 0.6

    def test_bad_arguments(self) -> None:
        with pytest.raises(DataError, match="at least two windows"):
            explained_variance(np.zeros((1, 2, 2, 1)))
        with pytest.raises(DataError, match="All windows are the same"):
            explained_variance(np.ones((5, 2, 2, 1)))
        with pytest.raises(OptionError, match="Expected 1 to 4 components"):
            explained_variance(np.zeros((5, 2, 2, 1)), 9)


class TestPyramids:
    def test_the_kernel(self) -> None:
        assert BINOMIAL.sum() == 1
        assert (256 * BINOMIAL[2]).tolist() == [6, 24, 36, 24, 6]

    @pytest.mark.parametrize("shape", [(8, 10), (9, 7), (6, 5, 3)])
    def test_smoothed_and_halved_by_hand(self, shape: tuple[int, ...]) -> None:
        image = np.random.default_rng(0).random(shape).astype(np.float32)
        padded = np.pad(image, [(2, 2), (2, 2), *[(0, 0)] * (len(shape) - 2)], mode="reflect")
        expected = np.array([[np.tensordot(BINOMIAL, padded[row : row + 5, column : column + 5], 2)
                              for column in range(0, shape[1], 2)] for row in range(0, shape[0], 2)])  # fmt: skip
        assert np.allclose(reduced(image), expected, atol=1e-6)
        assert np.allclose(reduced(image, 0), image)

    def test_bytes_stay_bytes_and_white_stays_white(self) -> None:
        white = np.full((9, 9, 1), 255, np.uint8)
        smaller = reduced(white, 2)
        assert (smaller.shape, smaller.dtype, smaller.min()) == ((3, 3, 1), np.uint8, 255)  # divided by 16: no longer

    def test_masks(self) -> None:
        mask = np.zeros((16, 16), np.uint8)
        mask[:, 8:] = 1
        assert np.array_equal(reduced_mask(mask)[0], [0, 0, 0, 0, 1, 1, 1, 1])

    @pytest.mark.parametrize(("shape", "levels"), [((16, 24), 1), ((17, 23), 1), ((32, 40), 2)])
    def test_back_to_the_size_at_the_same_place(self, shape: tuple[int, int], levels: int) -> None:
        rows, columns = np.indices(shape, np.float32)
        slope = 0.01 * rows + 0.02 * columns
        again = enlarged(reduced(slope, levels), shape)
        inner = slice(4 * levels, -4 * levels)
        assert again.shape == shape
        assert np.allclose(again[inner, inner], slope[inner, inner], atol=1e-3)

    def test_bad_levels(self) -> None:
        with pytest.raises(DataError, match="5 x 6 pixels cannot be halved 9 times"):
            reduced(np.zeros((5, 6), np.float32), 9)
        with pytest.raises(OptionError, match="levels of 0 or more"):
            reduced(np.zeros((5, 6), np.float32), -1)
