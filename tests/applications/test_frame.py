"""The framework for applications: the example in the design, saved models as tasks, options that fail early."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from marking import slow

from shrinknet.applications.running import at_shape, run_task
from shrinknet.applications.task import Samples, Task
from shrinknet.cli import program
from shrinknet.errors import OptionError, StrategyError
from shrinknet.imaging.networks import Network
from shrinknet.runs.store import RunStore

pytestmark = [pytest.mark.usefixtures("no_latency"), pytest.mark.tensorflow("exports to LiteRT")]

ROOT = Path(__file__).parents[2]
FEW = ["--warmup-steps", "20", "--steps", "4", "--max-trials", "2", "--threshold", "0.1", "--seed", "1"]
FEW += ["--final-steps", "10"]
FEW += ["--formats", "keras", "--json"]


@pytest.mark.slow
def test_the_example_in_the_design_is_a_whole_application(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    task, command = re.findall(
        r"```python\n(import .*?)```", text[text.index("## Adding an application") :], re.DOTALL
    )[:2]
    names: dict[str, Any] = {}
    exec(task, names)
    exec(command, names)
    run = tmp_path / "run"
    words = ["--width", "4", "--run", str(run), *FEW]
    done = CliRunner().invoke(names["digits"], words, standalone_mode=False)
    assert done.exception is None, done.output
    record = json.loads(done.stdout)
    assert len(record["trials"]) == 2 and Path(record["model"]).is_file()
    page = (run / "page.html").read_text(encoding="utf-8")
    assert "target" in page and "output before" in page and "conv1" in page
    again = CliRunner().invoke(names["digits"], words, standalone_mode=False)
    assert json.loads(again.stdout) == record


def colour_task(outputs: str) -> Task:
    """A network for colour images that returns several maps or a vector; one of its layers has no kernel."""
    keras.utils.set_random_seed(0)
    layers, random = keras.layers, np.random.default_rng(0)
    x = random.random((12, 12, 12, 3)).astype("float32")
    features = layers.SeparableConv2D(4, 3, padding="same", name="separable")(inputs := keras.Input((12, 12, 3)))
    features = layers.Conv2D(4, 3, padding="same", name="conv")(layers.PReLU(shared_axes=[1, 2])(features))
    if outputs == "maps":
        out, y = layers.Conv2D(4, 1, activation="sigmoid", name="out")(features), random.random((12, 12, 12, 4))
    else:
        out, y = layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(features)), random.random((12, 2))
    model = keras.Model(inputs, out, name="colour")
    model.compile("sgd", "mse")
    y = y.astype("float32")
    return Task("colour", model, (x, y), (x, y), samples=Samples(x[:2], y[:2], ("first", "second")), batch_size=4)


@pytest.mark.parametrize("outputs", [slow("maps"), slow("vector")])
def test_colour_images_several_channels_and_vectors_are_shown(outputs: str, tmp_path: Path) -> None:
    done = run_task(
        lambda seed: colour_task(outputs), tmp_path / "run", seed=1, formats=("keras",), warmup_steps=2, steps=1,
        strategy="sequential", max_trials=1, threshold=0.01, control=False,
    )  # fmt: skip
    assert done.result.control is None
    page = done.page.read_text(encoding="utf-8")
    assert "first" in page and "second" in page
    assert ("class " in page) == (outputs == "vector")
    assert ("its own colour" in page) == (outputs == "maps")


@pytest.mark.slow
def test_a_network_that_trains_on_crops_costs_and_exports_whole_images(tmp_path: Path) -> None:
    def make(seed: int) -> Task:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((None, None, 1), name="plate")
        hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
        model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid", name="out")(hidden), name="open")
        model.compile("sgd", "mse", metrics=["mae"])
        crops, whole = (np.random.default_rng(0).random((8, 4, width, 1), np.float32) for width in (6, 12))
        return Task("open", model, (crops, crops), (whole, whole), sample=whole, input_shape=(4, 12, 1))

    done = run_task(
        make, tmp_path / "run", seed=1, formats=("keras", "litert"), warmup_steps=2, steps=1, strategy="sequential",
        max_trials=1, threshold=0.01, mode="min", control=False,
    )  # fmt: skip
    assert done.result.summary.before.multiply_adds == 4 * 12 * (9 * 4 + 4)
    assert done.result.model.input_shape == (None, None, None, 1)
    loaded = keras.models.load_model(done.exports[0].path)
    assert loaded.input_shape == (None, 4, 12, 1)
    images = np.random.default_rng(1).random((2, 4, 12, 1), np.float32)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), done.result.model.predict(images, verbose=0), 1e-6)
    assert Network(done.exports[1].path).input_shape == (4, 12, 1)
    fixed = at_shape(done.result.model, (4, 12, 1))
    scores = (one.evaluate(images, images, verbose=0) for one in (done.result.model, fixed))
    np.testing.assert_allclose(*scores, 1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"thresold": 0.9}, OptionError, "no argument 'thresold'"),
        ({"max_trial": 3}, OptionError, "Did you mean max_trials"),
        ({"steps": -1}, OptionError, "steps.*-1"),
        ({"strategy": "rondom"}, StrategyError, "rondom.*random"),
        ({"pace": "fast"}, OptionError, "pace.*fast"),
    ],
)
def test_an_option_that_is_wrong_fails_before_any_data_are_read(
    options: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        run_task(lambda seed: pytest.fail("it was read"), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    task = colour_task("vector")
    task.model.save(tmp_path / "colour.keras")
    np.savez(tmp_path / "data.npz", x=task.train[0], y=task.train[1])
    return tmp_path


@pytest.mark.slow
def test_any_saved_model_is_a_task(saved: Path) -> None:
    data, run = str(saved / "data.npz"), saved / "run"
    words = ["minimize", "model", str(saved / "colour.keras"), "--train", data, "--validation", data]
    done = CliRunner().invoke(
        program, [*words, "--test", data, "--run", str(run), "--batch-size", "4", "--strategy", "sequential", *FEW]
    )
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    small = keras.models.load_model(record["model"])
    assert small.count_params() == record["after"]["parameters"] < record["before"]["parameters"]
    assert RunStore(run).read_json("run")["task"] == "colour"


def test_a_model_that_is_not_compiled_is_refused(saved: Path) -> None:
    model = keras.models.load_model(saved / "colour.keras", compile=False)
    model.save(saved / "raw.keras")
    data = str(saved / "data.npz")
    words = ["minimize", "model", str(saved / "raw.keras"), "--train", data, "--validation", data]
    done = CliRunner().invoke(program, [*words, "--run", str(saved / "run")])
    assert done.exit_code == 2 and "is not compiled" in done.stderr and not (saved / "run").exists()
