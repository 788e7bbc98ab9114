"""Reading images safely, and pictures of arrays."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shrinknet.errors import DataError
from shrinknet.imaging.files import image_files, read_grey
from shrinknet.imaging.pictures import output_image, png, red_green


class TestReadGrey:
    def test_colours_become_luminance(self, tmp_path: Path) -> None:
        colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
        Image.fromarray(colours).save(tmp_path / "colours.png")
        grey = read_grey(tmp_path / "colours.png")
        assert grey.dtype == np.float32
        assert grey == pytest.approx(np.array([[0.299, 0.587, 0.114, 1]]), abs=1 / 255)

    def test_sixteen_bits_are_kept(self, tmp_path: Path) -> None:
        values = np.array([[0, 1, 32768, 65535]], np.uint16)
        Image.fromarray(values).save(tmp_path / "deep.png")
        assert read_grey(tmp_path / "deep.png") == pytest.approx(values / 65535, abs=1e-6)

    def test_the_header_is_checked_before_decoding(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        Image.fromarray(np.zeros((300, 200), np.uint8)).save(path)
        # only the header is left: decoding would complain about the missing pixels instead
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError, match=r"200 x 300 pixels; expected at most 1,000"):
            read_grey(path, max_pixels=1000)

    @pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "broken.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes({"empty": b"", "text": b"hello", "truncated": path.read_bytes()[:1500]}[damage])
        with pytest.raises(DataError, match=r"broken\.png.*cannot be read as an image"):
            read_grey(path)


class TestImageFiles:
    def test_are_sorted_and_found_in_subfolders(self, tmp_path: Path) -> None:
        for name in ("b.JPG", "a/c.png", ".hidden/d.png", "notes.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == ["a/c.png", "b.JPG"]

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="not a folder"):
            image_files(tmp_path / "nowhere")


class TestPictures:
    def test_negative_is_red_and_positive_is_green(self) -> None:
        picture = red_green([[-2.0, -1.0], [0.0, 2.0]])
        assert picture.dtype == np.uint8
        assert picture.tolist() == [[[255, 0, 0], [128, 0, 0]], [[0, 0, 0], [0, 255, 0]]]

    def test_a_common_limit_makes_pictures_comparable(self) -> None:
        assert red_green([[1.0, 8.0]], limit=4).tolist() == [[[0, 64, 0], [0, 255, 0]]]
        assert not red_green(np.zeros((2, 2))).any()

    def test_outputs_are_shifted_scaled_and_rounded(self) -> None:
        assert output_image([[-1.0, 0.0, 1.0]]).tolist() == [[0, 128, 255]]
        assert output_image([[1.0, 2.0]]).tolist() == [[128, 255]]  # nothing negative: no shift
        assert output_image(np.zeros((1, 2))).tolist() == [[0, 0]]
        assert output_image([[-1.0, -1.0]]).tolist() == [[0, 0]]

    @pytest.mark.parametrize("render", [red_green, output_image])
    def test_only_planes_of_finite_values_are_drawn(self, render) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(DataError, match="plane of values"):
            render(np.zeros((2, 2, 3)))
        with pytest.raises(DataError, match="NaN or infinity"):
            render([[np.nan, 0.0]])

    @pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
    def test_png_comes_back_bit_for_bit(self, shape: tuple[int, ...]) -> None:
        picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)

    def test_png_refuses_floats(self) -> None:
        with pytest.raises(DataError, match="uint8"):
            png(np.zeros((2, 2)))
