"""Run lengths: round trips for all masks, the same masks as pycocotools, and a sentence for all that is malformed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shrinknet.applications.steel import build_mask, build_rles, mask2rle, rle2mask
from shrinknet.errors import DataError

SIDES = st.integers(1, 12)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays.arrays(np.uint8, shape, elements=st.integers(0, 1)))
LAYERS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays.arrays(np.uint8, (*shape, 4), elements=st.integers(0, 1)))


def by_hand(mask: np.ndarray) -> str:
    """Run lengths, pixel by pixel."""
    height, width = mask.shape
    numbers: list[int] = []
    for place in range(height * width):
        row, column = place % height, place // height
        if not mask[row, column]:
            continue
        if numbers and numbers[-2] + numbers[-1] == place + 1:
            numbers[-1] += 1
        else:
            numbers += [place + 1, 1]
    return " ".join(map(str, numbers))


class TestRoundTrip:
    @given(MASKS)
    def test_encoding_is_that_by_hand(self, mask: np.ndarray) -> None:
        assert mask2rle(mask) == by_hand(mask)

    @given(MASKS)
    def test_masks_come_back(self, mask: np.ndarray) -> None:
        decoded = rle2mask(mask2rle(mask), mask.shape)
        assert decoded.dtype == np.uint8
        assert decoded.flags["C_CONTIGUOUS"]
        assert np.array_equal(decoded, mask)

    @given(LAYERS)
    def test_layers_come_back(self, mask: np.ndarray) -> None:
        rows = [("a.jpg", number, rle) for number, rle in enumerate(build_rles(mask), 1) if rle]
        table = pd.DataFrame(rows, columns=["ImageId", "ClassId", "EncodedPixels"])
        assert np.array_equal(build_mask(table, "a.jpg", mask.shape[:2]), mask)

    @given(MASKS)
    def test_layout_of_memory_and_type_do_not_matter(self, mask: np.ndarray) -> None:
        expected = mask2rle(mask)
        for other in (np.asfortranarray(mask), mask.astype(bool), mask.astype(np.float32), mask[::-1][::-1]):
            assert mask2rle(other) == expected

    def test_columns_come_first_and_pixels_count_from_one(self) -> None:
        mask = np.zeros((256, 1600), np.uint8)
        mask[3, 0] = mask[4, 0] = mask[0, 1] = mask[255, 1599] = 1
        assert mask2rle(mask) == "4 2 257 1 409600 1"

    def test_full_and_blank(self) -> None:
        assert mask2rle(np.ones((256, 1600))) == "1 409600"
        assert mask2rle(np.zeros((256, 1600))) == ""
        assert not rle2mask("").any()
        assert rle2mask("1 409600").all()

    def test_runs_that_touch_are_read(self) -> None:
        assert rle2mask("1 2 3 1", (2, 2)).tolist() == [[1, 1], [1, 0]]


class TestPycocotools:
    @settings(max_examples=50)
    @given(MASKS)
    def test_the_same_runs(self, mask: np.ndarray) -> None:
        coco = pytest.importorskip("pycocotools.mask")
        encoded = coco.encode(np.asfortranarray(mask))
        assert np.array_equal(coco.decode(encoded), rle2mask(mask2rle(mask), mask.shape))
        counts = [len(run) for run in _alternating(mask)]  # COCO: gap, run, gap, run, ... in the same order of pixels
        assert coco.decode(coco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)).tolist() == (
            rle2mask(mask2rle(mask), mask.shape).tolist()
        )

    def test_a_whole_plate(self) -> None:
        coco = pytest.importorskip("pycocotools.mask")
        random = np.random.default_rng(0)
        mask = (random.random((16, 100)) < 0.2).repeat(16, 0).repeat(16, 1).astype(np.uint8)
        encoded = coco.encode(np.asfortranarray(mask))
        assert np.array_equal(coco.decode(encoded), rle2mask(mask2rle(mask)))
        assert int(coco.area(encoded)) == sum(map(int, mask2rle(mask).split()[1::2]))


def _alternating(mask: np.ndarray) -> list[list[int]]:
    """The pixels in column order, in stretches of equal value that begin with zeros."""
    stretches: list[list[int]] = [[]]
    for value in mask.T.ravel().tolist():
        if value != (len(stretches) - 1) % 2:
            stretches.append([])
        stretches[-1].append(value)
    return stretches


class TestMalformed:
    @pytest.mark.parametrize(
        ("rle", "sentence"),
        [
            ("1", "pairs of start and length; received 1 numbers: '1'"),
            ("1 2 3", "received 3 numbers"),
            ("0 3", "Run 1 of 1, '0 3', starts at pixel 0; pixels are counted from 1"),
            ("-4 3", "starts at pixel -4"),
            ("1 2 5 0", "Run 2 of 2, '5 0', has 0 pixels"),
            ("5 -2", "has -2 pixels"),
            ("1 5 3 2", "Run 2 of 2, '3 2', overlaps"),
            ("3 2 3 2", "overlaps"),
            ("1 5 5 2", "overlaps"),
            ("9 2 1 2", "'1 2', begins before the previous run"),
            ("409600 2", "ends at pixel 409601, past the end of a mask of 256 x 1600 = 409,600"),
            ("409601 1", "past the end"),
            ("99999999999999999999 1", "20 digits lies past the end"),
            ("1 x", "whole numbers with spaces between them; received '1 x'"),
            ("1.5 2", "whole numbers"),
            ("1,2", "whole numbers"),
            ("1\t2", "whole numbers"),
            ("1 1_0", "whole numbers"),
            ("1 -", "whole numbers"),
            ("１ 2", "whole numbers"),  # noqa: RUF001  digits, but not those of ASCII
            ("²2 2", "whole numbers"),
        ],
    )
    def test_one_sentence(self, rle: str, sentence: str) -> None:
        with pytest.raises(DataError) as raised:
            rle2mask(rle)
        assert sentence in str(raised.value)
        assert "\n" not in str(raised.value)

    @given(st.text(alphabet="0123456789 -x", max_size=14))
    def test_anything_is_read_or_refused(self, text: str) -> None:
        try:
            mask = rle2mask(text, (4, 5))
        except DataError:
            return
        again = mask2rle(mask)
        assert np.array_equal(rle2mask(again, (4, 5)), mask)
        assert sum(map(int, text.split()[1::2])) == mask.sum()

    def test_not_a_text(self) -> None:
        with pytest.raises(DataError, match="as text"):
            rle2mask(float("nan"))  # type: ignore[arg-type]

    @pytest.mark.parametrize("mask", [np.full((2, 2), 0.5), np.full((2, 2), 255), np.full((2, 2), np.nan)])
    def test_values_that_are_neither(self, mask: np.ndarray) -> None:
        with pytest.raises(DataError, match="mask of 0 and 1"):
            mask2rle(mask)

    def test_shapes(self) -> None:
        with pytest.raises(DataError, match=r"shape \(height, width\)"):
            mask2rle(np.zeros((2, 2, 4)))
        with pytest.raises(DataError, match=r"shape \(height, width, 4\)"):
            build_rles(np.zeros((2, 2, 3)))


class TestBuildMask:
    table = pd.DataFrame(
        {"ImageId": ["a.jpg", "a.jpg", "b.jpg"], "ClassId": [3, 4, 1], "EncodedPixels": ["1 2", "4 1", "2 1"]}
    )

    def test_a_channel_for_each_class(self) -> None:
        mask = build_mask(self.table, "a.jpg", (2, 2))
        assert mask.shape == (2, 2, 4)
        assert mask[..., 2].tolist() == [[1, 0], [1, 0]]
        assert mask[..., 3].tolist() == [[0, 0], [0, 1]]
        assert mask[..., :2].sum() == 0

    def test_an_image_without_rows_is_clean(self) -> None:
        assert build_mask(self.table, "c.jpg", (2, 2)).sum() == 0

    def test_a_master_table(self) -> None:
        from shrinknet.applications.steel import master_table

        master = master_table(self.table, ["a.jpg", "b.jpg", "c.jpg"])
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            assert np.array_equal(build_mask(master, name, (2, 2)), build_mask(self.table, name, (2, 2)))
        with pytest.raises(DataError, match=r"lists no image 'd\.jpg'"):
            build_mask(master, "d.jpg", (2, 2))

    def test_an_unknown_class(self) -> None:
        with pytest.raises(DataError, match="Expected a class"):
            build_mask(self.table.assign(ClassId=5), "a.jpg", (2, 2))
