"""Which plates are used for what, and how they reach a network: samples, splits, streams, crops, augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shrinknet.applications.steel import master_table
from shrinknet.applications.steel.sampling import balanced_sample, split_plates
from shrinknet.errors import DataError, OptionError

SHAPE = (64, 128)


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
