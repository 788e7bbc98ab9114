"""The networks of the steel application: they can be cut, they repeat with their seed, and their scores are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinknet.applications.steel import class_scores, generate, master_table, published, read
from shrinknet.applications.steel.sampling import balanced_sample, split_plates
from shrinknet.errors import DataError, OptionError

SHAPE = (64, 128)
SMALL: dict[str, Any] = {"width": 4, "depth": 2}


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from shrinknet.applications.steel.generation import Mixture

    folder = tmp_path_factory.mktemp("steel") / "plates"
    shares = {number: 0.25 for number in (1, 2, 3, 4)}
    return read(generate(folder, 40, 0, shape=SHAPE, mixture=Mixture(0.6, shares, 0.0)), SHAPE)


def shaken(model: Any) -> Any:
    """The model with every weight moved, so that no bias and no statistic is what it starts as."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        change = np.abs(random.normal(0, 0.1, weight.shape))
        weight.assign(weight.numpy() + change.astype(np.float32))
    return model


class TestUnet:
    @pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
    @pytest.mark.parametrize("normalization", ["batch", "group", "none"])
    def test_half_of_its_filters_can_be_cut(self, upsampling: str, normalization: str) -> None:
        from shrinknet import Switches, plan, slim, switched
        from shrinknet.applications.steel import unet

        options = {"upsampling": upsampling, "normalization": normalization, "dropout": 0.2}
        model = shaken(unet((16, 32, 1), **SMALL, **options, seed=1))
        net = switched(model)
        switches = Switches(net)
        assert list(switches.unswitchable) == ["masks"]
        layers: dict[str, list[Any]] = {}
        for one in switches.filters:
            layers.setdefault(one.layer, []).append(one)
        assert {"down1_conv1", "down2_conv2", "bottom_conv1", "up2_up", "up1_conv2"} <= set(layers)
        switches.disable(*(one for filters in layers.values() for one in filters[: len(filters) // 2]))
        assert "down1_conv1" in str(plan(net))
        small = slim(net)
        images = np.random.default_rng(0).random((2, 16, 32, 1), np.float32)
        assert np.allclose(small(images), net(images), atol=1e-5)
        assert small.count_params() < 0.4 * model.count_params()
        joins = [layer for layer in small.layers if "join" in layer.name]
        assert len(joins) == 2  # the skip connections are still there

    def test_a_seed_repeats_and_another_does_not(self) -> None:
        from shrinknet.applications.steel import unet

        images = np.random.default_rng(0).random((1, 16, 32, 1), np.float32)
        first, again, other = (np.asarray(unet((16, 32, 1), **SMALL, seed=seed)(images)) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.allclose(first, other)
        assert first.shape == (1, 16, 32, 4)
        assert 0 < first.min() < first.max() < 1

    @pytest.mark.parametrize("loss", ["bce", "dice", "both"])
    def test_it_trains_on_any_size(self, loss: str) -> None:
        from shrinknet.applications.steel import unet

        model = unet((None, None, 1), width=2, depth=1, loss=loss, learning_rate=1e-2, seed=0)
        images = np.random.default_rng(0).random((4, 16, 32, 1), np.float32)
        masks = np.repeat(images > 0.5, 4, -1).astype(np.float32)
        losses = model.fit(images, masks, batch_size=2, epochs=6, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        assert model.predict(images[:, :8, :8], verbose=0).shape == (4, 8, 8, 4)
        assert {"dice", "dice_marked", "iou", "pixel_accuracy"} <= set(model.get_metrics_result())

    @pytest.mark.parametrize(
        ("shape", "options", "sentence"),
        [
            ((18, 32, 1), {}, "multiples of 4; received 18 x 32"),
            ((16, 32), {}, "expects a shape"),
            ((16, 32, 1), {"width": 0}, "expects a shape"),
            ((16, 32, 1), {"dropout": 1.0}, "dropout in"),
            ((16, 32, 1), {"upsampling": "bilinear"}, "Expected one of transposed, nearest; received 'bilinear'"),
            ((16, 32, 1), {"normalization": "layer"}, "Expected one of batch, group, none"),
            ((16, 32, 1), {"loss": "focal"}, "no loss 'focal'"),
        ],
    )
    def test_options(self, shape: Any, options: dict[str, Any], sentence: str) -> None:
        from shrinknet.applications.steel import unet

        with pytest.raises(OptionError, match=sentence):
            unet(shape, **{**SMALL, **options})


class TestTwoSteps:
    @pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
    def test_both_models_can_be_cut(self, activation: str) -> None:
        from shrinknet import Switches, slim, switched
        from shrinknet.applications.steel import two_step_classifier

        steps = two_step_classifier((16, 32, 3), widths=(4, 6), activation=activation, seed=0)
        images = np.random.default_rng(0).random((3, 16, 32, 3), np.float32)
        sums = np.asarray(steps.multiclass(images)).sum(1)
        for model, outputs in ((steps.binary, 1), (steps.multiclass, 4)):
            net = switched(shaken(model))
            switches = Switches(net)
            switches.disable(*(one for one in switches.filters if one.index % 2))
            assert np.allclose(slim(net)(images), net(images), atol=1e-5)
            assert model.output_shape == (None, outputs)
        assert np.allclose(sums, 1, atol=1e-5) == (activation == "softmax")

    def test_the_second_step_names_what_the_first_finds(self) -> None:
        from shrinknet.applications.steel.classifier import TwoSteps

        class Model:
            def __init__(self, answers: Any) -> None:
                self.answers, self.seen = answers, 0

            def predict_on_batch(self, images: np.ndarray) -> Any:
                self.seen += len(images)
                return self.answers(images)

        binary = Model(lambda images: images[:, 0, 0, :1])
        multiclass = Model(lambda images: np.eye(4)[(10 * images[:, 0, 0, 0]).astype(int) % 4])
        images = np.array([0.2, 0.7, 0.95, 0.4]).reshape(4, 1, 1, 1)
        assert TwoSteps(binary, multiclass).classify(images).tolist() == [0, 4, 2, 0]
        assert (binary.seen, multiclass.seen) == (4, 4)
        assert TwoSteps(binary, multiclass).classify(images * 0.1).tolist() == [0, 0, 0, 0]
        assert (binary.seen, multiclass.seen) == (8, 4)  # nothing was found

    @pytest.mark.tensorflow("it is TensorFlow's backend that looks for what went into a sigmoid")
    def test_four_sigmoids_train_as_a_softmax_does(self) -> None:
        from shrinknet.applications.steel import two_step_classifier

        images = np.random.default_rng(0).random((8, 16, 32, 3), np.float32)
        labels = np.eye(4, dtype=np.float32)[np.arange(8) % 4]
        trained = []
        for activation in ("sigmoid", "softmax"):
            model = two_step_classifier((16, 32, 3), widths=(4,), activation=activation, seed=0).multiclass
            model.fit(images, labels, epochs=2, shuffle=False, verbose=0)
            trained.append(model.get_weights())
        assert all(np.array_equal(one, other) for one, other in zip(*trained, strict=True))

    def test_outputs_begin_undecided(self) -> None:
        from shrinknet.applications.steel import two_step_classifier

        steps = two_step_classifier((16, 32, 3), seed=0, widths=(8, 16))
        images = np.random.default_rng(0).random((3, 16, 32, 3), np.float32)
        for model in (steps.binary, steps.multiclass):
            assert np.abs(np.asarray(model(images)) - 0.5).max() < 0.05

    def test_training_repeats_and_its_history_is_json(self, plates: Any) -> None:
        import json

        from shrinknet.applications.steel import two_step_classifier
        from shrinknet.applications.steel.classifier import fit_classifier, step_batches
        from shrinknet.applications.steel.streams import Augmentation

        sample = balanced_sample(master_table(plates.table, plates.images), 6, 12, shares=(0.5, 0.25, 0.25))
        told: list[int] = []

        def train() -> dict[str, list[float]]:
            steps = two_step_classifier((16, 32, 3), widths=(4,), seed=0)
            parts = [step_batches(plates, sample, "binary", part, size=(16, 32), batch=8, augment=Augmentation())
                     for part in ("train", "validation")]  # fmt: skip
            return fit_classifier(steps.binary, *parts, 2, tell=lambda epoch, logs: told.append(epoch))

        first = train()
        assert told == [1, 2]
        assert json.loads(json.dumps(first)) == first
        assert {"loss", "val_loss", "f1", "f1_score_m", "val_precision_m", "val_recall", "accuracy"} <= set(first)
        assert train() == first

    @pytest.mark.parametrize(
        "options",
        [{"widths": ()}, {"dropout": 1.0}, {"activation": "relu"}, {"pooling": "sum"}, {"widths": (4,) * 6},
         {"learning_rate": 0.0}],
    )  # fmt: skip
    def test_options(self, options: dict[str, Any]) -> None:
        from shrinknet.applications.steel import two_step_classifier

        with pytest.raises(OptionError):
            two_step_classifier((16, 32, 3), **options)


class TestSampling:
    def test_balanced_and_without_leaks(self, plates: Any) -> None:
        master = master_table(plates.table, plates.images)
        sample = balanced_sample(master, 5, 10, shares=(0.6, 0.2, 0.2), seed=3)
        assert sample["ImageId"].is_unique
        assert sample["ClassId"].value_counts().to_dict() == {0: 10, 1: 5, 2: 5, 3: 5, 4: 5}
        assert sample.groupby("ClassId")["part"].value_counts().unstack().loc[1].to_dict() == {
            "train": 3, "validation": 1, "test": 1,
        }  # fmt: skip
        assert all(plates.classes(name) == ((number,) if number else ())
                   for name, number in zip(sample["ImageId"], sample["ClassId"], strict=True))  # fmt: skip
        assert sample.equals(balanced_sample(master, 5, 10, shares=(0.6, 0.2, 0.2), seed=3))
        assert not sample.equals(balanced_sample(master, 5, 10, shares=(0.6, 0.2, 0.2), seed=4))

    def test_several_classes_are_left_out(self) -> None:
        table = pd.DataFrame(
            [(f"{number}-{one}.jpg", number, "1 1") for number in (1, 2, 3, 4) for one in range(3)]
            + [("mixed.jpg", 1, "1 1"), ("mixed.jpg", 2, "1 1")],
            columns=["ImageId", "ClassId", "EncodedPixels"],
        )
        names = [*dict.fromkeys(table["ImageId"]), "c1.jpg", "c2.jpg", "c3.jpg"]
        master = master_table(table, names)
        assert "mixed.jpg" not in set(balanced_sample(master, 3, 3)["ImageId"])
        with pytest.raises(DataError, match="There are 3 plates with class 1 alone, and 4 are asked for"):
            balanced_sample(master, 4, 3)
        with pytest.raises(DataError, match="There are 3 clean plates, and 9 are asked for"):
            balanced_sample(master, 3, 9)

    @given(st.integers(30, 200), st.integers(0, 5))
    def test_every_part_has_its_share_of_every_class(self, count: int, seed: int) -> None:
        classes = [[number] for number in (0, 0, 0, 3, 3, 1)]
        master = pd.DataFrame(
            {"ImageId": [f"{one:03}" for one in range(count)], "ClassId": [classes[one % 6] for one in range(count)]}
        )
        table = split_plates(master, shares=(0.6, 0.2, 0.2), seed=seed)
        assert sorted(table["ImageId"]) == sorted(master["ImageId"])
        for _, rows in table.groupby("classes"):
            for part, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
                assert abs((rows["part"] == part).sum() - share * len(rows)) <= 2

    @pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2, 0.0), (0.5, 0.2, 0.2)])
    def test_shares(self, shares: tuple[float, ...], plates: Any) -> None:
        with pytest.raises(OptionError, match="three shares above 0"):
            balanced_sample(master_table(plates.table, plates.images), 4, 4, shares=shares)


class TestStreams:
    def test_they_give_what_arrays_hold(self, plates: Any) -> None:
        from shrinknet.applications.steel.streams import plate_arrays, plate_batches

        names = plates.images[:5]
        images, masks = plate_arrays(plates, names, size=(32, 64), channels=3)
        batches = plate_batches(plates, names, size=(32, 64), channels=3, batch=2)
        assert int(batches.cardinality()) == len(batches) == 3
        pairs = [(x.numpy(), y.numpy()) for x, y in batches]
        assert np.array_equal(np.concatenate([x for x, _ in pairs]), images)
        assert np.array_equal(np.concatenate([y for _, y in pairs]), masks)
        blocks = np.stack([plates.masks(name) for name in names]).reshape(5, 32, 2, 64, 2, 4)
        assert np.array_equal(masks, blocks.mean((2, 4)) >= 0.5)
        whole = plate_arrays(plates, names, size=SHAPE)
        assert np.array_equal(whole[1], np.stack([plates.masks(name) for name in names]))

    def test_images_and_masks_move_together(self, plates: Any) -> None:
        import tensorflow as tf

        from shrinknet.applications.steel.streams import Augmentation, _augmented

        random = np.random.default_rng(0)
        grey = random.random((6, 16, 32, 1), np.float32)
        masks = np.repeat(grey, 4, -1)  # as good as masks: where a pixel goes can be seen
        moved = Augmentation(brightness=0, contrast=0, shift=0.2)
        pairs = list(_augmented(tf.data.Dataset.from_tensor_slices((grey, masks)), moved, 1, masks=True))
        assert all(np.array_equal(image, mask[..., :1]) for image, mask in pairs)
        assert not any(np.array_equal(image, plate) for (image, _), plate in zip(pairs, grey, strict=True))
        light = Augmentation(flips=False, shift=0)
        for (image, mask), plate in zip(
            _augmented(tf.data.Dataset.from_tensor_slices((grey, masks)), light, 1, masks=True), grey, strict=True
        ):
            assert np.array_equal(mask[..., :1], plate)
            assert 0 < np.abs(np.asarray(image) - plate).mean() < 0.25
            assert 0 <= np.min(image) <= np.max(image) <= 1

    def test_order_and_augmentation_follow_the_seed_and_change_each_pass(self, plates: Any) -> None:
        from shrinknet.applications.steel.streams import Augmentation, plate_batches

        def passes(seed: int, augment: Augmentation | None) -> list[list[bytes]]:
            batches = plate_batches(
                plates, plates.images[:6], size=(16, 32), batch=1, shuffle=True, augment=augment, seed=seed
            )
            return [[x.numpy().tobytes() for x, _ in batches] for _ in range(2)]

        for augment in (None, Augmentation()):
            first = passes(1, augment)
            assert first == passes(1, augment)
            assert first[0] != first[1]
            assert first[0] != passes(2, augment)[0]
            assert (set(first[0]) == set(first[1])) == (augment is None)

    def test_labels_stay_with_their_plates(self, plates: Any) -> None:
        from shrinknet.applications.steel.streams import plate_arrays, plate_batches

        names = plates.images[:6]
        labels = np.arange(6, dtype=np.float32)[:, None]
        images = plate_arrays(plates, names, size=(16, 32))[0]
        for x, y in plate_batches(plates, names, labels, size=(16, 32), shuffle=True, batch=4):
            assert np.array_equal(x, images[y.numpy().astype(int)[:, 0]])
        with pytest.raises(DataError, match="received 6 plates and 5 labels"):
            plate_batches(plates, names, labels[:5])
        with pytest.raises(DataError, match="received 0 plates and masks"):
            plate_batches(plates, [])

    def test_crops_are_parts_of_plates_and_hit_their_defects(self, plates: Any) -> None:
        from shrinknet.applications.steel.streams import Crops, plate_arrays, plate_batches

        names = [name for name in plates.images if plates.classes(name)][:6]
        images, masks = plate_arrays(plates, names, size=SHAPE)
        passes = [list(plate_batches(plates, names, size=SHAPE, batch=1, crops=Crops(16, 24, 1.0))) for _ in range(2)]
        for place, (image, mask) in enumerate(passes[0]):
            views = np.lib.stride_tricks.sliding_window_view(images[place, ..., 0], (16, 24))
            row, column = np.argwhere((views == image[0, ..., 0].numpy()).all((2, 3)))[0]
            assert np.array_equal(mask[0], masks[place, row : row + 16, column : column + 24])
            assert mask.numpy().any()
        assert all(np.array_equal(one[0], other[0]) for one, other in zip(*passes, strict=True))
        stream = plate_batches(plates, names, size=SHAPE, batch=6, crops=Crops(16, 24))
        first, second = (next(iter(stream))[0].numpy() for _ in range(2))
        assert not np.array_equal(first, second)  # another crop in each pass

    def test_crops_choose_the_class_before_the_pixel(self) -> None:
        from shrinknet.applications.steel.streams import Crops

        mask = np.zeros((40, 200, 4), np.uint8)
        mask[:, :150, 3] = 1
        mask[5, 195, 0] = 1
        crops, random = Crops(10, 10, 1.0), np.random.default_rng(0)
        corners = [crops.corner(mask, random) for _ in range(400)]
        hits = [mask[row : row + 10, column : column + 10, 0].any() for row, column in corners]
        assert 0.4 < np.mean(hits) < 0.6
        anywhere = [Crops(10, 10, 0.0).corner(mask, random) for _ in range(400)]
        assert min(row for row, _ in anywhere) == 0
        assert max(row for row, _ in anywhere) == 30

    @pytest.mark.parametrize("crops", [(65, 10), (10, 129)])
    def test_crops_that_do_not_fit(self, plates: Any, crops: tuple[int, int]) -> None:
        from shrinknet.applications.steel.streams import Crops, plate_batches

        with pytest.raises(OptionError, match="crops of at most 64 x 128"):
            plate_batches(plates, plates.images, size=SHAPE, crops=Crops(*crops))
        with pytest.raises(OptionError, match="none with labels"):
            plate_batches(plates, plates.images[:1], np.zeros((1, 1)), size=SHAPE, crops=Crops(8, 8))
        with pytest.raises(OptionError, match="Crops expect"):
            Crops(0, 1)

    @pytest.mark.parametrize("options", [{"shift": 0.6}, {"brightness": -0.1}, {"contrast": 1.0}])
    def test_augmentations(self, options: dict[str, float]) -> None:
        from shrinknet.applications.steel.streams import Augmentation

        with pytest.raises(OptionError, match="An augmentation expects"):
            Augmentation(**options)


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
