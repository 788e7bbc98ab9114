"""The commands: data, minimize and predict, from synthetic slopes to polygons; and what is said of bad input."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shrinknet.applications.avalanche import dense_network, window_classifier
from shrinknet.applications.avalanche.folder import read
from shrinknet.applications.avalanche.run import in_the_field, minimize_avalanche, whole_image_scores
from shrinknet.applications.avalanche.sampling import split_images
from shrinknet.applications.avalanche.task import Windowing, avalanche_task
from shrinknet.applications.avalanche.window_metrics import RANGE, BestIoU
from shrinknet.cli import program
from shrinknet.errors import DataError, ModelError
from shrinknet.files.tables import read_csv
from shrinknet.imaging.tiles import even_part
from shrinknet.runs.store import RunStore

pytestmark = [pytest.mark.usefixtures("no_latency"), pytest.mark.tensorflow("exports to LiteRT")]

TINY = Windowing((9, 9, 3), each=24, judged=48)
FEW: dict[str, Any] = {"warmup_steps": 30, "steps": 4, "max_trials": 2, "threshold": 0.1, "seed": 1,
                       "strategy": "random", "verbose": 0}  # fmt: skip


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words])


class TestScore:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10_000), st.integers(2, 60), st.booleans())
    def test_by_hand(self, seed: int, count: int, weighted: bool) -> None:
        random = np.random.default_rng(seed)
        truth, logits = random.integers(0, 2, count).astype(float), random.normal(0, 3, count)
        weights = random.uniform(0, 2, count) if weighted else np.ones(count)
        score = BestIoU(thresholds=13)
        for part in np.array_split(np.arange(count), 2):
            score.update_state(truth[part, None], logits[part, None], weights[part] if weighted else None)
        best = 0.0
        for limit in np.linspace(-RANGE, RANGE, 13, dtype=np.float32):
            found = logits.astype(np.float32) > limit
            union = weights[found | (truth > 0)].sum()
            best = max(best, weights[found & (truth > 0)].sum() / union if union else 0.0)
        assert float(score.result()) == pytest.approx(best, abs=1e-5)

    def test_it_survives_a_file_and_a_shift_of_all_logits(self) -> None:
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(BestIoU(thresholds=25)))
        truth, logits = np.array([[1.0], [1.0], [0.0]]), np.array([[2.0], [1.0], [-1.0]])
        again.update_state(truth, logits - 2.6)
        assert (again.thresholds, float(again.result())) == (25, 1.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 600))
def test_parts_are_even(whole: int, most: int) -> None:
    part = even_part(whole, most)
    count = -(-whole // part)
    assert part <= most and count == -(-whole // most)
    assert count * part - whole < count  # no part is smaller than another by more than one pixel each


class TestTask:
    def test_photographs_are_divided_and_nothing_else(self, slopes: Any) -> None:
        task = avalanche_task(slopes, TINY, seed=3, widths=(4,))
        parts = split_images(slopes, seed=3)
        assert task.facts["slopes"] == {part: len(names) for part, names in parts.items()}
        assert task.train.names == parts["train"] and task.train.num_batches * 64 >= 24 * len(parts["train"])
        assert 0.3 < task.train[0][1].mean() < 0.7
        assert task.test[1].mean() < 0.3  # drawn anywhere
        assert task.samples is not None and task.samples.names == parts["test"]
        assert [metric.name for metric in task.model.metrics][:1] == ["loss"]
        shown = task.samples.shown(task.model)  # type: ignore[misc]
        assert (shown.shape, shown.dtype) == ((len(parts["test"]), 64, 80, 3), np.uint8)
        assert np.abs(task.samples.y - 255 * task.samples.x).max() > 50  # the true outline is drawn

    def test_parts_without_an_avalanche(self, slopes: Any, tmp_path: Path) -> None:
        shutil.copytree(slopes.folder, tmp_path / "blank")
        for path in (tmp_path / "blank" / "masks").iterdir():
            Image.new("L", (80, 64)).save(path)
        with pytest.raises(DataError, match=r"masks of all \d+ train photographs .* are empty; expected an avalanche"):
            avalanche_task(read(tmp_path / "blank"), TINY)


class TestField:
    def test_a_half_where_the_classifier_says_the_threshold(self) -> None:
        model = window_classifier((9, 9, 1), widths=(3,), seed=0)
        image = np.random.default_rng(0).random((1, 12, 14, 1)).astype(np.float32)
        moved, plain = in_the_field(model, 0.8)(image), dense_network(model)(image)
        assert np.allclose(np.asarray(plain) - np.asarray(moved), np.log(0.8 / 0.2), atol=1e-5)
        assert np.allclose(dense_network(model)(image), plain)  # the classifier itself is not changed

    def test_an_activation_at_the_end(self) -> None:
        inputs = keras.Input((5, 5, 1))
        outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(inputs))
        with pytest.raises(ModelError, match="without an activation"):
            in_the_field(keras.Model(inputs, outputs), 0.8)


@pytest.fixture(scope="module")
def finished(slopes: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = tmp_path_factory.mktemp("avalanche-run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shrinknet.loop.result.measured_latencies", lambda models, *_, **__: [None] * len(models))
        return minimize_avalanche(run, data=slopes.folder, windowing=TINY, classifier={"widths": (4, 4)}, **FEW)


@pytest.mark.slow
class TestMinimize:
    def test_photographs_are_scored_before_after_and_for_the_control(self, finished: Any, slopes: Any) -> None:
        table = read_csv(finished.run / "photographs.csv")
        parts = split_images(slopes, seed=1)
        assert dict(table.groupby("network").size()) == dict.fromkeys(("after", "before", "control"),
                                                                      len(parts["test"]))  # fmt: skip
        again = whole_image_scores(finished.result.model, slopes, parts, TINY)
        kept = table[table["network"] == "after"]
        assert np.allclose(kept["iou"], again["iou"]) and np.allclose(kept["threshold"], again["threshold"])
        assert finished.facts["photographs"]["after"]["iou"] == pytest.approx(again["iou"].mean())

    def test_the_page_shows_overlays(self, finished: Any) -> None:
        samples = RunStore(finished.run).read_arrays("samples")
        assert samples["before"].dtype == samples["truth"].dtype == np.uint8
        assert not np.array_equal(samples["before"], samples["after"])
        page = finished.page.read_text(encoding="utf-8")
        assert "On test images" in page and "output after" in page and "Outputs are drawn from" not in page

    def test_repeated_it_answers_the_same(self, finished: Any, slopes: Any) -> None:
        again = minimize_avalanche(finished.run, data=slopes.folder, windowing=TINY,
                                   classifier={"widths": (4, 4)}, **FEW)  # fmt: skip
        assert again.to_dict() == finished.to_dict()

    def test_bad_folders_end_in_a_sentence(self, slopes: Any, tmp_path: Path) -> None:
        def broken(name: str) -> Path:
            shutil.copytree(slopes.folder, tmp_path / name)
            return tmp_path / name

        first = slopes.names[0]
        (broken("partner") / "masks" / f"{first}.jpg").unlink()
        Image.new("L", (9, 9)).save(broken("size") / "masks" / f"{first}.jpg")
        (broken("damaged") / "images" / f"{first}.jpg").write_bytes(b"\xff\xd8 no image")
        sentences = {
            "partner": "has no partner in",
            "size": "expected the same",
            "damaged": "cannot be read as an image",
        }
        for name, sentence in sentences.items():
            done = call("minimize", "avalanche", "--data", tmp_path / name, "--run", tmp_path / f"run-{name}")
            assert done.exit_code == 2 and done.stderr.count("Error: ") == 1, done.stderr
            assert sentence in done.stderr


class TestPredict:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["avalanche.keras", "avalanche.tflite"])
    def test_from_an_exported_file(self, finished: Any, slopes: Any, tmp_path: Path, name: str) -> None:
        images = [slopes.images[one] for one in slopes.names[:2]]
        done = call("predict", "avalanche", *images, "--model", finished.run / "field" / name, "--out",
                    tmp_path / "out", "--json")  # fmt: skip
        assert done.exit_code == 0, done.stderr
        record = json.loads(done.stdout)
        assert [row["image"] for row in record["images"]] == [path.name for path in images]
        for path, row in zip(images, record["images"], strict=True):
            geojson = json.loads((tmp_path / "out" / "polygons" / f"{path.stem}.geojson").read_text())
            assert geojson["type"] == "FeatureCollection" and len(geojson["features"]) == row["regions"]
            for folder in ("masks", "overlays"):
                with Image.open(tmp_path / "out" / folder / f"{path.stem}.png") as picture:
                    assert picture.size == (80, 64)

    def test_what_is_said_of_bad_input(self, slopes: Any, tmp_path: Path) -> None:
        image, model, out = slopes.images[slopes.names[0]], tmp_path / "model.keras", tmp_path / "out"
        dense_network(window_classifier((5, 5, 3), widths=(2,))).save(model)
        damaged = tmp_path / "damaged.png"
        damaged.write_bytes(image.read_bytes()[:300])
        text = tmp_path / "model.tflite"
        text.write_text("no model")
        cases: list[tuple[list[Any], str]] = [
            ([image, "--model", model, "--box", "0,0,500,10"], r"reaches beyond the image, which is 80 pixels wide"),
            ([image, "--model", model, "--box", "0,0,10"], "expected four whole numbers of pixels"),
            ([damaged, "--model", model], "cannot be read as an image"),
            ([tmp_path / "none.png", "--model", model], "cannot be read as an image"),
            ([image, "--model", text], "cannot be opened as a LiteRT model"),
            ([image, "--model", model, "--threshold", "1"], "is not in the range"),
            ([image, image, "--model", model], "two of them have one name"),
        ]
        for words, sentence in cases:
            done = call("predict", "avalanche", *words, "--out", out)
            assert done.exit_code == 2, (words, done.stderr)
            assert re.search(sentence, done.stderr), (words, done.stderr)
            assert not list(out.rglob("*.*")), words


class TestData:
    def test_slopes_are_drawn_and_called_synthetic(self, tmp_path: Path) -> None:
        done = call("data", "avalanche", tmp_path / "slopes", "--count", "3", "--size", "64", "--json")
        assert done.exit_code == 0, done.stderr
        record = json.loads(done.stdout)
        assert (record["slopes"], record["synthetic"], record["sunny"] + record["shady"]) == (3, True, 3)
        assert len(read(tmp_path / "slopes").names) == 3
        again = call("data", "avalanche", tmp_path / "slopes")
        assert again.exit_code == 2 and "is not empty" in again.stderr
