"""The table of defects: both layouts are read, and everything malformed ends in a sentence that names the line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shrinknet.applications.steel import master_table, read
from shrinknet.applications.steel.checking import check_images
from shrinknet.errors import DataError

SHAPE = (8, 12)
HEADER = "ImageId,ClassId,EncodedPixels\n"


def picture(path: Path, shape: tuple[int, int] = SHAPE, kind: str = "L") -> None:
    grey = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    if kind == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(kind).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three plates, of which c.png is clean."""
    (tmp_path / "train_images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "train_images" / name)
    (tmp_path / "train.csv").write_text(HEADER + "a.png,3,1 2 9 4\na.png,1,5 1\nb.png,4,96 1\n")
    return tmp_path


class TestReading:
    def test_the_layout_of_the_competition(self, folder: Path) -> None:
        plates = read(folder, SHAPE)
        assert plates.images == ("a.png", "b.png", "c.png")
        assert plates.table.values.tolist() == [["a.png", 3, "1 2 9 4"], ["a.png", 1, "5 1"], ["b.png", 4, "96 1"]]
        assert plates.classes("a.png") == (1, 3)
        assert plates.classes("c.png") == ()
        assert plates.lines == {"a.png": 2, "b.png": 4}
        assert np.argwhere(plates.masks("b.png")).tolist() == [[7, 11, 3]]

    @pytest.mark.parametrize("old", [True, False])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("quote", ["", '"'])
    def test_both_layouts_marks_and_line_ends(self, folder: Path, old: bool, mark: str, end: str, quote: str) -> None:
        expected = read(folder, SHAPE).table
        joint = "_" if old else ","
        lines = ["ImageId_ClassId,EncodedPixels" if old else HEADER.strip()]
        lines += [f"a.png{joint}3,{quote}1 2 9 4{quote}", f"a.png{joint}1,5 1", f"b.png{joint}4,96 1"]
        lines += [f"{name}.png{joint}2," for name in "abc"]  # no pixels: no such defect
        (folder / "train.csv").write_bytes((mark + end.join(lines) + end).encode())
        assert read(folder, SHAPE).table.equals(expected)

    def test_other_columns_and_another_order_are_fine(self, folder: Path) -> None:
        (folder / "train.csv").write_text("EncodedPixels,note,ClassId,ImageId\n1 2,x,3,a.png\n")
        assert read(folder, SHAPE).table.values.tolist() == [["a.png", 3, "1 2"]]

    def test_a_cell_longer_than_the_limit_of_python(self, folder: Path) -> None:
        import csv

        before = csv.field_size_limit()
        rle = " ".join(f"{place} 1" for place in range(1, 70_000, 2))
        assert len(rle) > before
        (folder / "train.csv").write_text(f"{HEADER}a.png,3,{rle}\n")
        assert read(folder, (300, 300)).table["EncodedPixels"][0] == rle
        assert csv.field_size_limit() == before


class TestMalformed:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("ImageId,EncodedPixels\na.png,1 2\n", "line 1: the column ClassId is missing"),
            ("", "line 1: the column ImageId is missing"),
            (HEADER + "a.png,5,1 2\n", "line 2: expected a class of 1, 2, 3 or 4; received '5'"),
            (HEADER + "a.png,0,1 2\n", "received '0'"),
            (HEADER + "a.png,1.0,1 2\n", "received '1.0'"),
            (HEADER + "a.png,,1 2\n", "received ''"),
            (HEADER + "a.png,3,1 2\nb.png,3,1 2 3\n", "line 3: Run lengths come in pairs"),
            (HEADER + "a.png,3,0 2\n", "line 2: Run 1 of 1, '0 2', starts at pixel 0"),
            (HEADER + "a.png,3,-1 2\n", "starts at pixel -1"),
            (HEADER + "a.png,3,1 5 3 2\n", "line 2: Run 2 of 2, '3 2', overlaps"),
            (HEADER + "a.png,3,96 2\n", "line 2: Run 1 of 1, '96 2', ends at pixel 97, past the end"),
            (
                HEADER + "a.png,3,1 2\nb.png,4,1 2\na.png,3,5 1\n",
                "line 4: image 'a.png' and class 3 were listed in line 2",
            ),
            (HEADER + "a.png,3,1 2\n\nd.png,3,1 2\n", "line 4: the image 'd.png' is not in"),
            (HEADER + "../a.png,3,1 2\n", "line 2: expected the name of an image"),
            (HEADER + ",3,1 2\n", "line 2: expected the name of an image"),
            (HEADER + "a.png,3\n", "line 2: expected 3 cells; received 2"),
            (HEADER + "a.png,3,1 2,x\n", "line 2: expected 3 cells; received 4"),
            (HEADER + 'a.png,3,"1 2\n', "this is no CSV"),
            ("ImageId_ClassId,EncodedPixels\na.png,1 2\n", "line 2: expected the name of an image"),
            ("ImageId_ClassId,EncodedPixels\na.png_9,1 2\n", "received '9'"),
        ],
    )
    def test_one_sentence_with_its_line(self, folder: Path, text: str, sentence: str) -> None:
        (folder / "train.csv").write_text(text)
        with pytest.raises(DataError) as raised:
            read(folder, SHAPE)
        assert sentence in str(raised.value)
        assert "train.csv" in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_not_utf8(self, folder: Path) -> None:
        (folder / "train.csv").write_bytes(HEADER.encode() + b"a.png,3,1 2\nb\xff.png,3,1 2\n")
        with pytest.raises(DataError, match=r"train.csv, line 3: expected text in UTF-8"):
            read(folder, SHAPE)

    def test_what_is_not_there(self, folder: Path) -> None:
        with pytest.raises(DataError, match="not a folder"):
            read(folder / "nowhere", SHAPE)
        (folder / "train.csv").unlink()
        with pytest.raises(DataError, match="cannot be read: No such file"):
            read(folder, SHAPE)
        for path in (folder / "train_images").iterdir():
            path.unlink()
        with pytest.raises(DataError, match="found none"):
            read(folder, SHAPE)


