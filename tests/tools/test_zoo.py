"""The networks of keras.applications, with half the filters of each layer cut; tools/zoo.py writes the table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo

from shrinknet import Switches, switched

FIRST = [names[0] for names in zoo.FAMILIES.values()]
EVERY = [name for names in zoo.FAMILIES.values() for name in names]
CONVOLUTION_AT_THE_END = ("MobileNet", "MobileNetV3Small", "MobileNetV3Large")  # their classifier is a 1x1 convolution


@pytest.mark.slow
@pytest.mark.parametrize("builder", EVERY)
def test_half_of_it_is_cut_exactly(builder: str) -> None:
    row = zoo.examine(builder)
    assert row["copy"] <= 1e-5 and row["error"] <= 1e-5
    assert row["answer"] > 100 * row["error"], "the outputs are nearly constant: the comparison is meaningless"
    assert 0.2 < row["left"] < 0.6
    assert list(row["never"].values()) == ["it reaches the model's output"]  # the classifier
    assert row["cuttable"] == row["filters"] - (10 if builder in CONVOLUTION_AT_THE_END else 0)


def test_every_builder_of_keras_is_there() -> None:
    names = {name for name in dir(keras.applications) if name[0].isupper()}
    assert names == set(EVERY) and len(EVERY) == 40


def test_redrawing_leaves_no_default() -> None:
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(32, 32, 3), classes=4)
    zoo.redraw(model)
    for variable in model.weights:
        value = np.asarray(variable)
        if keras.backend.is_float_dtype(variable.dtype):
            assert value.size == 1 or value.std() > 0, variable.path


def test_half_of_each_layer_is_disabled() -> None:
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(6, 3, name="a")(inputs)
    net = switched(keras.Model(inputs, keras.layers.Conv2D(2, 1)(keras.layers.Conv2D(9, 1, name="b")(x))))
    switches = Switches(net)
    assert zoo.disable_half(switches) == 7
    gone = [filter.layer for filter in switches.disabled]
    assert gone.count("a") == 3 and gone.count("b") == 4


def test_the_page_is_written_and_an_interrupted_one_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def examine(builder: str) -> dict[str, Any]:
        asked.append(builder)
        if builder == "VGG19" and asked.count(builder) == 1:
            raise KeyboardInterrupt
        row = {"builder": builder, "filters": 1000, "cuttable": 999, "left": 0.25, "copy": 2e-8, "error": 3e-7}
        return {
            **row,
            "answer": 0.1,
            "build": 1.0,
            "graph": 0.01,
            "slim": 2.0,
            "never": {"top": "it reaches the model's output"},
        }

    monkeypatch.setattr(zoo, "examine", examine)
    page = tmp_path / "zoo.md"
    with pytest.raises(KeyboardInterrupt):
        zoo.write(page, ["VGG16", "VGG19"])
    zoo.write(page, ["VGG16", "VGG19"])
    assert asked == ["VGG16", "VGG19", "VGG19"]
    assert re.findall(r"\| VGG \| (VGG\d\d) \| 1,000 \| 99.9 \| 25 \| 2e-08 \| 3e-07 ", page.read_text()) == [
        "VGG16",
        "VGG19",
    ]
