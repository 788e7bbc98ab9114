"""The networks of other packages, cut in half: their page, and what happens where one of them fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import foreign
import foreign_page
import keras
import pytest
from foreign_vision import VISION, Foreign


def row(name: str, **changes: Any) -> dict[str, Any]:
    common = {"builder": name, "package": "kimm", "attention": False, "filters": 100, "cuttable": 60, "output": 40}
    return {**common, "copy": 0.0, "error": 3e-7, "answer": 0.1, "never": {}, "seconds": 2.0, **changes}


def tiny() -> Any:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, name="first")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, name="last")(x))


def test_a_network_is_copied_cut_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VISION, "Tiny", Foreign("kimm", tiny))
    found = foreign.examine("Tiny")
    assert (found["filters"], found["cuttable"], found["output"]) == (8, 6, 2)
    assert found["never"] == {"last": "it reaches the model's output"}
    assert found["copy"] <= 1e-6 and found["error"] <= 1e-6 < found["answer"]


@pytest.mark.slow
def test_one_that_fails_is_a_row_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ValueError("no such\nnetwork")

    monkeypatch.setitem(VISION, "Broken", Foreign("kimm", broken))
    found = foreign.examine("Broken")
    assert found["failed"] == "build: ValueError: no such network"
    page = foreign_page.page_of([found, row("Fine")], "a machine", [])
    assert "no such network" in page and "1 were copied, cut and compared, 1 were not" in page


@pytest.mark.slow
def test_a_copy_of_another_function_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from shrinknet.network import switching

    monkeypatch.setitem(VISION, "Tiny", Foreign("kimm", tiny))
    monkeypatch.setattr(switching, "carry_state", lambda old, new: [])
    assert foreign.examine("Tiny")["failed"].startswith("switched: NotEquivalentError")


def test_filters_that_reach_the_output_are_counted_apart() -> None:
    page = foreign_page.page_of([row("All"), row("Some", output=20, cuttable=60)], "a machine", ["BertBackbone"])
    assert "| kimm | All |  | 100 | 60 | 100 | 0e+00 | 3e-07 | 2 |" in page
    assert "90% of the filters can be cut in 0 of 2 networks without attention; in 1 without" in page
    assert "for the reasons below, in Some" in page and "BertBackbone" in page


def test_layers_are_grouped_by_reasons_without_names() -> None:
    never = {
        "stem/conv": "it meets Rms stem/rms_1, which has no rule",
        "body/conv": "filters 0-2, 5: it meets Rms body/rms_2, which has no rule",
    }
    text = "".join(foreign_page.reasons([row("One", never=never)]))
    assert "**it meets Rms ..., which has no rule** (2 layers)." in text
    assert "- One: `stem/conv`, `body/conv`" in text


def test_an_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def examine(name: str) -> dict[str, Any]:
        asked.append(name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return row(name)

    monkeypatch.setattr(foreign, "examine", examine)
    monkeypatch.setattr(foreign, "make_importable", lambda folder: None)
    monkeypatch.setattr(foreign, "left_out", lambda: [])
    monkeypatch.setattr(foreign, "version", lambda package: "1.0")
    page = tmp_path / "page.md"
    with pytest.raises(KeyboardInterrupt):
        foreign.run(page, ["LCNet035", "VGG11"], None)
    foreign.run(page, ["LCNet035", "VGG11"], None)
    assert asked == ["LCNet035", "VGG11", "VGG11"] and "| VGG11 |" in page.read_text()


def test_the_packages_are_installed_once_into_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        (tmp_path / "keras_hub").mkdir()

    monkeypatch.setattr(foreign, "FOLDER", tmp_path)
    monkeypatch.setattr(foreign.subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    foreign.make_importable()
    foreign.make_importable()
    assert len(commands) == 1 and "--target" in commands[0] and all("==" in name for name in commands[0][-5:])
    assert sys.path[-1] == str(tmp_path)
