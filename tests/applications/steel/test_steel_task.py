"""The steel application on the frame: tasks, memory, exports that are compared by Dice, and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from shrinknet.applications.steel import build_mask, generate, read
from shrinknet.applications.steel.streams import Augmentation, plate_batches
from shrinknet.cli.program import program
from shrinknet.comparing import Agreement, Mismatch
from shrinknet.errors import DataError, ExportError, OptionError
from shrinknet.imaging.mask_scores import mask_agreement, mask_scores, mean_and_spread

pytestmark = pytest.mark.tensorflow("plates are read by tf.data, and exported to LiteRT")

SHAPE = (64, 128)


def invoke(*words: Any) -> Any:
    """A command of the program, as the shell starts it, without ending the process."""
    return CliRunner().invoke(program, [str(word) for word in words], standalone_mode=False)


class TestTasks:
    @pytest.mark.parametrize(
        ("network", "outputs"),
        [
            ("unet", (16, 32, 4)),
            *(pytest.param(*one, marks=pytest.mark.slow) for one in (("binary", (1,)), ("multiclass", (4,)))),
        ],
    )
    def test_every_network_has_its_plates(self, plates: Any, network: str, outputs: tuple[int, ...]) -> None:
        from shrinknet.applications.steel.task import SCORES, Design, steel_task

        task = steel_task(plates, Design(network, (16, 32), None, width=2, depth=2, batch=4, each_class=4), seed=1)
        parts = {name: list(getattr(task, name).as_numpy_iterator()) for name in ("train", "validation", "test")}
        assert all(x.shape[1:] == task.model.input_shape[1:] and y.shape[1:] == outputs for x, y in parts["train"])
        sizes = {name: sum(len(x) for x, _ in batches) for name, batches in parts.items()}
        if network != "multiclass":
            assert sizes == task.facts["plates"]
        assert task.facts["synthetic"] and (task.agreement is None) == (network != "unet")
        assert task.samples is not None and task.samples.y.shape[1:] == outputs
        assert len(task.samples.names) == len(task.samples.x) <= 6
        task.model.evaluate(task.validation, verbose=0)
        assert SCORES[network] in {metric.name for metric in task.model.metrics[1].metrics}

    def test_a_unet_trains_on_crops_and_is_judged_on_whole_plates(self, plates: Any) -> None:
        from shrinknet.applications.steel.task import Design, steel_task

        design = Design(size=(32, 64), crop=(16, 24), width=2, depth=2, batch=4)
        task = steel_task(plates, design, seed=1)
        shapes = {part: next(iter(getattr(task, part)))[0].shape[1:] for part in ("train", "validation", "test")}
        assert shapes == {"train": (16, 24, 1), "validation": (32, 64, 1), "test": (32, 64, 1)}
        assert task.model.input_shape == (None, None, None, 1)
        assert task.sample.shape[1:] == task.samples.x.shape[1:] == task.input_shape == (32, 64, 1)

    def test_whole_plates_are_a_crop_of_full_size(self, plates: Any) -> None:
        from shrinknet.applications.steel.task import Design, chosen_plates, part_batches

        whole, full = (Design(size=(16, 32), crop=crop, depth=2, augment=False) for crop in (None, (16, 32)))
        sample = chosen_plates(plates, whole, 0)
        pairs = zip(*(part_batches(plates, sample, one, "train", 0) for one in (whole, full)), strict=True)
        assert all(np.array_equal(x, other_x) and np.array_equal(y, other_y)
                   for (x, y), (other_x, other_y) in pairs)  # fmt: skip

    @pytest.mark.parametrize(
        ("crop", "sentence"),
        [
            (
                (32, 40),
                r"crops of at most 16 x 32 pixels, .*; received 32 x 40: choose smaller crops, or larger plates",
            ),
            ((16, 64), r"crops of at most 16 x 32 pixels"),
            ((8, 30), r"multiples of 4; received 8 x 30"),
            ((0, 8), r"multiples of 4; received 0 x 8"),
        ],
    )
    def test_crops_that_do_not_fit(self, crop: tuple[int, int], sentence: str) -> None:
        from shrinknet.applications.steel.task import Design

        with pytest.raises(OptionError, match=sentence):
            Design(size=(16, 32), crop=crop, depth=2)
        assert Design("binary", size=(16, 32), crop=crop, depth=2).shape == (16, 32, 3)  # classifiers have no crops

    def test_no_plate_is_in_two_parts(self, plates: Any) -> None:
        from shrinknet.applications.steel.task import Design, chosen_plates

        for network in ("unet", "binary"):
            sample = chosen_plates(plates, Design(network, each_class=4), 0)
            assert sample["ImageId"].is_unique
            assert set(sample["part"]) == {"train", "validation", "test"}

    def test_too_few_plates_of_a_class(self, tmp_path: Path) -> None:
        from shrinknet.applications.steel.task import Design, steel_task

        few = read(generate(tmp_path / "few", 8, 0, shape=SHAPE), SHAPE)
        with pytest.raises(DataError, match=r"at least 3 plates .* `shrinknet data steel OUT --balanced`"):
            steel_task(few, Design("binary", (16, 32), depth=2))

    @pytest.mark.parametrize("options", [{"network": "resnet"}, {"size": (0, 3)}, {"memory": -1}])
    def test_designs(self, options: dict[str, Any]) -> None:
        from shrinknet.applications.steel.task import Design

        with pytest.raises(OptionError):
            Design(**options)

    @pytest.mark.parametrize("memory", [0, 1])
    def test_plates_that_are_kept_are_read_once_and_are_the_same(
        self, plates: Any, memory: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from shrinknet.applications.steel import streams

        reads: list[str] = []
        given = streams.read_plate
        monkeypatch.setattr(streams, "read_plate", lambda *one: (reads.append(one[1]), given(*one))[1])
        names = plates.images[:6]
        options: dict[str, Any] = {"size": (16, 32), "batch": 3, "shuffle": True, "augment": Augmentation(), "seed": 3}
        kept = plate_batches(plates, names, memory=memory, **options)
        passes = [[(x, y) for x, y in kept.as_numpy_iterator()] for _ in range(2)]
        assert len(reads) == (6 if memory else 12)
        plain = plate_batches(plates, names, **options)
        for one in passes:
            for (x, y), (other_x, other_y) in zip(one, plain.as_numpy_iterator(), strict=True):
                assert np.array_equal(x, other_x) and np.array_equal(y, other_y)


@pytest.mark.slow
def test_a_folder_larger_than_memory(tmp_path: Path) -> None:
    """Batches of whole plates are read and let go: 150 plates and masks take 1.2 GB, and some 200 MB of memory."""
    import subprocess
    import sys

    generate(tmp_path / "plates", 150, 0)
    program = f"""
