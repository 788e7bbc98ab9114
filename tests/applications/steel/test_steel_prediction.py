"""Prediction: a CSV that decodes to the same masks, the same masks from LiteRT, and nothing written by halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from shrinknet.applications.steel import build_mask, predict, rle2mask
from shrinknet.applications.steel.prediction import Outlining
from shrinknet.applications.steel.regions import least_regions, without_small
from shrinknet.applications.steel.table import read_rows
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.files.tables import read_csv
from shrinknet.imaging.networks import Network

SHAPE = (16, 32)


def painter(height: int | None = 16, width: int | None = 32, classes: int = 4) -> Any:
    """A network whose probability of class k is the grey value of the plate, less 0.2 (k - 1)."""
    inputs = keras.Input((height, width, 1))
    outputs = layers.Conv2D(classes, 1, name="masks")(inputs)
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([np.ones((1, 1, 1, classes)), -0.2 * np.arange(classes)])
    return model


@pytest.fixture
def grey() -> np.ndarray:
    """Five plates with a bright rectangle; the last one is dark."""
    plates = np.zeros((5, *SHAPE), np.float32)
    for number in range(4):
        plates[number, 2 : 6 + number, 3:20] = 0.6 + 0.2 * (number % 3)
    return plates


@pytest.fixture
def folder(tmp_path: Path, grey: np.ndarray) -> Path:
    (tmp_path / "plates").mkdir()
    for number, plate in enumerate(grey):
        Image.fromarray(np.rint(255 * plate).astype(np.uint8)).save(tmp_path / "plates" / f"{number}.png")
    return tmp_path / "plates"


def litert(model: Any, path: Path, sample: np.ndarray | None = None, batch: int | None = None) -> Path:
    """The model as a LiteRT file; with a sample in int8, its input and output, too."""
    import tensorflow as tf

    options: dict[str, Any] = {}
    if sample is not None:
        options = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": lambda: ([one[None]] for one in sample),
            "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
            "inference_input_type": tf.int8,
            "inference_output_type": tf.int8,
        }
    if batch:
        options["input_signature"] = [keras.InputSpec(shape=(batch, *SHAPE, 1), dtype="float32")]
    model.export(str(path), format="litert", verbose=False, **options)
    return path


class TestMasks:
    def test_they_are_what_the_network_says(self, grey: np.ndarray) -> None:
        prediction = predict(painter(), grey, outlining=Outlining(batch=2))
        assert len(prediction.images) == 5
        for name, plate in zip(prediction.images, grey, strict=True):
            expected = plate[..., None] - 0.2 * np.arange(4, dtype=np.float32) > 0.5
            assert np.array_equal(prediction.mask(name), expected)
        assert prediction.frames_per_second > 0
        with pytest.raises(DataError, match="No plate 'x'"):
            prediction.mask("x")

    def test_regions_are_measured(self, grey: np.ndarray) -> None:
        defects = predict(painter(), grey).defects
        first = defects[defects["image"] == "plate-00001"]
        assert first["class"].tolist() == [1]
        assert first[["area", "top", "left", "bottom", "right"]].values.tolist() == [[68, 2, 3, 6, 20]]
        assert defects[defects["image"] == "plate-00003"]["class"].tolist() == [1, 2, 3]

    def test_small_regions_are_left_out_of_masks_and_tables(self) -> None:
        plates = np.zeros((1, *SHAPE), np.float32)
        plates[0, :2, :2] = plates[0, 8:, 8:] = 0.6
        prediction = predict(painter(), plates, outlining=Outlining(least=5))
        assert prediction.mask("plate-00001")[:4].sum() == 0
        assert prediction.defects["area"].tolist() == [8 * 24]
        masks = np.zeros((6, 6, 1), np.uint8)
        masks[0, 0] = masks[1, 1] = masks[4:, 4:] = 1  # corners touch
        assert without_small(masks, 3)[..., 0].sum() == 4
        assert np.array_equal(without_small(masks, 2), masks)
        two = np.concatenate([masks, masks], axis=2)
        assert without_small(two, (1, 3)).sum((0, 1)).tolist() == [6, 4]

    def test_the_least_size_is_the_one_with_the_best_dice(self) -> None:
        truth = np.zeros((3, 16, 16, 2), bool)
        truth[0, :4, :4, 0] = truth[1, 8:, 8:, 1] = truth[2, 0, :3, 1] = True
        found = truth.copy()
        found[1:, 15, :3, 0] = True  # specks of three pixels on plates without the first class; as large as a defect
        found[0, 15, :3, 1] = True  # of the second, where leaving it out would cost as much as it gains
        assert least_regions(found, truth) == (4, 1)
        assert least_regions(found, truth, (2, 3)) == (2, 2)
        with pytest.raises(DataError, match="sizes of at least 1 pixel"):
            least_regions(found, truth, ())

    def test_a_network_of_another_size(self, grey: np.ndarray) -> None:
        prediction = predict(painter(8, 16), grey)
        wide = predict(painter(None, None), grey)
        for name in prediction.images:
            assert prediction.mask(name).shape == (*SHAPE, 4)
            assert (prediction.mask(name) != wide.mask(name)).mean() < 0.06  # rims

    def test_views_are_averaged(self, grey: np.ndarray) -> None:
        class OneSided:
            """Marks the right half only, whatever is there."""

            name, inputs, outputs = "one-sided", [keras.Input((16, 32, 1))], [None]

            def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
                answer = np.zeros((len(images), 16, 32, 4), np.float32)
                answer[:, :, 16:] = 0.8
                return answer

        plain = predict(OneSided(), grey[:1]).mask("plate-00001")
        both = predict(OneSided(), grey[:1], outlining=Outlining(0.3, flips=("none", "horizontal"))).mask("plate-00001")
        assert plain[:, 16:].all()
        assert not plain[:, :16].any()
        assert both.all()  # 0.4 on either side


class TestFiles:
    def test_what_is_written_decodes_to_the_same_masks(self, folder: Path, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        prediction = predict(
            painter(), folder, out=tmp_path / "out", shape=SHAPE, progress=lambda done, of: seen.append((done, of))
        )
        assert seen[-1] == (5, 5)
        names = [path.relative_to(tmp_path / "out").as_posix() for path in prediction.files]
        assert names == [*(f"overlays/{one}.png" for one in range(5)), "predictions.csv", "defects.csv", "summary.json"]
        assert all(path.is_file() for path in prediction.files)
        rows = list(read_rows(tmp_path / "out" / "predictions.csv", SHAPE))
        found = {name: rle2mask(rle, SHAPE) for _, name, number, rle in rows if number == 1}
        assert set(found) == {"0.png", "1.png", "2.png", "3.png"}
        for name, mask in found.items():
            assert np.array_equal(mask, prediction.mask(name)[..., 0])
            assert np.array_equal(build_mask(prediction.table, name, SHAPE), prediction.mask(name))
        defects = read_csv(tmp_path / "out" / "defects.csv")
        assert defects["area"].tolist() == prediction.defects["area"].tolist()
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary == json.loads(json.dumps(prediction.to_dict()))
        assert (summary["plates"], summary["clean"], summary["found"]["1"]) == (5, 1, 4)
        with Image.open(prediction.files[0]) as image:
            assert image.size == (32, 16)

    def test_without_pictures_and_without_defects(self, folder: Path, tmp_path: Path) -> None:
        prediction = predict(painter(), folder / "4.png", out=tmp_path / "out", shape=SHAPE, overlays=False)
        assert [path.name for path in prediction.files] == ["predictions.csv", "defects.csv", "summary.json"]
        assert prediction.table.empty
        assert (tmp_path / "out" / "predictions.csv").read_text() == "ImageId,ClassId,EncodedPixels\n"
        assert (tmp_path / "out" / "defects.csv").read_text().startswith("ImageId,ClassId,component,area,")

    def test_an_interruption_leaves_whole_pictures_and_no_table(self, folder: Path, tmp_path: Path) -> None:
        def stop(done: int, of: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict(painter(), folder, out=tmp_path / "out", shape=SHAPE, progress=stop)
        written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
        assert written == ["overlays/0.png", "overlays/1.png", "overlays/2.png"]
        for name in written:
            with Image.open(tmp_path / "out" / name) as image:
                image.load()

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ([], "found none"),
            (["0.png", "0.png"], "the same name"),
            (["0.png", "0.jpg"], "differ in their suffix alone"),
            (["missing.png"], "cannot be read as an image"),
            (["large.png"], r"has 32 x 16 pixels \(height x width\); expected 16 x 32"),
        ],
    )
    def test_bad_images(self, folder: Path, given: list[str], sentence: str) -> None:
        Image.new("L", (16, 32)).save(folder / "large.png")
        with pytest.raises(DataError, match=sentence):
            predict(painter(), [folder / name for name in given], shape=SHAPE)

    def test_bad_arrays_and_options(self) -> None:
        with pytest.raises(DataError, match="Expected plates of shape"):
            predict(painter(), np.zeros((1, 16, 32, 3), np.float32))
        for options in ({"threshold": 1.0}, {"least": 0}, {"batch": 0}):
            with pytest.raises(OptionError, match="Expected a threshold"):
                Outlining(**options)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="one number as least, or 4; received 2"):
            Outlining(least=(1, 2))


class TestNetworks:
    def test_keras_files_and_litert_files_give_the_same_masks(self, grey: np.ndarray, tmp_path: Path) -> None:
        model = painter()
        model.save(tmp_path / "model.keras")
        files = [tmp_path / "model.keras", litert(model, tmp_path / "model.tflite")]
        expected = predict(model, grey)
        for path in files:
            found = predict(path, grey, outlining=Outlining(batch=2))  # the last batch is smaller
            assert found.table.equals(expected.table)

    def test_a_smaller_batch_is_filled_up_and_cut_again(self, grey: np.ndarray) -> None:
        network, images = Network(painter()), grey[..., None]
        whole = network(images)
        assert np.array_equal(network(images[3:]), whole[3:])
        assert np.array_equal(network(images[:1]), whole[:1])

    def test_a_file_with_a_batch_size_of_its_own(self, grey: np.ndarray, tmp_path: Path) -> None:
        model, images = painter(), grey[..., None]
        network = Network(litert(model, tmp_path / "pairs.tflite", batch=2))
        assert np.allclose(network(images), model.predict(images, verbose=0), atol=1e-6)  # five images

    def test_integers_at_the_borders(self, grey: np.ndarray, tmp_path: Path) -> None:
        model, images = painter(), grey[..., None]
        path = litert(model, tmp_path / "model.tflite", images)
        network = Network(path)
        assert network.input_shape == (16, 32, 1)
        assert np.allclose(network(images), model.predict(images, verbose=0), atol=0.02)
        whole, expected = (predict(one, grey).mask("plate-00001") for one in (path, model))
        assert (whole != expected).mean() < 0.01

    def test_files_that_are_no_network_for_plates(self, grey: np.ndarray, tmp_path: Path) -> None:
        (tmp_path / "broken.tflite").write_bytes(b"nothing")
        for name, sentence in (
            ("broken.tflite", "cannot be opened as a LiteRT model"),
            ("missing.tflite", "cannot be read: No such file"),
            ("missing.keras", "missing.keras"),
        ):
            with pytest.raises(ModelError, match=sentence):
                predict(tmp_path / name, grey)
        with pytest.raises(ModelError, match=r"does not outline defects: .* received \(5, 16, 32, 3\)"):
            predict(painter(classes=3), grey)
        flat = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
        with pytest.raises(ModelError, match="expected one input of shape"):
            predict(flat, grey)