class TestImages:
    @pytest.mark.parametrize("kind", ["L", "RGB", "I;16"])
    def test_grey_colour_and_16_bits_are_the_same_plate(self, folder: Path, kind: str) -> None:
        expected = read(folder, SHAPE).image("a.png")
        picture(folder / "train_images" / "a.png", kind=kind)
        image = read(folder, SHAPE).image("a.png")
        assert image.dtype == np.float32
        assert image.shape == SHAPE
        assert np.allclose(image, expected, atol=1e-6)

    def test_another_size(self, folder: Path) -> None:
        picture(folder / "train_images" / "b.png", (12, 8))
        plates = read(folder, SHAPE)
        with pytest.raises(DataError, match=r"b.png' \(train.csv, line 4\) has 12 x 8 pixels .* expected 8 x 12"):
            plates.image("b.png")
        picture(folder / "train_images" / "c.png", (12, 8))
        with pytest.raises(DataError, match=r"c.png' has 12 x 8"):
            check_images(read(folder, SHAPE), ["a.png", "c.png"])

    def test_truncated(self, folder: Path) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(buffer, "JPEG")
        (folder / "train_images" / "d.jpg").write_bytes(buffer.getvalue()[:-400])
        (folder / "train.csv").write_text(HEADER + "d.jpg,3,1 2\n")
        with pytest.raises(DataError, match=r"d.jpg' cannot be read as an image .*truncated.*\(train.csv, line 2\)"):
            check_images(read(folder, (64, 64)), ["d.jpg"])

    def test_gone_since(self, folder: Path) -> None:
        plates = read(folder, SHAPE)
        (folder / "train_images" / "a.png").unlink()
        with pytest.raises(DataError, match=r"a.png' cannot be read .*\(train.csv, line 2\)"):
            plates.image("a.png")

    def test_every_image_is_looked_at(self, folder: Path) -> None:
        seen: list[tuple[int, int]] = []
        assert check_images(read(folder, SHAPE), progress=lambda done, of: seen.append((done, of))) == 3
        assert seen == [(1, 3), (2, 3), (3, 3)]


class TestMasterTable:
    def test_columns_of_the_report(self, folder: Path) -> None:
        plates = read(folder, SHAPE)
        master = master_table(plates.table, plates.images)
        assert list(master.columns) == ["ImageId", "Defect", "Defect_no", "ClassId", "EncodedPixels"]
        assert master["Defect"].tolist() == ["yes", "yes", "no"]
        assert master["Defect_no"].tolist() == [2, 1, 0]
        assert master["ClassId"].tolist() == [[1, 3], [4], [0]]
        assert master["EncodedPixels"].tolist()[:2] == [["5 1", "1 2 9 4"], ["96 1"]]
        assert np.isnan(master["EncodedPixels"][2])

    def test_from_files(self, folder: Path) -> None:
        plates = read(folder, SHAPE)
        master = master_table(folder / "train.csv", folder / "train_images", SHAPE)
        assert master.equals(master_table(plates.table, plates.images))
        with pytest.raises(DataError, match="past the end"):
            master_table(folder / "train.csv", folder / "train_images", (2, 2))

    def test_an_image_that_is_not_there(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"names the image 'a.png', which is not among the 1 images"):
            master_table(read(folder, SHAPE).table, ["b.png"])
