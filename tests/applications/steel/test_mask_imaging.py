"""What applications with masks share: overlays, scores, regions, test-time augmentation, Keras metrics and losses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.components import COLUMNS, components
from shrinknet.imaging.mask_scores import mask_scores, mean_and_spread
from shrinknet.imaging.overlays import as_rgb, on_black, overlay, stacked
from shrinknet.imaging.views import FLIPS, flipped_average

BATCHES = arrays.arrays(np.uint8, (2, 3, 4, 2), elements=st.integers(0, 1))


class TestScores:
    @given(BATCHES, BATCHES)
    def test_by_hand(self, output: np.ndarray, truth: np.ndarray) -> None:
        table = mask_scores(output, truth, names=["x", "y"], classes=["a", "b"])
        assert table[["image", "class"]].values.tolist() == [["x", "a"], ["x", "b"], ["y", "a"], ["y", "b"]]
        for place, row in table.iterrows():
            found, wanted = (array[place // 2, ..., place % 2].ravel().tolist() for array in (output, truth))
            pairs = list(zip(found, wanted, strict=True))
            tp, fp, fn, tn = (pairs.count(pair) for pair in ((1, 1), (1, 0), (0, 1), (0, 0)))
            assert row[["tp", "fp", "fn", "tn"]].tolist() == [tp, fp, fn, tn]
            assert row["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1)
            assert row["iou"] == pytest.approx(tp / (tp + fp + fn) if tp + fp + fn else 1)
            assert row["accuracy"] == pytest.approx((tp + tn) / 12)
            assert row["present"] == any(wanted)
            assert row["dice"] == pytest.approx(2 * row["iou"] / (1 + row["iou"]))

    def test_mean_and_spread(self) -> None:
        truth = np.zeros((2, 2, 2, 2), np.uint8)
        truth[0, 0, :, 0] = 1  # two pixels in one of four masks
        output = truth.copy()
        output[0, 0, 0, 0] = 0
        table = mean_and_spread(mask_scores(output, truth)).set_index("class")
        assert table["dice"].to_dict() == pytest.approx({"1": (2 / 3 + 1) / 2, "2": 1.0, "all": (2 / 3 + 3) / 4})
        assert table.at["1", "dice_std"] == pytest.approx(np.std([2 / 3, 1], ddof=1))
        assert table["present"].tolist() == [1, 0, 1]
        assert table.at["all", "dice_present"] == pytest.approx(2 / 3)
        assert np.isnan(table.at["2", "dice_present"])
        assert table.at["all", "dice_pooled"] == pytest.approx(2 / 3)
        assert table.at["all", "dice_marked"] == pytest.approx(2 / 3)
        output[1, 0, 0, 1] = 1  # a false alarm
        alarmed = mean_and_spread(mask_scores(output, truth)).set_index("class")
        assert alarmed.at["all", "dice_marked"] == pytest.approx(1 / 3)
        assert alarmed.at["all", "dice_present"] == pytest.approx(2 / 3)
        assert len(mean_and_spread(mask_scores(output, truth), by=None)) == 1
        assert np.isnan(alarmed.at["1", "dice_marked"]) == (alarmed.at["1", "present"] == 0)

    def test_bad_masks(self) -> None:
        blank = np.zeros((1, 2, 2, 1))
        with pytest.raises(DataError, match="of one shape"):
            mask_scores(blank, blank[0])
        with pytest.raises(DataError, match=r"predicted masks of 0 and 1; received values from 0\.0 to 0\.5"):
            mask_scores(np.array([[[[0.5], [0.0]]]]), np.zeros((1, 1, 2, 1)))


class TestComponents:
    def test_places_and_shapes(self) -> None:
        masks = np.zeros((10, 12, 2), np.uint8)
        masks[2:5, 3:8, 0] = 1
        masks[5, 8, 0] = 1  # touches at a corner
        masks[9, 0, 0] = 1
        masks[0:8, 11, 1] = 1
        table = components(masks, "x.jpg", [7, 9])
        assert list(table.columns) == list(COLUMNS)
        assert table[["image", "class", "component", "area"]].values.tolist() == [
            ["x.jpg", 7, 1, 16], ["x.jpg", 7, 2, 1], ["x.jpg", 9, 1, 8],
        ]  # fmt: skip
        assert table.loc[0, ["top", "left", "bottom", "right"]].tolist() == [2, 3, 6, 9]
        assert table.loc[2, ["row", "column"]].tolist() == [3.5, 11.0]
        assert table.at[2, "eccentricity"] == pytest.approx(1)
        assert table.at[2, "orientation"] == pytest.approx(0)
        assert table.at[0, "extent"] == pytest.approx(16 / 24)

    def test_small_regions_and_blank_masks(self) -> None:
        masks = np.zeros((4, 4, 1), np.uint8)
        empty = components(masks, "x")
        assert (len(empty), list(empty.columns)) == (0, list(COLUMNS))
        masks[0, 0] = masks[2:, 2:] = 1
        assert components(masks, least=2)["area"].tolist() == [4]
        assert components(masks, least=9).empty
        with pytest.raises(DataError, match="Expected masks of shape"):
            components(masks[..., 0])


class TestOverlays:
    def test_colours_inside_and_the_image_outside(self) -> None:
        image = np.full((20, 20), 100, np.uint8)
        masks = np.zeros((20, 20, 2), np.uint8)
        masks[5:15, 5:15, 1] = 1
        picture = overlay(image, masks, [(1, 2, 3), (255, 0, 50)], opacity=0.5, outline=1)
        assert picture[0, 0].tolist() == [100, 100, 100]
        assert picture[10, 10].tolist() == [178, 50, 75]
        assert picture[5, 10].tolist() == [255, 0, 50]
        assert image.min() == image.max() == 100
        assert (overlay(image, masks * 0, [(1, 2, 3)] * 2) == 100).all()

    def test_black_masks_and_their_order(self) -> None:
        masks = np.array([[[1, 0], [1, 1], [0, 0]]])
        assert on_black(masks, [(9, 8, 7), (1, 2, 3)]).tolist() == [[[9, 8, 7], [1, 2, 3], [0, 0, 0]]]

    def test_images_of_all_kinds(self) -> None:
        assert as_rgb(np.array([[0.0, 1.0, 2.0, np.nan]]))[0, :, 0].tolist() == [0, 255, 255, 0]
        assert as_rgb(np.zeros((2, 3, 1), np.float32)).shape == (2, 3, 3)
        assert stacked([np.zeros((2, 3, 3), np.uint8)] * 3, gap=1).shape == (8, 3, 3)
        with pytest.raises(DataError, match="Expected an image"):
            as_rgb(np.zeros((2, 3, 2)))
        with pytest.raises(DataError, match="one for each colour"):
            on_black(np.zeros((2, 3, 2)), [(1, 2, 3)])
        with pytest.raises(DataError, match="of the image's size"):
            overlay(np.zeros((2, 2)), np.zeros((2, 3, 1)), [(1, 2, 3)])


class TestTestTime:
    @pytest.mark.parametrize("flips", [tuple(FLIPS), ("horizontal",), ("none", "vertical")])
    def test_a_pixelwise_network_answers_the_same(self, flips: tuple[str, ...]) -> None:
        images = np.random.default_rng(0).random((2, 4, 6, 1), np.float32)
        assert np.allclose(flipped_average(lambda x: 2 * x, images, flips), 2 * images)

    def test_views_are_flipped_back_and_averaged(self) -> None:
        images = np.random.default_rng(0).random((1, 4, 6, 1), np.float32)
        slope = np.arange(6, dtype=np.float32)[None, None, :, None]
        answer = flipped_average(lambda x: x + slope, images, ("none", "horizontal"))
        assert np.allclose(answer, images + 2.5)

    def test_a_classifier_is_averaged_as_it_is(self) -> None:
        images = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
        assert flipped_average(lambda x: x[:, 0, :2, 0], images, ("none", "horizontal")).tolist() == [[1.5, 1.5]]

    @pytest.mark.parametrize("flips", [(), ("diagonal",)])
    def test_unknown_flips(self, flips: tuple[str, ...]) -> None:
        with pytest.raises(OptionError, match="Expected flips out of"):
            flipped_average(lambda x: x, np.zeros((1, 1, 1, 1)), flips)


class TestKeras:
    @settings(max_examples=8)
    @given(BATCHES, BATCHES)
    def test_metrics_are_those_of_numpy(self, output: np.ndarray, truth: np.ndarray) -> None:
        from shrinknet.imaging.mask_training import MaskDice, MaskIoU, PixelAccuracy

        expected = mask_scores(output, truth)
        probability, target = (0.2 + 0.6 * output).astype(np.float32), truth.astype(np.float32)
        for metric, name in ((MaskDice(), "dice"), (MaskIoU(), "iou"), (PixelAccuracy(), "accuracy")):
            for image in range(2):  # batch by batch
                metric.update_state(target[image : image + 1], probability[image : image + 1])
            assert float(metric.result()) == pytest.approx(expected[name].mean(), abs=1e-6)
        marked = mean_and_spread(expected)["dice_marked"].iloc[-1]
        if np.isfinite(marked):
            assert float(MaskDice(blank=False)(target, probability)) == pytest.approx(marked, abs=1e-6)

    def test_masks_that_are_blank_on_both_sides(self) -> None:
        from shrinknet.imaging.mask_training import MaskDice

        truth, output = np.zeros((2, 4, 1, 1, 2), np.float32)
        truth[0, 0, 0, 0] = output[0, 0, 0, 0] = output[1, 0, 0, 1] = 1  # one hit, one false alarm, six blank
        assert float(MaskDice()(truth, output)) == 7 / 8
        assert float(MaskDice(blank=False)(truth, output)) == 1 / 2

    def test_thresholds_weights_and_saving(self) -> None:
        import keras

        from shrinknet.imaging.mask_training import DiceLoss, MaskDice

        truth = np.array([[[[1.0]]], [[[1.0]]]], np.float32)
        output = np.array([[[[0.7]]], [[[0.2]]]], np.float32)
        assert float(MaskDice()(truth, output)) == 0.5
        assert float(MaskDice(threshold=0.8)(truth, output)) == 0.0
        assert float(MaskDice()(truth, output, sample_weight=np.array([3.0, 1.0]))) == 0.75
        again = keras.metrics.deserialize(keras.metrics.serialize(MaskDice("d", 0.8, False)))
        assert (again.name, again.threshold, again.blank) == ("d", 0.8, False)
        assert keras.losses.deserialize(keras.losses.serialize(DiceLoss(7.0))).alarm == 7.0

    def test_losses_by_hand(self) -> None:
        import keras

        from shrinknet.imaging.mask_training import CrossEntropyDiceLoss, DiceLoss, mask_loss

        random = np.random.default_rng(0)
        truth = (random.random((3, 4, 5, 2)) < 0.3).astype(np.float32)
        output = random.uniform(0.1, 0.9, truth.shape).astype(np.float32)
        truth[..., 1] = 0  # a class that the batch does not have
        truth[0] = 0  # outputs on a blank image are false alarms of the class that it has
        missed = 1 - (2 * (truth * output)[..., 0].sum() + 1) / (truth[..., 0].sum() + output[..., 0].sum() + 1)
        squares = (output**2).sum((1, 2))
        alarms = (squares / (squares + 5))[truth.sum((1, 2)) == 0]
        assert alarms.shape == (4,)
        entropy = -(truth * np.log(output) + (1 - truth) * np.log(1 - output)).mean()
        dice = missed + alarms.mean()
        assert float(DiceLoss(5.0)(truth, output)) == pytest.approx(dice, rel=1e-5)
        both_losses = CrossEntropyDiceLoss(5.0, 7.0)
        assert float(both_losses(truth, output)) == pytest.approx(dice + 7 * entropy, rel=1e-5)
        again = keras.losses.deserialize(keras.losses.serialize(both_losses))
        assert (again.alarm, again.entropy) == (5.0, 7.0)
        assert float(mask_loss("bce")(truth, output)) == pytest.approx(entropy, rel=1e-5)
        assert float(DiceLoss()(0 * truth, 0 * output)) == 0
        assert float(DiceLoss()(1 + 0 * truth, 1 + 0 * output)) == 0
        with pytest.raises(OptionError, match="no loss 'f1' for masks; expected one of bce, dice, both"):
            mask_loss("f1")

    def test_shapes_that_would_be_broadcast(self) -> None:
        from shrinknet.imaging.mask_training import DiceLoss, MaskDice, PixelAccuracy

        truth, output = np.zeros((1, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 1), np.float32)
        for compare in (MaskDice(), PixelAccuracy(), DiceLoss()):
            with pytest.raises(DataError, match="Masks are compared with masks"):
                compare(truth, output)
