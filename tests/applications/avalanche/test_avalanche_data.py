"""Slopes: generated and read again, masks from drawn outlines, and every kind of file that comes in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shrinknet.applications.avalanche import generate, read
from shrinknet.applications.avalanche.folder import check, pairs
from shrinknet.applications.avalanche.generation import drawn_mask, drawn_reference, slope
from shrinknet.applications.avalanche.references import mask_from_reference
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.colour_files import as_pixels, read_pixels

GREY = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))  # 20 x 30
COLOUR = np.stack([GREY, GREY[:, ::-1], np.full_like(GREY, 60)], -1)
MASK = np.where(np.indices((20, 30))[1] < 15, 255, 0).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image and its mask, as PNG files, which keep every value."""
    for name, array in (("images", COLOUR), ("masks", MASK)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "a.png")
    return tmp_path


def replace(folder: Path, name: str, image: Any, **options: Any) -> Path:
    """Puts an image in the place of images/a.png or masks/a.png."""
    next((folder / name).glob("a.*")).unlink()
    image.save(folder / name / options.pop("file", "a.png"), **options)
    return folder


def cut_short(folder: Path) -> None:
    """Leaves half of an image that is there."""
    path = folder / "images" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


class TestGenerated:
    def test_the_layout_and_the_words(self, slopes: Any) -> None:
        for part in ("images", "references", "masks"):
            assert len(list((slopes.folder / part).glob("synthetic-*.jpg"))) == 10
        notice = (slopes.folder / "SYNTHETIC.txt").read_text()
        assert "These slopes are synthetic" in notice
        assert "count 10, size 64 x 80, seed\n0" in notice
        assert sorted(slopes.light.values()) == ["shady"] * 4 + ["sunny"] * 6

    def test_the_same_bytes_from_the_same_seed(self, tmp_path: Path) -> None:
        once = digests(generate(tmp_path / "once", 3, 64, 5))
        assert once == digests(generate(tmp_path / "again", 3, 64, 5))
        other = digests(generate(tmp_path / "other", 3, 64, 6))
        assert all(once[name] != other[name] for name in once if name.endswith(".jpg"))

    def test_images_and_masks(self, slopes: Any) -> None:
        for _, image, mask in pairs(slopes):
            assert (image.shape, image.dtype) == ((64, 80, 3), np.uint8)
            assert set(np.unique(mask)) == {0, 1}
            assert 0.02 < mask.mean() < 0.4
        assert all(0 < marked < pixels for marked, pixels in check(slopes).values())

    def test_sun_is_brighter_and_shade_is_bluer(self, slopes: Any) -> None:
        means = {light: np.mean([slopes.image(name).mean((0, 1)) for name in slopes.names
                                 if slopes.light[name] == light], axis=0) for light in ("sunny", "shady")}  # fmt: skip
        assert means["sunny"].mean() > means["shady"].mean() + 30
        assert np.ptp(means["shady"]) > np.ptp(means["sunny"]) + 10

    def test_a_single_colour_does_not_give_the_avalanche_away(self) -> None:
        agreement = []
        for number in range(6):
            drawn = slope((96, 96), 1, number, True)
            inside = drawn.area > 0.5
            best = max(
                (lambda a, b: (a & b).sum() / (a | b).sum())(inside, grey <= level)
                for grey in (drawn.image.mean(-1), 255 - drawn.image.mean(-1))
                for level in np.quantile(grey, np.linspace(0.05, 0.95, 19))
            )
            agreement.append(best)
        assert np.mean(agreement) < 0.35  # intersection over union of the best threshold of each image

    def test_stopped_halfway_it_leaves_nothing(self, tmp_path: Path) -> None:
        def stop(done: int, of: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "slopes", 3, 64, 0, progress=stop)
        assert list(tmp_path.iterdir()) == []

    def test_bad_arguments(self, tmp_path: Path) -> None:
        for options in ((0, 64, 0), (1, 32, 0), (1, 64, -1)):
            with pytest.raises(OptionError, match="a count of 1 or more, a size of at least 64 pixels"):
                generate(tmp_path / "x", *options)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").touch()
        with pytest.raises(DataError, match="is not empty"):
            generate(tmp_path / "full", 1, 64, 0)


