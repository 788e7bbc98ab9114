"""The edge application: photographs, targets, crops, the network and its task."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shrinknet.applications.edges.data import PARTS, Cropping, Part, edge_data, split
from shrinknet.applications.edges.photographs import SCIKIT_IMAGE, Photograph, photographs
from shrinknet.applications.edges.targets import Canny, Sobel, target_named
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.files import read_grey


def scene(seed: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    """A grey image with a bright disc on a dark background, uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    row, column = generator.integers(10, 30, 2)
    inside = (rows - row) ** 2 + (columns - column) ** 2 < 81
    return np.where(inside, 200, 40).astype(np.uint8) + generator.integers(0, 9, shape).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight photographs, one of them in a subfolder."""
    (tmp_path / "more").mkdir()
    for number in range(8):
        Image.fromarray(scene(number)).save(tmp_path / ("more" if number == 7 else ".") / f"{number}.png")
    return tmp_path


def voc(root: Path, ids: dict[str, list[str]], also: tuple[str, ...] = ()) -> Path:
    """The real layout of VOC2012: odd sizes, a grey JPEG, class lists next to the plain image sets."""
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for number, name in enumerate([name for names in ids.values() for name in names] + list(also)):
        grey = scene(number, (33 + number, 47 - number))
        image = Image.fromarray(grey if number == 1 else np.stack([grey] * 3, -1))
        image.save(root / "JPEGImages" / f"{name}.jpg")
    for part, names in ids.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        lines = "".join(f"{name} {sign:2d}\n" for name, sign in zip([*names, "2099_000000"], [1, -1] * 9, strict=False))
        (root / "ImageSets" / "Main" / f"aeroplane_{part}.txt").write_text(lines)
    return root


class TestTargets:
    def test_canny_is_that_of_opencv(self) -> None:
        import cv2

        image = scene(0)
        expected = cv2.Canny(cv2.GaussianBlur(image, (0, 0), 1.0), 60, 120, L2gradient=True) > 0
        edges = Canny(60, 120, sigma=1.0)(image / np.float32(255))
        assert edges.dtype == np.float32
        assert set(np.unique(edges)) == {0.0, 1.0}
        assert (edges != expected).mean() < 0.002  # we smooth in float, OpenCV in integers
        assert 0 < edges.sum() < 200

    def test_thresholds_and_smoothing_count(self) -> None:
        image = np.random.default_rng(0).random((40, 40), np.float32)
        shares = [Canny(*options)(image).mean() for options in ((50, 100), (300, 600), (50, 100, 3.0))]
        assert shares[0] > shares[1] > shares[2]

    def test_sobel_is_the_gradient_by_hand(self) -> None:
        image = np.random.default_rng(0).random((12, 9), np.float32)
        across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        edges = Sobel()(image)
        for row, column in ((1, 1), (5, 4), (10, 7)):
            patch = image[row - 1 : row + 2, column - 1 : column + 2]
            magnitude = np.hypot((patch * across).sum(), (patch * across.T).sum())
            assert edges[row, column] == pytest.approx(magnitude / np.sqrt(20), abs=1e-5)

    def test_sobel_reaches_one_and_never_exceeds_it(self) -> None:
        tops = [
            Sobel()(np.pad(np.reshape(bits, (3, 3)), 2, mode="edge").astype(np.float32))[3, 3]
            for bits in product((0, 1), repeat=9)
        ]
        assert max(tops) == pytest.approx(1, abs=1e-6)

    def test_a_target_without_a_name_is_refused(self) -> None:
        with pytest.raises(OptionError, match="one of canny, sobel"):
            target_named("roberts")
        with pytest.raises(OptionError, match="low <= high"):
            Canny(200, 100)
        with pytest.raises(OptionError, match="sigma"):
            Sobel(-1)


class TestPhotographs:
    def test_the_default_ones_exist_and_each_has_a_part(self) -> None:
        found = photographs()
        assert len(found) == len({photograph.name for photograph in found}) == 14
        assert all(photograph.path.is_file() for photograph in found)
        assert {photograph.part for photograph in found} == set(PARTS) == set(SCIKIT_IMAGE)

    def test_a_folder(self, folder: Path) -> None:
        Image.fromarray(scene(9)).save(folder / "0.jpg")  # not the same photograph as 0.png
        names = [photograph.name for photograph in photographs([folder, str(folder)])]
        assert names == ["0.jpg", *(f"{number}.png" for number in range(7)), "more/7.png"]

    def test_two_roots_in_the_layout_of_voc(self, tmp_path: Path) -> None:
        sets = {"train": ["2007_000032"], "val": ["2007_000033"], "trainval": ["2007_000032", "2007_000033"]}
        first = voc(tmp_path / "VOC2012", sets, also=("2007_000999",))
        second = voc(tmp_path / "VOC2012test", {"test": ["2008_000001"]})
        found = photographs((first, second))
        assert [photograph.name for photograph in found] == ["2007_000032", "2007_000033", "2008_000001"]
        assert found[2].path == second / "JPEGImages" / "2008_000001.jpg"

    def test_voc_without_sets_gives_all_images(self, tmp_path: Path) -> None:
        root = voc(tmp_path, {}, also=("2007_000999",))
        assert [photograph.name for photograph in photographs(root)] == ["2007_000999"]

    def test_an_image_set_cannot_point_elsewhere(self, tmp_path: Path) -> None:
        root = voc(tmp_path, {"val": ["2007_000033"]})
        (root / "ImageSets" / "Main" / "test.txt").write_text("../../secret\n")
        with pytest.raises(DataError, match="expected names of files"):
            photographs(root)

    def test_nothing_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="found none"):
            photographs(tmp_path)
        with pytest.raises(DataError, match="not a folder"):
            photographs(tmp_path / "nowhere")


class TestSplit:
    def test_is_by_photograph_by_seed_and_by_share(self, folder: Path) -> None:
        found = photographs(folder)
        first, again, other = (split(found, (0.5, 0.25, 0.25), seed) for seed in (1, 1, 2))
        assert first == again != other
        assert sorted(photograph.path for photograph in first) == [photograph.path for photograph in found]
        assert [sum(one.part == part for one in first) for part in PARTS] == [4, 2, 2]

    def test_numbers_of_photographs(self, folder: Path) -> None:
        parts = [photograph.part for photograph in split(photographs(folder), (3, 1, 2))]
        assert [parts.count(part) for part in PARTS] == [3, 1, 2]

    def test_the_fixed_assignment_stays(self) -> None:
        assert split(photographs(), seed=5) == photographs()

    @pytest.mark.parametrize("shares", [(0.9, 0.2, 0.2), (0.5, 0.0, 0.5), (7, 1, 1), (0.5, -0.1, 0.1)])
    def test_invalid_shares_are_refused(self, folder: Path, shares: tuple[float, float, float]) -> None:
        with pytest.raises(OptionError, match=r"shares|there are 8"):
            split(photographs(folder), shares)

    def test_too_few_photographs(self) -> None:
        with pytest.raises(OptionError, match="there are 2"):
            split([Photograph("a", Path("a")), Photograph("b", Path("b"))])


class TestCropping:
    def test_held_out_crops_lie_on_a_grid(self) -> None:
        corners = Cropping(10, grid=3).corners((30, 20), "test", np.random.default_rng())
        assert corners == [(row, column) for row in (0, 10, 20) for column in (0, 5, 10)]

    def test_a_single_crop_is_the_centre(self) -> None:
        for part in PARTS:
            assert Cropping(10, train=1, grid=1).corners((31, 20), part, np.random.default_rng()) == [(10, 5)]

    def test_training_crops_reach_every_corner(self) -> None:
        corners = Cropping(10, train=200).corners((12, 11), "train", np.random.default_rng(0))
        assert set(corners) == set(product(range(3), range(2)))

    def test_sizes_below_one_are_refused(self) -> None:
        with pytest.raises(OptionError, match="at least 1"):
            Cropping(size=0)


class TestEdgeData:
    def test_shapes_ranges_and_parts(self, folder: Path) -> None:
        data = edge_data(folder, Cropping(16, train=3, grid=2), shares=(0.5, 0.25, 0.25))
        assert (len(data.train), len(data.validation), len(data.test)) == (12, 8, 8)
        for part in (data.train, data.validation, data.test):
            assert part.x.shape == part.y.shape == (len(part), 16, 16, 1)
            assert part.x.dtype == part.y.dtype == np.float32
            assert 0 <= part.x.min() < part.x.max() <= 1
            assert set(np.unique(part.y)) <= {0.0, 1.0}
        names = [set(part.names) for part in (data.train, data.validation, data.test)]
        assert sum(map(len, names)) == len(set.union(*names)) == 8

    def test_edges_are_those_of_the_whole_photograph(self, folder: Path) -> None:
        data = edge_data(folder, Cropping(16, train=1, grid=1), target="sobel")
        image = photographs(folder)[-1].read()
        for part in (data.train, data.validation, data.test):
            for x, y, name in zip(part.x, part.y, part.names, strict=True):
                if name == "more/7.png":
                    assert np.array_equal(x[..., 0], image[12:28, 17:33])
                    assert np.array_equal(y[..., 0], Sobel()(image)[12:28, 17:33])
                    assert not np.allclose(y[..., 0], Sobel()(x[..., 0]))

    def test_the_same_seed_gives_the_same_crops(self, folder: Path) -> None:
        first, again, other = (edge_data(folder, Cropping(16, train=2), seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(first.train.x, again.train.x)
        assert first.test.names == again.test.names
        assert not np.array_equal(first.train.x, other.train.x)

    def test_small_photographs_are_mirrored_or_are_errors(self, folder: Path) -> None:
        padded = edge_data(folder, Cropping(48, train=1, grid=1), target="sobel").test
        assert np.array_equal(padded.x[:, 3], padded.x[:, 4])
        assert np.array_equal(padded.y[:, 0], padded.y[:, 7])
        image = next(photograph for photograph in photographs(folder) if photograph.name == padded.names[0]).read()
        assert np.array_equal(padded.y[0, 4:44, :, 0], Sobel()(image)[:, 1:49])
        with pytest.raises(DataError, match=r"40 x 50 pixels; expected at least 48 x 48"):
            edge_data(folder, Cropping(48, pad=False))

    def test_a_corrupt_photograph_fails_or_is_listed(self, folder: Path) -> None:
        (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:99])
        with pytest.raises(DataError, match=r"3\.png' cannot be read"):
            edge_data(folder, 16)
        data = edge_data(folder, 16, on_error="skip")
        assert list(data.skipped) == ["3.png"]
        assert "cannot be read" in data.skipped["3.png"]
        assert not any("3.png" in part.names for part in (data.train, data.validation, data.test))

    def test_nothing_left_for_a_part(self, folder: Path) -> None:
        for path in folder.rglob("*.png"):
            path.write_bytes(b"")
        with pytest.raises(DataError, match="No photograph is left for train"):
            edge_data(folder, 16, on_error="skip")

    def test_voc_from_end_to_end(self, tmp_path: Path) -> None:
        names = [f"2007_{number:06d}" for number in range(6)]
        root = voc(tmp_path, {"train": names[:3], "val": names[3:]})
        (root / "JPEGImages" / f"{names[4]}.jpg").write_bytes(b"\xff\xd8\xff")
        data = edge_data(root, Cropping(32, train=1, grid=1), shares=(0.5, 0.25, 0.25), on_error="skip")
        assert list(data.skipped) == [names[4]]
        assert len(data.train) + len(data.validation) + len(data.test) == 5

    def test_progress_is_told(self, folder: Path) -> None:
        told: list[tuple[int, int]] = []
        edge_data(folder, 16, progress=lambda done, total: told.append((done, total)))
        assert told == [(number, 8) for number in range(1, 9)]

    def test_the_default_photographs(self) -> None:
        data = edge_data(crop=Cropping(64, train=2))
        assert len(data.train) == 2 * 7
        assert set(data.test.names) == {"camera", "chelsea", "grass", "rocket"}
        assert 0.02 < data.train.y.mean() < 0.2

    def test_options_are_checked(self, folder: Path) -> None:
        with pytest.raises(OptionError, match="fail or skip"):
            edge_data(folder, on_error="ignore")  # type: ignore[arg-type]


class TestCache:
    @pytest.mark.parametrize("target", ["canny", "sobel"])
    def test_holds_every_edge_map_exactly(self, folder: Path, tmp_path_factory, monkeypatch, target: str) -> None:
        cache = tmp_path_factory.mktemp("cache")
        plain = edge_data(folder, 16, target=target)
        first = edge_data(folder, 16, target=target, cache=cache)
        files = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())
        name = {"canny": "canny-100-200-0", "sobel": "sobel-0"}[target]
        assert files == [f"{name}/{number}.png.png" for number in range(7)] + [f"{name}/more/7.png.png"]
        for kind in (Canny, Sobel):
            monkeypatch.setattr(kind, "__call__", lambda self, image: pytest.fail("computed again"))
        again = edge_data(folder, 16, target=target, cache=cache)
        for data in (first, again):
            assert np.array_equal(data.train.y, plain.train.y)
            assert np.array_equal(data.test.y, plain.test.y)

    def test_a_changed_photograph_or_a_damaged_file_is_recomputed(self, folder: Path, tmp_path_factory) -> None:
        cache = tmp_path_factory.mktemp("cache")
        edge_data(folder, 16, cache=cache)
        Image.fromarray(scene(99)).save(folder / "0.png")
        damaged = cache / "canny-100-200-0" / "1.png.png"
        damaged.write_bytes(damaged.read_bytes()[:-40])
        cached, plain = edge_data(folder, 16, cache=cache), edge_data(folder, 16)
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(cached, part).y, getattr(plain, part).y)
        assert read_grey(damaged).shape == (40, 50)

    def test_a_folder_that_cannot_be_written_is_named(self, folder: Path, tmp_path_factory) -> None:
        cache = tmp_path_factory.mktemp("cache") / "file"
        cache.touch()
        with pytest.raises(OptionError, match=r"cannot be written to .*file.*name another folder"):
            edge_data(folder, 16, cache=cache, on_error="skip")


class TestNetwork:
    def test_is_that_of_the_thesis(self) -> None:
        from shrinknet.applications.edges.model import edge_network

        model = edge_network(16, seed=1)
        assert [layer.kernel.shape for layer in model.layers] == [(5, 5, 1, 5), (5, 5, 5, 5), (5, 5, 5, 1)]
        assert model.count_params() == 130 + 630 + 126
        kernels = np.concatenate([np.asarray(layer.kernel).ravel() for layer in model.layers])
        assert np.abs(kernels).max() <= 0.1  # two standard deviations
        assert 0.03 < kernels.std() < 0.05
        assert not any(np.asarray(layer.bias).any() for layer in model.layers)
        output = np.asarray(model(np.random.default_rng(0).random((2, 16, 16, 1), np.float32)))
        assert output.shape == (2, 16, 16, 1)
        assert output.min() >= 0

    def test_the_seed_fixes_the_kernels(self) -> None:
        from shrinknet.applications.edges.model import edge_network

        first, again, other = (edge_network(16, seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[0], other[0])

    def test_any_size_of_image(self) -> None:
        from shrinknet.applications.edges.model import edge_network

        model = edge_network(None, widths=(2, 1), kernel=3, seed=0)
        assert model(np.zeros((1, 7, 11, 1), np.float32)).shape == (1, 7, 11, 1)

    def test_a_start_without_output_is_drawn_again(self) -> None:
        from shrinknet.applications.edges.model import edge_network

        white = np.ones((1, 16, 16, 1), np.float32)
        # with 1x1 kernels and one filter, three of four initializations output only zeros
        assert all(np.asarray(edge_network(16, widths=(1, 1), kernel=1, seed=seed)(white)).any() for seed in range(6))

    @pytest.mark.parametrize(
        "options", [{"widths": (5, 2)}, {"widths": ()}, {"widths": (0, 1)}, {"kernel": 0}, {"learning_rate": 0.0}]
    )
    def test_options_are_checked(self, options: dict[str, object]) -> None:
        from shrinknet.applications.edges.model import edge_network

        with pytest.raises(OptionError, match="widths of at least 1"):
            edge_network(16, **options)  # type: ignore[arg-type]

    def test_learns(self) -> None:
        from shrinknet.applications.edges.model import edge_network

        data = edge_data(crop=Cropping(32, train=8))
        model = edge_network(32, learning_rate=5e-3, seed=1)
        before = model.evaluate(data.train.x, data.train.y, verbose=0, return_dict=True)["soft_f1"]
        model.fit(data.train.x, data.train.y, batch_size=3, epochs=6, verbose=0)
        after = model.evaluate(data.train.x, data.train.y, verbose=0, return_dict=True)
        assert after["soft_f1"] > before + 0.1
        assert set(after) == {"loss", "soft_f1", "mae", "mse"}


class TestTask:
    def test_holds_a_network_that_fits_the_data(self, folder: Path) -> None:
        from shrinknet.applications.edges.task import edge_task

        task = edge_task(Cropping(16, train=2), widths=(3, 1), kernel=3, target="sobel", root=folder, seed=3)
        assert task.model.output_shape[1:] == task.train[1].shape[1:]
        assert [layer.filters for layer in task.model.layers] == [3, 1]
        assert len(np.unique(task.train[1])) > 2

    def test_samples_show_each_photograph_where_most_edges_are(self) -> None:
        from shrinknet.applications.edges.task import with_most_edges

        edges = np.array([1, 3, 2, 9, 0, 8], np.float32)[:, None, None, None]
        part = Part(edges, edges, ("a", "a", "a", "b", "b", "c"))
        assert with_most_edges(part, 3).y.ravel().tolist() == [3, 9, 8]
        assert with_most_edges(part, 5).y.ravel().tolist() == [3, 2, 9, 0, 8]
        assert with_most_edges(part, 2).names == ("b", "c")
        assert with_most_edges(part, 99).x.shape[0] == 6
