"""Windows: what is cut, how many there are, that none is held, and how they are drawn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinknet.applications.avalanche.published import RESULTS, arithmetic, published_window_count
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.windows import reach, reflected, window_count, windows


def by_padding(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """All windows of an image of shape (height, width, channels), by NumPy's own reflection."""
    pads = [reach(size[0]), reach(size[1]), (0, 0)]
    padded = np.pad(image, pads, mode="reflect")
    view = np.lib.stride_tricks.sliding_window_view(padded, size, (0, 1))
    return np.moveaxis(view, 2, -1).reshape(-1, *size, image.shape[2])


class TestCutting:
    @given(st.data())
    @settings(max_examples=30, deadline=None)
    def test_every_window_is_that_of_a_padded_image(self, data: st.DataObject) -> None:
        height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
        size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
        channels = data.draw(st.sampled_from([1, 3]))
        random = np.random.default_rng(data.draw(st.integers(0, 9)))
        image = random.integers(0, 256, (height, width, channels)).astype(np.uint8)
        mask = (random.random((height, width)) < 0.5).astype(np.uint8)
        found = windows(image, mask, size)
        cut, values = found[:]
        assert len(found) == height * width == window_count((height, width), size, "reflect")
        assert np.array_equal(np.rint(255 * cut), by_padding(image, size))
        assert np.array_equal(values[:, 0], mask.ravel())

    @given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.integers(1, 14))
    def test_the_count_without_padding(self, height: int, width: int, rows: int, columns: int) -> None:
        corners = [(r, c) for r in range(height) for c in range(width) if r + rows <= height and c + columns <= width]
        assert window_count((height, width), (rows, columns)) == len(corners)
        if corners:
            image = np.arange(height * width, dtype=np.float32).reshape(height, width) / (height * width)
            found = windows(image, None, (rows, columns), borders="inside")
            assert len(found) == len(corners)
            expected = [image[r : r + rows, c : c + columns] for r, c in corners]
            assert np.array_equal(found[:][0][..., 0], np.array(expected))

    @pytest.mark.parametrize(("size", "expected"), [(17, (8, 8)), (33, (16, 16)), (76, (37, 38)), (1, (0, 0))])
    def test_where_the_centre_lies(self, size: int, expected: tuple[int, int]) -> None:
        assert reach(size) == expected
        image = np.zeros((100, 90), np.float32)
        image[50, 40] = 1
        cut, _ = windows(image, None, size).at([[50, 40]])
        assert np.argwhere(cut[0, ..., 0]).tolist() == [[expected[0], expected[0]]]

    def test_one_by_one_in_batches_and_backwards(self) -> None:
        image = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
        mask = np.zeros((4, 5), np.uint8)
        mask[1, 2] = 1
        found = windows(image, mask, 3)
        one, value = found[7]
        assert one.shape == (3, 3, 3)
        assert value == 1.0
        assert np.array_equal(found[-1][0], found[19][0])
        sizes = [len(cut) for cut, _ in found.batches(8)]
        assert sizes == [8, 8, 4]
        assert np.array_equal(np.concatenate([cut for cut, _ in found.batches(8)]), found[:][0])
        assert len(list(found)) == 20
        with pytest.raises(IndexError, match="There are 20 windows"):
            found[20]

    def test_channels(self) -> None:
        colour = np.zeros((4, 4, 3), np.uint8)
        colour[..., 1] = 100
        assert windows(colour, None, 3, channels=1)[0][0].shape == (3, 3, 1)
        assert np.allclose(windows(colour, None, 3, channels=1)[0][0] * 255, 59)  # 0.587 * 100, rounded
        assert windows(colour[..., 0], None, 3, channels=3)[0][0].shape == (3, 3, 3)

    def test_reflection_of_a_single_pixel(self) -> None:
        assert reflected([-3, 0, 2], 1).tolist() == [0, 0, 0]

    def test_bad_arguments(self) -> None:
        image = np.zeros((5, 6), np.float32)
        with pytest.raises(DataError, match=r"a mask of the image's size, 5 x 6; received \(6, 5\)"):
            windows(image, np.zeros((6, 5)), 3)
        with pytest.raises(DataError, match="5 x 6 pixels and is smaller than a window of 7 x 7"):
            windows(image, None, 7, borders="inside")
        with pytest.raises(OptionError, match="borders out of reflect, inside"):
            windows(image, None, 3, borders="zero")
        with pytest.raises(DataError, match=r"float32 from 0.0 to 2.0: divide"):
            windows(image + np.eye(5, 6, dtype=np.float32) * 2, None, 3)
        with pytest.raises(DataError, match="Balanced windows are drawn by a mask"):
            windows(image, None, 3).sample(4, np.random.default_rng(0), balanced=True)


class TestMemory:
    def test_a_large_image_takes_the_memory_of_a_batch(self) -> None:
        image = np.zeros((4256, 3694, 3), np.uint8)
        mask = np.zeros((4256, 3694), np.uint8)
        mask[1000:1100, 2000:2100] = 1
        tracemalloc.start()
        found = windows(image, mask, 33)
        places = found.sample(512, np.random.default_rng(0), balanced=True)
        cut, values = found.at(places)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found) == 4256 * 3694
        assert values.mean() == 0.5
        assert peak < 4 * cut.nbytes + 2 * mask.size  # all windows would be 205 GB


class TestDrawing:
    def test_balanced(self) -> None:
        mask = np.zeros((20, 30), np.uint8)
        mask[3, 4] = mask[10, 10:20] = 1
        found = windows(np.zeros((20, 30), np.float32), mask, 5)
        places = found.sample(400, np.random.default_rng(0), balanced=True)
        marked = mask[places[:, 0], places[:, 1]] > 0
        assert marked.sum() == 200
        assert len(np.unique(places[marked], axis=0)) == 11  # every marked pixel can be drawn
        assert 0.3 < np.mean(marked[:200]) < 0.7  # mixed

    def test_every_pixel_is_as_likely(self) -> None:
        mask = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], np.uint8)
        found = windows(np.zeros((3, 4), np.float32), mask, 3)
        places = found.sample(8000, np.random.default_rng(1), balanced=True)
        counts = np.zeros((3, 4))
        np.add.at(counts, tuple(places.T), 1)
        assert np.allclose(counts[mask > 0], 1000, atol=130)
        assert np.allclose(counts[mask == 0], 500, atol=100)

    @pytest.mark.parametrize("value", [0, 1])
    def test_masks_of_one_kind(self, value: int) -> None:
        found = windows(np.zeros((6, 6), np.float32), np.full((6, 6), value, np.uint8), 3)
        _, values = found.at(found.sample(10, np.random.default_rng(0), balanced=True))
        assert (values == value).all()

    def test_inside_of_the_borders(self) -> None:
        mask = np.zeros((8, 9), np.uint8)
        mask[0] = mask[4, 4] = 1
        found = windows(np.zeros((8, 9), np.float32), mask, 5, borders="inside")
        for balanced in (False, True):
            places = found.sample(100, np.random.default_rng(0), balanced=balanced)
            assert places.min(0).tolist() >= [2, 2]
            assert places.max(0).tolist() <= [5, 6]


class TestTheReport:
    def test_its_formula_and_the_right_count(self) -> None:
        table = arithmetic().set_index("quantity")
        assert published_window_count(4256, 3694, 3) == 370943582819040
        assert table.at["values of a window", "published"] == 314721
        assert table.at["windows", "right"] == (4256 - 32) * (3694 - 32)
        assert table.at["bytes of all windows, uint8", "right"] == pytest.approx(50.5e9, rel=0.01)
        assert len(RESULTS) == 6