class TestReferences:
    @pytest.mark.parametrize("with_photograph", [True, False])
    def test_the_mask_of_a_drawn_outline(self, with_photograph: bool) -> None:
        for number in range(3):
            drawn = slope((128, 128), 2, number, number != 1)
            reference = drawn_reference(drawn.image, drawn.outline)
            found = mask_from_reference(reference, drawn.image if with_photograph else None) > 0
            wanted = drawn_mask(drawn.outline, (128, 128)) > 0
            assert (found & wanted).sum() / (found | wanted).sum() > 0.93

    def test_masks_that_are_not_there_come_from_references(self, slopes: Any, tmp_path: Path) -> None:
        for part in ("images", "references"):
            (tmp_path / part).symlink_to(slopes.folder / part)
        derived = read(tmp_path)
        for name in slopes.names[:4]:
            found, wanted = derived.mask(name) > 0, slopes.mask(name) > 0
            assert (found & wanted).sum() / (found | wanted).sum() > 0.85  # the line is 2 of 64 pixels wide

    @pytest.mark.parametrize("gap", [(60, 63), (20, 45)])
    def test_gaps_are_closed(self, gap: tuple[int, int]) -> None:
        import cv2

        image = np.full((100, 100, 3), 200, np.uint8)
        reference = image.copy()
        cv2.rectangle(reference, (20, 20), (80, 80), (220, 20, 30), 3)
        reference[15:25, slice(*gap)] = 200
        found = mask_from_reference(reference, image)
        assert found[25:76, 25:76].all()
        assert int(found.sum()) == pytest.approx(61 * 61, rel=0.05)
        assert not found[:15].any()

    def test_an_outline_that_leaves_the_image(self) -> None:
        import cv2

        image = np.full((100, 100, 3), 90, np.uint8)
        reference = image.copy()
        cv2.circle(reference, (50, 95), 40, (20, 220, 30), 3)
        found = mask_from_reference(reference, image)
        assert found[70:95, 30:70].all()
        assert not found[:50].any()

    def test_the_middle_of_the_line(self) -> None:
        import cv2

        image = np.full((100, 100, 3), 90, np.uint8)
        for width in (1, 3, 7):
            reference = image.copy()
            cv2.circle(reference, (50, 50), 30, (250, 40, 40), width)
            assert int(mask_from_reference(reference, image).sum()) == pytest.approx(np.pi * 30**2, rel=0.04)

    def test_without_a_closed_line(self) -> None:
        image = np.full((60, 60, 3), 128, np.uint8)
        with pytest.raises(DataError, match="No closed outline was found"):
            mask_from_reference(image, image)
        line = image.copy()
        line[30, 10:50] = (255, 0, 0)
        with pytest.raises(DataError, match="No closed outline was found"):
            mask_from_reference(line, image)
        with pytest.raises(DataError, match="an image of the same shape"):
            mask_from_reference(image, image[:50])


