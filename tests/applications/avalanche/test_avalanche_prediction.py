"""Prediction: tiles and boxes change nothing, files give the same, and nothing is left half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from marking import slow
from PIL import Image

from shrinknet.applications.avalanche import dense_network, predict_image, window_classifier, windows
from shrinknet.applications.avalanche.outputs import Finishing, drawn, predict_files
from shrinknet.applications.avalanche.passes import column_maxima, edges, two_passes
from shrinknet.applications.avalanche.prediction import predictor
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.files.tables import read_csv
from shrinknet.imaging.polygons import outline

SIDE = 7


@pytest.fixture(scope="module")
def classifier() -> Any:
    model = window_classifier((SIDE, SIDE, 3), widths=(4,), seed=0)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0.1, 0.5, value.shape) ** 2 if value.ndim == 1 else 3 * value
                       for value in model.get_weights()])  # fmt: skip
    return model


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (23, 31, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def expected(classifier: Any, image: np.ndarray) -> np.ndarray:
    """Window by window, by hand."""
    logits = classifier.predict_on_batch(windows(image, None, SIDE)[:][0]).reshape(23, 31)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def litert(model: Any, path: Path) -> Path:
    model.export(str(path), format="litert", verbose=False)
    return path


def bright(side: int = 3) -> Any:
    """A network that marks what is bright: the logit is the mean of a window, less a half, times forty."""
    model = keras.Sequential([keras.Input((side, side, 3)), layers.Flatten(), layers.Dense(1)])
    model.layers[-1].set_weights([np.full((3 * side * side, 1), 40 / (3 * side * side)), np.array([-20.0])])
    return model


@pytest.fixture(scope="module")
def files(classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    classifier.save(folder / "windows.keras")
    dense_network(classifier).save(folder / "dense.keras")
    litert(classifier, folder / "windows.tflite")
    litert(dense_network(classifier, size=(20, 24)), folder / "dense.tflite")
    litert(dense_network(classifier), folder / "any-size.tflite")
    return folder


class TestTilesAndBoxes:
    @pytest.mark.parametrize("method", ["dense", "windows"])
    @pytest.mark.parametrize("tile", [5, 16, 1000])
    def test_they_change_nothing(
        self, classifier: Any, image: np.ndarray, expected: np.ndarray, method: str, tile: int
    ) -> None:
        found = predict_image(classifier, image, method=method, tile=tile)
        assert (found.shape, found.dtype) == ((23, 31), np.float32)
        assert np.abs(found - expected).max() < 1e-5
        box = (3, 5, 20, 19)
        inside = predict_image(classifier, image, box, method=method, tile=tile)
        assert np.abs(inside[5:19, 3:20] - expected[5:19, 3:20]).max() < 1e-5
        inside[5:19, 3:20] = 0
        assert not inside.any()

    def test_an_image_smaller_than_a_window(self, classifier: Any) -> None:
        image = np.random.default_rng(0).random((3, 2, 3)).astype(np.float32)
        logits = classifier.predict_on_batch(windows(image, None, SIDE)[:][0]).reshape(3, 2)
        assert np.allclose(predict_image(classifier, image), 1 / (1 + np.exp(-logits)), atol=1e-5)

    @pytest.mark.parametrize(
        ("box", "sentence"),
        [
            ((0, 0, 32, 23), "reaches beyond the image, which is 31 pixels wide and 23 high"),
            ((-1, 0, 5, 5), "reaches beyond the image"),
            ((40, 40, 50, 50), "reaches beyond the image"),
            ((5, 5, 5, 9), "is empty: expected left < right"),
            ((1, 2, 3), "four whole numbers, left, top, right and bottom"),
            ((0.5, 0, 5, 5), "four whole numbers"),
            ("abcd", "four whole numbers"),
        ],
    )
    def test_bad_boxes(self, classifier: Any, image: np.ndarray, box: Any, sentence: str) -> None:
        with pytest.raises(DataError, match=sentence):
            predict_image(classifier, image, box)

    def test_progress_and_time_left(self, classifier: Any, image: np.ndarray) -> None:
        heard: list[tuple[int, int, float]] = []
        predict_image(classifier, image, tile=16, progress=lambda *one: heard.append(one))
        assert [(done, of) for done, of, _ in heard] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert heard[0][2] > 0
        assert heard[-1][2] == 0

    def test_grey_where_colour_is_expected_and_the_other_way_round(self, classifier: Any, image: np.ndarray) -> None:
        grey = image[..., 0]
        assert np.array_equal(predict_image(classifier, grey),
                              predict_image(classifier, np.repeat(grey[..., None], 3, -1)))  # fmt: skip
        one = window_classifier((SIDE, SIDE, 1), widths=(2,))
        assert predict_image(one, image).shape == (23, 31)

    def test_bad_options(self, classifier: Any, image: np.ndarray) -> None:
        with pytest.raises(OptionError, match="There is no method 'quick'"):
            predict_image(classifier, image, method="quick")
        with pytest.raises(OptionError, match="tiles of at least 1 pixel"):
            predict_image(classifier, image, tile=0)

    def test_bodies_that_pad_are_predicted_window_by_window(self, image: np.ndarray) -> None:
        model = keras.Sequential([
            keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
            layers.GlobalAveragePooling2D(), layers.Dense(1),
        ])  # fmt: skip
        logits = model.predict_on_batch(windows(image, None, 8)[:][0]).reshape(23, 31)
        assert predictor(model).window == (8, 8)
        assert np.allclose(predict_image(model, image), 1 / (1 + np.exp(-logits)), atol=1e-5)
        with pytest.raises(ModelError, match="puts zeros around every window"):
            predict_image(model, image, method="dense")
        rough = predict_image(model, image, method="approximate")
        assert rough.shape == (23, 31)
        assert predictor(model, "approximate").window is None
        assert predictor(model, "fast").window is None  # what is exact would take long
        assert np.array_equal(predict_image(model, image, method="fast"), rough)


class TestFiles:
    @pytest.mark.parametrize(
        "name", [slow("windows.keras"), "dense.keras", "windows.tflite", slow("dense.tflite"), "any-size.tflite"]
    )
    def test_they_give_the_same(self, files: Path, image: np.ndarray, expected: np.ndarray, name: str) -> None:
        assert np.abs(predict_image(files / name, image, tile=16) - expected).max() < 1e-4
        inside = predict_image(files / name, image, (4, 2, 30, 20), tile=16)
        assert np.abs(inside[2:20, 4:30] - expected[2:20, 4:30]).max() < 1e-4

    def test_images_from_files(self, files: Path, image: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
        Image.fromarray(image).save(tmp_path / "a.png")
        assert np.abs(predict_image(files / "dense.tflite", tmp_path / "a.png") - expected).max() < 1e-4
        with pytest.raises(DataError, match="cannot be read as an image"):
            predict_image(files / "dense.tflite", tmp_path / "b.png")

    def test_what_cannot_be_used(self, files: Path, image: np.ndarray, classifier: Any, tmp_path: Path) -> None:
        with pytest.raises(
            OptionError, match="holds a window classifier, which can only be predicted window by window"
        ):
            predict_image(files / "windows.tflite", image, method="dense")
        small = litert(dense_network(classifier, size=(6, 6)), tmp_path / "small.tflite")
        with pytest.raises(ModelError, match=r"takes images of 6 x 6 pixels.*export it for larger tiles"):
            predict_image(small, image)
        inputs = keras.Input((None, None, 3), name="anything")
        litert(keras.Model(inputs, layers.Conv2D(1, 1)(inputs)), tmp_path / "other.tflite")
        with pytest.raises(ModelError, match="export what dense_network makes"):
            predict_image(tmp_path / "other.tflite", image)
        inputs = keras.Input((5, 5, 3))
        litert(keras.Model(inputs, layers.Conv2D(1, 1)(inputs)), tmp_path / "maps.tflite")
        with pytest.raises(ModelError, match=r"no window classifier: expected an output of shape \(windows, outputs\)"):
            predict_image(tmp_path / "maps.tflite", image)
        with pytest.raises(ModelError, match=r"missing.keras"):
            predict_image(tmp_path / "missing.keras", image)


class TestPasses:
    def test_column_maxima(self) -> None:
        probability = np.array([[0.1, 0.9, 0.2], [0.8, 0.3, 0.2], [0.2, 0.1, 0.7]], np.float32)
        assert column_maxima(probability).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
        assert column_maxima(probability, (1, 1, 3, 2)).tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 0]]

    @pytest.mark.parametrize("canvas", ["image", "prediction"])
    def test_the_second_prediction_sees_the_edges_of_the_first(self, canvas: str) -> None:
        image = np.full((30, 40, 3), 60, np.uint8)
        image[8:22, 10:30] = 200
        model = bright()
        found = two_passes(model, image, canvas=canvas)
        assert np.array_equal(found.first, predict_image(model, image))
        assert found.edges.any()
        assert np.array_equal(found.edges, edges(found.first))
        white = found.edges > 0
        assert (found.enhanced[white] == 1).all()
        base = image / 255 if canvas == "image" else np.repeat(found.first[..., None], 3, -1)
        assert np.allclose(found.enhanced[~white], base[~white], atol=1e-6)
        assert np.array_equal(found.second, predict_image(model, found.enhanced))
        assert found.second_edges.shape == (30, 40)

    def test_bad_options(self) -> None:
        with pytest.raises(OptionError, match="a canvas out of image, prediction"):
            two_passes(bright(), np.zeros((5, 5, 3), np.uint8), canvas="paper")


class TestOutputs:
    @pytest.fixture
    def photographs(self, tmp_path: Path) -> list[Path]:
        paths = []
        for number in range(2):
            image = np.full((40, 50, 3), 60, np.uint8)
            image[8:28, 10 : 30 + 5 * number] = 220
            image[35, 45] = 255
            paths.append(tmp_path / f"slope-{number}.png")
            Image.fromarray(image).save(paths[-1])
        return paths

    def test_masks_overlays_polygons_and_a_table(self, photographs: list[Path], tmp_path: Path) -> None:
        heard: list[tuple[str, int, int, float]] = []
        finishing = Finishing(opening=0, closing=0, smoothing=0.3)
        table = predict_files(bright(), photographs, tmp_path / "out", finishing=finishing,
                              progress=lambda *one: heard.append(one))  # fmt: skip
        assert [one[:3] for one in heard] == [("slope-0.png", 1, 1), ("slope-1.png", 1, 1)]
        assert read_csv(tmp_path / "out" / "areas.csv").equals(table.astype({"image": "str"}))
        for number, row in table.iterrows():
            name = f"slope-{number}"
            with Image.open(tmp_path / "out" / "masks" / f"{name}.png") as picture:
                mask = np.asarray(picture) // 255
            probability = predict_image(bright(), photographs[number])
            assert np.array_equal(mask, finishing.mask(probability))
            assert mask.mean() == pytest.approx(row["share"])
            geojson = json.loads((tmp_path / "out" / "polygons" / f"{name}.geojson").read_text())
            assert geojson == json.loads(json.dumps(finishing.outline(probability).to_geojson(image=f"{name}.png")))
            assert row["regions"] == len(geojson["features"]) == 1
            assert row["area_pixels"] == pytest.approx(mask.sum(), rel=0.02)
            with Image.open(tmp_path / "out" / "overlays" / f"{name}.png") as picture:
                assert picture.size == (50, 40)

    def test_an_interruption_leaves_whole_files_and_no_table(self, photographs: list[Path], tmp_path: Path) -> None:
        def stop(name: str, done: int, of: int, left: float) -> None:
            if name == "slope-1.png":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict_files(bright(), photographs, tmp_path / "out", progress=stop)
        written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
        assert written == ["masks/slope-0.png", "overlays/slope-0.png", "polygons/slope-0.geojson"]

    def test_a_box_and_one_that_does_not_fit(self, photographs: list[Path], tmp_path: Path) -> None:
        table = predict_files(bright(), photographs[:1], tmp_path / "out", box=(0, 0, 20, 40))
        assert 0 < table["area_pixels"].iloc[0] < 250
        with pytest.raises(DataError, match=r"slope-0.png': The box 0,0,99,40 reaches beyond the image"):
            predict_files(bright(), photographs[:1], tmp_path / "other", box=(0, 0, 99, 40))
        assert not list((tmp_path / "other").rglob("*.*"))

    def test_bad_arguments(self, photographs: list[Path], tmp_path: Path) -> None:
        with pytest.raises(DataError, match="found none"):
            predict_files(bright(), [], tmp_path / "out")
        with pytest.raises(DataError, match="one name but for the suffix"):
            predict_files(bright(), [photographs[0], tmp_path / "slope-0.jpg"], tmp_path / "out")
        with pytest.raises(OptionError, match="cannot be made"):
            predict_files(bright(), photographs, photographs[0])
        with pytest.raises(OptionError, match="a threshold between 0 and 1"):
            Finishing(threshold=1)

    def test_the_polygon_is_drawn_where_the_region_ends(self) -> None:
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 5:20] = 1
        image = np.full((40, 40, 3), 128, np.uint8)
        picture = drawn(image, outline(mask, smoothing=0))
        changed = (picture != 128).any(-1)
        assert changed[10:30, 5:20].all()
        assert not changed[:8].any()
        assert not changed[:, 23:].any()


class TestMemory:
    @pytest.mark.slow
    def test_a_large_image_within_two_gibibytes(self) -> None:
        program = """
import resource, numpy
from shrinknet.applications.avalanche import predict_image, window_classifier
image = numpy.random.default_rng(0).integers(0, 256, (4256, 3694, 3), dtype=numpy.uint8)
found = predict_image(window_classifier((33, 33, 3), widths=(8, 8, 8)), image)
assert found.shape == (4256, 3694)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert int(found.stdout) < 2 * 2**20  # KiB


def test_outlines_of_predictions_have_the_size_of_the_image(image: np.ndarray) -> None:
    assert Finishing().outline(np.zeros((23, 31), np.float32)).shape == (23, 31)