import resource
from shrinknet.applications.steel import read
from shrinknet.applications.steel.streams import Augmentation, plate_batches
plates = read({str(tmp_path / "plates")!r})
data = plate_batches(plates, plates.images, size=(256, 1600), batch=2, shuffle=True, augment=Augmentation())
most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for x, y in data.take(5):
    pass
before, total = most(), 0
for x, y in data:
    total += (x.numpy().nbytes + y.numpy().nbytes) / 2**20
print(total, most() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    total, grown = map(float, done.stdout.split())
    assert total > 1_000
    assert grown < 0.4 * total


class TestExports:
    """A network whose int8 file moves a few pixels over the threshold."""

    @staticmethod
    def model() -> Any:
        inputs = keras.Input((16, 16, 1), name="plate")
        first = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
        outputs = keras.layers.Conv2D(1, 1, name="masks", activation="sigmoid")(first)
        model = keras.Model(inputs, outputs, name="steep")
        random = np.random.default_rng(0)
        model.get_layer("conv").set_weights([random.normal(0, 1, (3, 3, 1, 4)), np.zeros(4)])
        model.get_layer("masks").set_weights([np.full((1, 1, 4, 1), 60.0), np.zeros(1)])
        return model

    @pytest.mark.slow
    def test_the_largest_difference_is_refused_and_the_masks_are_alike(self, tmp_path: Path) -> None:
        from shrinknet.exporters import export

        model, sample = self.model(), np.random.default_rng(1).random((100, 16, 16, 1), np.float32)
        with pytest.raises(ExportError, match="differs by"):
            export(model, tmp_path, ("litert-int8",), sample)
        (record,) = export(
            model, tmp_path, ("litert-int8",), sample, agreement=Agreement("Dice", mask_agreement, 0.9)
        )  # fmt: skip
        assert record.difference is not None and record.difference > 0.2

    def test_agreement_of_masks(self) -> None:
        one = np.zeros((1, 4, 4, 1))
        assert mask_agreement(one, one) == 1
        one[0, :2] = 0.9
        other = one.copy()
        other[0, 0] = 0.4
        assert mask_agreement(one, other) == pytest.approx(2 / 3)
        judge = Agreement("Dice", mask_agreement, 0.7)
        with pytest.raises(Mismatch, match=r"Dice is 0\.667, where 0\.7 is expected"):
            judge.check([one], [other])
        with pytest.raises(Mismatch, match="Dice is nan"):
            Agreement("Dice", lambda a, b: float("nan"), 0.5).check([one], [one])


class TestCommands:
    def test_data_and_prediction(self, tmp_path: Path) -> None:
        from shrinknet.applications.steel import unet

        done = invoke("data", "steel", tmp_path / "plates", "--count", 6, "--seed", 2, "--balanced", "--json")
        assert done.exception is None, done.output
        record = json.loads(done.stdout)
        assert record["plates"] == 6 and record["synthetic"]
        assert sum(record["classes"].values()) + record["clean"] >= 6
        with pytest.raises(DataError, match="is not empty"):
            raise invoke("data", "steel", tmp_path / "plates").exception
        model = unet((32, 160, 1), width=2, depth=1, seed=0)
        model.get_layer("masks").bias.assign(np.full(4, -0.1))  # some pixels are marked
        model.save(tmp_path / "unet.keras")
        images = tmp_path / "plates" / "train_images"
        words = ("predict", "steel", images, "--model", tmp_path / "unet.keras", "--out", tmp_path / "out", "--json")
        done = invoke(*words)
        assert done.exception is None, done.output
        record = json.loads(done.stdout)
        assert record["plates"] == 6 and record["frames_per_second"] > 0
        assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 6
        assert {"predictions.csv", "defects.csv", "summary.json"} <= {
            path.name for path in (tmp_path / "out").iterdir()
        }
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["frames_per_second"] == record["frames_per_second"]

    @pytest.mark.parametrize(
        ("damage", "sentence"),
        [
            ("missing", "cannot be read as an image"),
            ("size", "has 64 x 128 pixels .* expected 256 x 1600"),
            ("truncated", "cannot be read as an image"),
            ("text", "cannot be read as an image"),
        ],
    )
    def test_prediction_of_bad_images_is_a_sentence(self, tmp_path: Path, damage: str, sentence: str) -> None:
        from shrinknet.applications.steel import unet

        unet((32, 160, 1), width=2, depth=1, seed=0).save(tmp_path / "unet.keras")
        image = tmp_path / "plate.jpg"
        Image.fromarray(np.full(SHAPE if damage == "size" else (256, 1600), 90, np.uint8)).save(image)
        if damage == "truncated":
            image.write_bytes(image.read_bytes()[:700])
        elif damage == "text":
            image.write_text("no image")
        elif damage == "missing":
            image.unlink()
        done = invoke("predict", "steel", image, "--model", tmp_path / "unet.keras", "--out", tmp_path / "out")
        with pytest.raises(DataError, match=sentence):
            raise done.exception
        assert not (tmp_path / "out" / "summary.json").exists()

    @pytest.mark.slow
    def test_minimize_predict_and_files_that_find_the_same(self, tmp_path: Path) -> None:
        plates = generate(tmp_path / "plates", 80, 1)
        run = tmp_path / "run"
        words = ("minimize", "steel", "--data", plates, "--size", "32,160", "--crop", "32,64", "--width", 4,
                 "--depth", 2, "--run", run, "--warmup-steps", 600, "--steps", 10, "--max-trials", 2,
                 "--threshold", 0.2, "--batch-size", 4, "--formats", "keras,litert,litert-int8,onnx",
                 "--quantize-epochs", 1, "--seed", 1, "--json")  # fmt: skip
        done = invoke(*words)
        assert done.exception is None, done.output
        record = json.loads(done.stdout)
        assert {one["format"] for one in record["exports"]} == {"keras", "litert", "litert-int8", "onnx"}
        assert json.loads(invoke(*words).stdout) == record  # it returns at once
        trained = json.loads((run / "quantization-aware.json").read_text())
        assert [one["format"] for one in trained["files"]] == ["litert", "quantization-aware"]
        assert "steel (unet)" in (run / "page.html").read_text(encoding="utf-8")
        truth = read(plates)
        wanted = np.stack([truth.masks(name) for name in truth.images])
        found, dice = {}, {}
        for name in ("unet.keras", "unet.tflite", "unet.int8.tflite", "unet.quantization-aware.tflite"):
            out = tmp_path / name
            given = invoke("predict", "steel", plates / "train_images", "--model", run / "export" / name, "--out", out)
            assert given.exception is None, given.output
            from shrinknet.applications.steel.prediction import predict

            masks = predict(run / "export" / name, plates / "train_images")
            table = read_table(out / "predictions.csv")
            assert all(np.array_equal(build_mask(table, image), masks.mask(image)) for image in masks.images)
            found[name] = np.stack([masks.mask(image) for image in truth.images])
            dice[name] = mean_and_spread(mask_scores(found[name], wanted)).iloc[-1]
        assert found["unet.keras"].any()
        assert np.mean(found["unet.keras"] != found["unet.tflite"]) <= 0.001
        for name in ("dice", "dice_pooled"):
            assert dice["unet.int8.tflite"][name] == pytest.approx(dice["unet.keras"][name], abs=0.01)


def read_table(path: Path) -> Any:
    """The CSV as the strict reader of `train.csv` reads it."""
    import pandas as pd

    from shrinknet.applications.steel.table import read_rows

    rows = [(name, number, text) for _, name, number, text in read_rows(path)]
    return pd.DataFrame(rows, columns=["ImageId", "ClassId", "EncodedPixels"])