class TestHardFiles:
    def test_exif_rotation(self, folder: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        turned = Image.fromarray(np.rot90(COLOUR, 1))
        slopes = read(replace(folder, "images", turned, exif=exif))
        assert np.array_equal(slopes.image("a"), COLOUR)
        assert np.array_equal(slopes.mask("a"), MASK // 255)

    def test_16_bits(self, folder: Path) -> None:
        deep = Image.fromarray(GREY.astype(np.uint16) * 257)
        slopes = read(replace(folder, "images", deep))
        assert np.array_equal(slopes.image("a"), np.repeat(GREY[..., None], 3, -1))
        assert np.array_equal(slopes.image("a", 1)[..., 0], GREY)

    def test_16_bits_as_a_mask(self, folder: Path) -> None:
        values = np.where(MASK > 0, 127 * 257, 126 * 257).astype(np.uint16)
        assert np.array_equal(read(replace(folder, "masks", Image.fromarray(values))).mask("a"), MASK // 255)

    @pytest.mark.parametrize("transparent", [False, True])
    def test_palettes(self, folder: Path, transparent: bool) -> None:
        flat = np.where(MASK[..., None] > 0, (200, 10, 30), (10, 90, 250)).astype(np.uint8)
        image = Image.fromarray(flat).quantize(4)
        options = {"transparency": 0} if transparent else {}
        slopes = read(replace(folder, "images", image, **options))
        assert np.array_equal(slopes.image("a"), flat)

    def test_a_palette_as_a_mask(self, folder: Path) -> None:
        image = Image.fromarray((MASK > 0).astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 255, 255, 255])
        assert np.array_equal(read(replace(folder, "masks", image)).mask("a"), MASK // 255)

    def test_an_alpha_channel_is_ignored(self, folder: Path) -> None:
        alpha = np.dstack([COLOUR, np.where(MASK > 0, 0, 255).astype(np.uint8)])
        assert np.array_equal(read(replace(folder, "images", Image.fromarray(alpha))).image("a"), COLOUR)

    def test_a_grey_jpeg_where_colour_is_expected(self, folder: Path) -> None:
        slopes = read(replace(folder, "images", Image.fromarray(GREY), file="a.jpg", quality=95))
        image = slopes.image("a")
        assert image.shape == (20, 30, 3)
        assert np.array_equal(image[..., 0], image[..., 2])
        assert np.abs(image[..., 0].astype(int) - GREY).max() < 12

    def test_cmyk(self, folder: Path) -> None:
        slopes = read(replace(folder, "images", Image.fromarray(COLOUR).convert("CMYK"), file="a.jpg", quality=98))
        assert np.abs(slopes.image("a").astype(int) - COLOUR).mean() < 12

    def test_from_127_on(self, folder: Path) -> None:
        values = np.full((20, 30), 126, np.uint8)
        values[3, 4:6] = 127, 255
        mask = read(replace(folder, "masks", Image.fromarray(values))).mask("a")
        assert np.argwhere(mask).tolist() == [[3, 4], [3, 5]]

    def test_an_empty_mask_is_a_slope_without_an_avalanche(self, folder: Path) -> None:
        slopes = read(replace(folder, "masks", Image.fromarray(0 * MASK)))
        assert not slopes.mask("a").any()
        assert check(slopes) == {"a": (0, 600)}

    @pytest.mark.parametrize(
        ("break_it", "sentence"),
        [
            (lambda f: (f / "images" / "a.png").write_bytes(b"nothing"), "'.*images/a.png' cannot be read as an image"),
            (cut_short, "cannot be read as an image .*truncated"),
            (lambda f: (f / "masks" / "a.png").write_bytes(b""), "'.*masks/a.png' cannot be read as an image"),
            (lambda f: replace(f, "masks", Image.fromarray(MASK.T)),
             r"masks/a.png' has 30 x 20 pixels \(height x width\), and its image 'a.png' has 20 x 30"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_used(self, folder: Path, break_it: Any, sentence: str) -> None:
        break_it(folder)
        with pytest.raises(DataError, match=sentence):
            check(read(folder))

    def test_too_large(self, folder: Path) -> None:
        with pytest.raises(DataError, match="declares 30 x 20 pixels; expected at most 500"):
            read_pixels(folder / "images" / "a.png", max_pixels=500)


class TestFolders:
    def test_suffixes_may_differ(self, folder: Path) -> None:
        replace(folder, "masks", Image.fromarray(MASK), file="a.tif")
        assert np.array_equal(read(folder).mask("a"), MASK // 255)

    @pytest.mark.parametrize(
        ("break_it", "sentence"),
        [
            (lambda f: (f / "masks" / "a.png").rename(f / "masks" / "b.png"),
             "The image 'a.png' has no partner in '.*masks': expected a file of the name 'a' with any suffix"),
            (lambda f: Image.fromarray(MASK).save(f / "masks" / "b.png"),
             "masks/b.png' has no image in '.*images': expected a file of the name 'b'"),
            (lambda f: Image.fromarray(COLOUR).save(f / "images" / "a.jpg"), "which differ in their suffix alone"),
            (lambda f: (f / "images" / "a.png").unlink(), "found none"),
            (lambda f: (f / "masks").rename(f / "labels"), "found neither"),
            (lambda f: (f / "images").rename(f / "photos"), "Expected a folder of slopes"),
            (lambda f: (f / "light.csv").write_text("image,light\na.png,dark\n"),
             "line 2: expected the name of an image and one of sunny, shady; received 'a.png' and 'dark'"),
            (lambda f: (f / "light.csv").write_text("image\na.png\n"), "expected the columns image, light"),
        ],
    )  # fmt: skip
    def test_what_is_missing_is_said(self, folder: Path, break_it: Any, sentence: str) -> None:
        break_it(folder)
        with pytest.raises(DataError, match=sentence):
            read(folder)

    def test_unknown_names(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"There is no 'b' in '.*images', which has 1 images"):
            read(folder).image("b")


class TestArrays:
    def test_channels(self) -> None:
        grey = as_pixels(COLOUR, 1)
        assert np.array_equal(grey[..., 0], np.rint(COLOUR @ np.array([0.299, 0.587, 0.114])))
        assert as_pixels(GREY, 3).shape == (20, 30, 3)
        assert as_pixels(COLOUR / np.float32(255), 1).dtype == np.float32

    @pytest.mark.parametrize(
        ("array", "sentence"),
        [
            (np.zeros((3, 4, 2)), r"\(height, width, 3\); received an array of \(3, 4, 2\)"),
            (np.full((3, 4), 255.0), "float64 from 255.0 to 255.0"),
            (np.full((3, 4), np.nan), "from nan to nan"),
            (np.zeros((3, 4), bool), "received bool"),
            (np.zeros((0, 4)), "received an array of"),
        ],
    )
    def test_what_is_no_image(self, array: np.ndarray, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            as_pixels(array, 3)
