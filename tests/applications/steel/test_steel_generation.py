"""Synthetic plates: the same bytes for the same seed, the report's imbalance, and signatures as it describes them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shrinknet.applications.steel import generate, published, read
from shrinknet.applications.steel.checking import check_images
from shrinknet.applications.steel.generation import Mixture, plate
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.components import components

SHAPE = (64, 128)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@functools.cache
def drawn(number: int, count: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    """Plates of one class, and the masks of that class."""
    pairs = [plate((number,), np.random.default_rng([11, number, one])) for one in range(count)]
    return [(image, masks[..., number - 1]) for image, masks in pairs]


class TestFolder:
    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            assert generate(tmp_path / name, 12, seed, shape=SHAPE) == tmp_path / name
        a, b, c = (content(tmp_path / name) for name in "abc")
        assert a == b
        assert set(a) == set(c)
        assert not [name for name in a if name.endswith(".jpg") and a[name] == c[name]]

    def test_the_layout_can_be_read_and_says_that_it_is_synthetic(self, tmp_path: Path) -> None:
        plates = read(generate(tmp_path / "steel", 12, 0, shape=SHAPE), SHAPE)
        assert check_images(plates) == len(plates.images) == 12
        assert all(name.startswith("synthetic-") and name.endswith(".jpg") for name in plates.images)
        assert "synthetic" in (tmp_path / "steel" / "SYNTHETIC.txt").read_text()
        with Image.open(tmp_path / "steel" / "train_images" / plates.images[0]) as image:
            assert (image.mode, image.size) == ("L", (128, 64))
        with_defect = [name for name in plates.images if plates.classes(name)]
        assert len(with_defect) == round(12 * Mixture().defect)
        assert all(plates.masks(name).any() for name in with_defect)

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(DataError, match="not empty"):
            generate(tmp_path, 1, 0)
        assert content(tmp_path) == {"mine.txt": b"mine"}

    def test_an_interruption_leaves_nothing(self, tmp_path: Path) -> None:
        def stop(done: int, of: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "steel", 5, 0, shape=SHAPE, progress=stop)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("options", [(0, 0, SHAPE), (1, -1, SHAPE), (1, 0, (32, 128))])
    def test_options(self, tmp_path: Path, options: tuple[int, int, tuple[int, int]]) -> None:
        with pytest.raises(OptionError, match="Expected a count"):
            generate(tmp_path / "steel", *options[:2], shape=options[2])


class TestMixture:
    @pytest.mark.parametrize("count", [300, 1_000, published.DEFECT_IMAGES + published.CLEAN_IMAGES])
    def test_the_imbalance_of_the_report(self, count: int) -> None:
        dealt = Mixture().dealt(count, np.random.default_rng(0))
        assert len(dealt) == count
        single = [classes[0] for classes in dealt if len(classes) == 1]
        defect = [classes for classes in dealt if classes]
        assert single.count(3) / len(defect) > published.DOMINANT_SHARE
        assert 0 < sum(len(classes) > 1 for classes in dealt) / count < published.SEVERAL_SHARE
        ordered = sorted((1, 2, 3, 4), key=single.count, reverse=True)
        assert tuple(ordered) == published.CLASS_ORDER
        assert len(defect) / count == pytest.approx(published.DEFECT_IMAGES / 12_568, abs=0.005)

    def test_several_classes_differ(self) -> None:
        dealt = Mixture(0.5, several=0.5).dealt(60, np.random.default_rng(0))
        assert {len(set(classes)) for classes in dealt} == {0, 2}

    @pytest.mark.parametrize("options", [(1.2,), (0.5, {1: 0.5}), (0.1, {3: 1.0}, 0.2), (0.5, {1: 1.5, 2: -0.5})])
    def test_impossible_shares(self, options: tuple[object, ...]) -> None:
        with pytest.raises(OptionError, match="A mixture expects"):
            Mixture(*options)  # type: ignore[arg-type]


class TestSignatures:
    """What the report's section 6 says of each class, measured on twenty plates."""

    def test_areas_are_those_of_the_report_put_right(self) -> None:
        right = published.corrected_figure_12().set_index("source")
        for number in (1, 2, 3, 4):
            percent = [100 * mask.mean() for _, mask in drawn(number)]
            assert min(percent) > 0
            assert np.median(percent) == pytest.approx(right.at[f"Class_{number}", "median"], rel=0.6)

    def test_specks_are_small_and_many_and_near_each_other(self) -> None:
        regions = [components(mask[..., None]) for _, mask in drawn(1)]
        assert np.median([len(table) for table in regions]) >= 5
        assert np.median([table["area"].median() for table in regions]) < 400
        assert np.median([table["extent"].median() for table in regions]) > 0.8  # square

    def test_lone_traces_are_upright_thin_and_few(self) -> None:
        regions = [components(mask[..., None]) for _, mask in drawn(2)]
        assert np.median([len(table) for table in regions]) == 1
        tall = [(table["bottom"] - table["top"]).max() / (table["right"] - table["left"]).max() for table in regions]
        assert np.median(tall) > 5

    def test_dense_traces_have_more_than_lone_ones(self) -> None:
        lone, dense = ([mask.any(0).sum() for _, mask in drawn(number)] for number in (2, 3))
        assert np.median(dense) > 3 * np.median(lone)

    def test_rounded_areas_are_solid_and_large(self) -> None:
        regions = [components(mask[..., None], least=500) for _, mask in drawn(4)]
        assert np.median([table["solidity"].median() for table in regions]) > 0.85
        assert np.median([table["area"].max() for table in regions]) > 8_000

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    def test_defects_change_the_plate_where_their_mask_is(self, number: int) -> None:
        for seed in range(3):
            image, masks = plate((number,), np.random.default_rng([3, seed]))
            clean, blank = plate((), np.random.default_rng([3, seed]))
            changed = np.abs(image.astype(int) - clean.astype(int)) > 4
            mask = masks[..., number - 1] > 0
            assert not blank.any()
            assert changed.sum() > 100
            assert (changed & mask).sum() / changed.sum() > 0.97
