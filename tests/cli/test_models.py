"""`shrinknet plan`, `slim`, `cost`, `export` and `compress` on model files, as a user would type them."""

from __future__ import annotations

import importlib.util
import json
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import layers

from shrinknet import Filter, Switches, switched
from shrinknet.cli import program

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 8, 8, 2)).astype("float32")
Y = (X[:, :, :, 0].mean((1, 2)) > 0).astype("int32")
GONE = [Filter("a", 1), Filter("a", 4), Filter("b", 0)]


def network() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2), name="image")
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="a", use_bias=False)(inputs)))
    x = layers.Conv2D(4, 3, activation="relu", name="b")(layers.Add(name="add")([x, layers.Conv2D(6, 1, name="c")(x)]))
    outputs = layers.Dense(2, activation="softmax", name="out")(layers.Flatten()(x))
    model = keras.Model(inputs, outputs, name="small")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, verbose=0)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    model = network()
    net = switched(model)
    Switches(net).disable(*GONE)
    model.save(folder / "plain.keras")
    net.save(folder / "net.keras")
    np.save(folder / "x.npy", X)
    np.savez(folder / "data.npz", x=X, y=Y)
    code = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: 2 * x), layers.Dense(3), layers.Dense(1)])
    code.save(folder / "code.keras")
    (folder / "damaged.keras").write_bytes((folder / "plain.keras").read_bytes()[:5000])
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(program, list(map(str, arguments)))


def told(*arguments: Any) -> Any:
    """The JSON object that a successful command prints with --json."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*arguments: Any, code: int = 2) -> str:
    """The error message of a command that fails."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.stderr and result.stdout == ""
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    return sentence


def test_plan_shows_what_would_be_removed(files: Path) -> None:
    record = told("plan", files / "net.keras")
    assert record["removed"] == list(map(str, GONE))
    assert len(record["filters"]) == 6 + 4 and len(record["groups"]) == 6
    assert record["unswitchable"].keys() == {"out"}
    assert record["after"]["parameters"] < record["before"]["parameters"]
    text = run("plan", files / "net.keras").stdout
    assert (
        "3 filters will be removed." in text
        and "a[1] + c[1]" in text
        and "Never cut: out: the activation softmax" in text
    )


def test_plan_of_a_plain_network_shows_what_can_be_cut(files: Path) -> None:
    record = told("plan", files / "plain.keras", "--round-to", 8)
    assert record["removed"] == [] and len(record["filters"]) == 10


def test_slim_writes_the_small_network(files: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.keras"
    record = told("slim", files / "net.keras", target, "--sample", files / "x.npy")
    small, net = keras.models.load_model(target), keras.models.load_model(files / "net.keras")
    np.testing.assert_allclose(small(X), net(X), atol=1e-5)
    assert small.count_params() == record["after"]["parameters"] < record["before"]["parameters"]
    assert record["removed"] == list(map(str, GONE)) and record["compiled"] and record["model"] == str(target)
    assert small.get_layer("a").filters == 4 and small.optimizer is not None
    assert str(target) in run("slim", files / "net.keras", target).stdout


def test_slim_refuses(files: Path, tmp_path: Path) -> None:
    assert "no switches" in refused("slim", files / "plain.keras", tmp_path / "x.keras")
    assert "would be overwritten" in refused("slim", files / "net.keras", files / "net.keras")
    assert "ends in .keras" in refused("slim", files / "net.keras", tmp_path / "x.h5")
    assert list(tmp_path.iterdir()) == []


def test_cost_counts_and_compares(files: Path, tmp_path: Path) -> None:
    record = told("cost", files / "plain.keras")
    assert record["parameters"] == keras.models.load_model(files / "plain.keras").count_params()
    assert [row["layer"] for row in record["layers"]][:2] == ["a", "norm"]
    both = told("cost", files / "plain.keras", files / "net.keras")
    assert both["after"]["multiply_adds"] < both["before"]["multiply_adds"] == record["multiply_adds"]
    assert "after/before" in run("cost", files / "plain.keras", files / "net.keras").stdout
    assert "input_shape" in refused("cost", files / "plain.keras", "--input-shape", "8,8")


@pytest.mark.tensorflow("latency is measured in LiteRT")
def test_cost_measures_latency(files: Path) -> None:
    assert told("cost", files / "plain.keras", "--latency")["latency_ms"] > 0


@pytest.mark.tensorflow("LiteRT files are written by TensorFlow")
def test_export_writes_files_that_were_compared(files: Path, tmp_path: Path) -> None:
    record = told("export", files / "plain.keras", tmp_path, "--formats", "keras,litert", "--sample", files / "x.npy")
    assert [row["format"] for row in record["files"]] == ["keras", "litert"] and record["refused"] == []
    for row in record["files"]:
        assert Path(row["path"]).stat().st_size == row["bytes"] and row["difference"] < 1e-5
    known = refused("export", files / "plain.keras", tmp_path / "new", "--formats", "keras,pickle")
    assert "'pickle'" in known and "onnx" in known and not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["plan", "cost"])
