"""End to end: from a folder in the layout of VOC2012 to the result of an experiment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from shrinknet.applications.edges.data import Cropping, CropReader, edge_data, split
from shrinknet.applications.edges.photographs import photographs
from shrinknet.applications.edges.prepare import prepare_edges
from shrinknet.applications.edges.stream import Batches, crop_files
from shrinknet.applications.edges.targets import Canny, Sobel
from shrinknet.cli.program import program
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.files import read_grey

CORRUPT = "2008_000003"


def photograph(number: int, height: int, width: int) -> Image.Image:
    """Discs and bars of varying brightness; every third photograph is a grey JPEG, as a few in VOC2012 are."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[:height, :width]
    image = np.full((height, width), 60.0)
    for _ in range(6):
        row, column, radius = generator.integers(0, height), generator.integers(0, width), generator.integers(4, 14)
        image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = generator.integers(0, 256)
    grey = (image + generator.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)
    if number % 3 == 0:
        return Image.fromarray(grey)
    return Image.fromarray(np.stack([grey, grey[::-1], grey[:, ::-1]], -1))


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Two roots, as in the archives: train and val in one, test in the other; one JPEG is truncated."""
    sets = {
        "VOC2012": {"train": ["2007_000027", "2007_000032", CORRUPT], "val": ["2007_000033", "2008_000002"]},
        "VOC2012test": {"test": ["2008_000001", "2008_000004", "2008_000005"]},
    }
    number = 0
    for root, parts in sets.items():
        pictures, main = tmp_path / root / "JPEGImages", tmp_path / root / "ImageSets" / "Main"
        for folder in (pictures, main, tmp_path / root / "Annotations", tmp_path / root / "SegmentationClass"):
            folder.mkdir(parents=True)
        for part, names in parts.items():
            (main / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
            (main / f"aeroplane_{part}.txt").write_text("".join(f"{name} {-1:2d}\n" for name in names))
            for name in names:
                photograph(number, 50 + 7 * number, 71 - 3 * number).save(pictures / f"{name}.jpg")
                number += 1
        listed = [name for names in parts.values() for name in names]
        (main / "trainval.txt").write_text("".join(f"{name}\n" for name in listed))
        (tmp_path / root / "SegmentationClass" / f"{listed[0]}.png").write_bytes(b"no photograph")
    broken = tmp_path / "VOC2012" / "JPEGImages" / f"{CORRUPT}.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    return tmp_path / "VOC2012", tmp_path / "VOC2012test"


def test_edge_maps_are_made_once_and_are_those_of_the_whole_photograph(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    cache = tmp_path / "cache"
    first = prepare_edges(roots, cache, progress=lambda done, total: told.append((done, total)))
    assert (first.photographs, first.made, first.found) == (8, 7, 0)
    assert list(first.skipped) == [CORRUPT]
    assert "cannot be read" in first.skipped[CORRUPT]
    assert told == [(number, 8) for number in range(1, 9)]
    assert (first.smallest, first.largest) == ("50 x 71", "99 x 50")
    files = sorted(path.stem for path in (cache / "canny-100-200-0").iterdir())
    assert files == sorted({one.name for one in photographs(roots)} - {CORRUPT})
    maps = [read_grey(path) for path in (cache / "canny-100-200-0").iterdir()]
    assert first.share == pytest.approx(sum(one.sum() for one in maps) / sum(one.size for one in maps))
    for one in photographs(roots):
        if one.name != CORRUPT:
            assert np.array_equal(read_grey(cache / "canny-100-200-0" / f"{one.name}.png"), Canny()(one.read()))
    again = prepare_edges(roots, cache)
    assert (again.made, again.found) == (0, 7)
    other = prepare_edges(roots[1], cache, kind="sobel", sigma=1.5, jobs=1)
    assert (other.photographs, other.made) == (3, 3)
    assert (cache / "sobel-1.5").is_dir()
    assert not np.array_equal(Sobel()(photographs(roots[1])[0].read()), Sobel(1.5)(photographs(roots[1])[0].read()))


def test_strict_fails_at_a_corrupt_file(roots: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{CORRUPT}.jpg' cannot be read"):
        prepare_edges(roots, tmp_path / "cache", strict=True)
    with pytest.raises(OptionError, match="low <= high"):
        prepare_edges(roots, tmp_path / "cache", low=300)


def test_the_command_prints_what_it_did(roots: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["data", "edges", *map(str, roots), "--cache", str(tmp_path / "cache"), "--low", "50", "--high", "150"]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 0, result.stderr
    assert "8 photographs, 7 edge maps computed, 0 found, 1 skipped" in result.stdout
    assert f"skipped {CORRUPT}: " in result.stdout
    record = json.loads(CliRunner().invoke(program, [*arguments, "--json"]).stdout)
    assert (record["made"], record["found"]) == (0, 7)
    assert record["folder"] == str(tmp_path / "cache")
    assert (tmp_path / "cache" / "canny-50-150-0").is_dir()
    strict = CliRunner().invoke(program, [*arguments, "--strict"])
    assert strict.exit_code == 2
    assert "repair, replace or remove it" in strict.stderr


@pytest.mark.parametrize("cropping", [Cropping(48, train=1, grid=1), Cropping(40, train=3, grid=2)])
def test_crops_read_from_disk_are_those_in_memory(roots: tuple[Path, Path], tmp_path: Path, cropping: Cropping) -> None:
    data = edge_data(roots, cropping, shares=(0.5, 0.25, 0.25), seed=3, on_error="skip")
    chosen = split(photographs(roots), (0.5, 0.25, 0.25), seed=3)
    files, skipped = crop_files(CropReader(chosen, cropping, Canny(), 3, cache=tmp_path / "cache"), skip=True)
    assert skipped == data.skipped
    for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        assert files[name].samples == len(part)
        rows = np.arange(len(part))[::-1]
        x, y = files[name].take(rows)
        assert np.array_equal(x, part.x[rows])
        assert np.array_equal(y, part.y[rows])
    with pytest.raises(DataError, match="cannot be read"):
        crop_files(CropReader(chosen, cropping, Canny(), 3), skip=False)
    with pytest.raises(DataError, match="expected at least 99 x 99"):
        crop_files(CropReader(chosen, Cropping(99, pad=False), Canny(), 3), skip=False)


def test_batches_come_in_order_as_often_as_they_are_wanted() -> None:
    rows = [np.array([number, number + 1]) for number in range(30)]
    batches = Batches(lambda wanted: (wanted, -wanted), rows)
    assert len(batches) == 30
    for _ in range(2):
        assert [x.tolist() for x, _ in batches] == [row.tolist() for row in rows]
    iterator = iter(batches)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]  whoever stops early leaves no thread behind


def test_batches_propagate_errors() -> None:
    def take(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise DataError("gone")

    with pytest.raises(DataError, match="gone"):
        list(Batches(take, [np.arange(3)]))


@pytest.mark.slow
def test_an_experiment_on_photographs_of_voc(roots: tuple[Path, Path], tmp_path: Path) -> None:
    from shrinknet.experiments import correlations

    settings = correlations.Correlations.preset(
        "smoke", images=tuple(map(str, roots)), shares=(3, 2, 2), crop=40, train_crops=1, grid=1, on_error="skip",
        repetitions=1, warmup_steps=20, steps=6, every=3, cache=str(tmp_path / "cache"), memory=0,
    )  # fmt: skip
    result = correlations.run(settings, tmp_path / "out", preset="smoke")
    assert result.repetitions == 1
    points = (tmp_path / "out" / "points.csv").read_text().splitlines()
    assert len(points) == 1 + 10
    assert not any("VOC2012" in path.read_text() for path in (tmp_path / "out" / "units").rglob("*.json"))