def test_code_in_a_file_runs_only_with_trust(files: Path, command: str) -> None:
    assert "--trust" in refused(command, files / "code.keras")
    assert run(command, files / "code.keras", "--trust").exit_code == 0


def test_custom_classes_are_imported_only_with_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
        import keras
        from pathlib import Path

        Path("imported").touch()

        class Doubled(keras.layers.Layer):
            def call(self, x):
                return 2 * x
    """
    (tmp_path / "own_layers.py").write_text(textwrap.dedent(source))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("own_layers")
    inputs = keras.Input((4,))
    keras.Model(inputs, layers.Dense(2)(module.Doubled()(layers.Dense(3)(inputs)))).save("own.keras")
    monkeypatch.delitem(__import__("sys").modules, "own_layers")
    Path("imported").unlink()
    sentence = refused("plan", "own.keras")
    assert "Doubled from the module own_layers" in sentence and "--trust" in sentence
    assert not Path("imported").exists()
    assert "dense" in run("plan", "own.keras", "--trust").stdout
    assert Path("imported").exists()


def test_files_that_are_not_models(files: Path, tmp_path: Path) -> None:
    assert "damaged" in refused("plan", files / "damaged.keras") or "zip" in refused("plan", files / "damaged.keras")
    assert ".keras or .h5" in refused("cost", files / "x.npy")
    assert "is a folder" in refused("cost", tmp_path)
    assert "does not exist" in refused("cost", tmp_path / "none.keras")


def test_data_files_that_do_not_fit(files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=X)
    sentence = refused("compress", files / "plain.keras", tmp_path, "--data", tmp_path / "other.npz")
    assert "named x and y" in sentence and "images" in sentence
    (tmp_path / "text.npy").write_text("no")
    sentence = refused("slim", files / "net.keras", tmp_path / "s.keras", "--sample", tmp_path / "text.npy")
    assert "cannot be read" in sentence


def test_compress_needs_its_extra(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "tf_keras" in name else found(name, *rest)
    )
    said = refused("compress", files / "plain.keras", tmp_path, "--data", files / "data.npz")
    assert "the extra tfmot: tf_keras is not installed" in said


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--methods", "magic", "quantization-aware, clustering"),
        ("--sparsity", "1.5", "between 0 and 1"),
        ("--learning-rate", "-1", "above 0"),
    ],
)
def test_options_of_compress(files: Path, tmp_path: Path, option: str, value: str, words: str) -> None:
    assert words in refused("compress", files / "plain.keras", tmp_path, "--data", files / "data.npz", option, value)


def test_messages_that_once_misled(files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = tmp_path / "only.weights.h5"
    keras.models.load_model(files / "plain.keras").save_weights(weights)
    assert "only weights" in refused("plan", weights)
    for command, name in (("slim", "net.keras"), ("export", "plain.keras")):
        assert "too long" in refused(command, files / name, tmp_path / ("x" * 300 + ".keras"), code=74)
    assert "litrt" in refused("export", files / "plain.keras", tmp_path / "new", "--formats", "keras,litrt")
    assert not (tmp_path / "new").exists()
    open_sizes = keras.Input((None, None, 1))
    keras.Model(open_sizes, layers.Conv2D(2, 5)(layers.Conv2D(4, 5)(open_sizes))).save(tmp_path / "open.keras")
    assert "cannot take (4, 4, 1)" in refused("cost", tmp_path / "open.keras", "--input-shape", "4,4,1")
    assert run("slim", files / "net.keras", tmp_path / "s.keras", "--round-to", "64").exit_code == 0
    assert "Nothing is removed: round_to=64 keeps all" in caplog.text
