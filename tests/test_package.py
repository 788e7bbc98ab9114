"""The package as a whole: public names, light imports, version, entry points, examples in docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import BACKEND

import shrinknet
from shrinknet.strategies.registry import BUILT_IN, ENTRY_POINTS

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCE = Path(shrinknet.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)
HEAVY = {"keras", "tensorflow", "jax", "numpy", "scipy", "pandas", "matplotlib", "cv2", "skimage"}


def imported_by(*arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter imports with these arguments."""
    run = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in run.stderr.splitlines() if line.count("|") == 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import shrinknet"],
        ["-m", "shrinknet", "--help"],
        ["-m", "shrinknet", "minimize", "edges", "-h"],
        ["-m", "shrinknet", "predict", "avalanche", "-h"],
    ],
    ids=["import", "help", "help of a command", "help of a prediction"],
)
def test_import_and_help_load_nothing_heavy(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert "shrinknet" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("name", shrinknet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(shrinknet)
    assert callable(getattr(shrinknet, name))


def long_functions(path: Path) -> list[str]:
    """The functions of a file whose bodies, without signature and docstring, have more than 60 lines."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    found = []
    for function in functions:
        documented = ast.get_docstring(function) is not None
        first = function.body[1 if documented and len(function.body) > 1 else 0]
        if (function.end_lineno or 0) - first.lineno + 1 > 60:
            found.append(function.name)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert not long_functions(path)


def test_public_functions_are_not_hidden_by_modules() -> None:
    modules = {name.removeprefix("shrinknet.") for name in MODULES}
    assert "errors" in modules
    assert not modules & set(shrinknet.__all__)


def test_cost_stays_a_function_after_its_module_was_imported() -> None:
    importlib.import_module("shrinknet.costs.counting")
    from shrinknet import cost

    assert isinstance(cost, types.FunctionType)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'minimise'; it has .*minimize"):
        shrinknet.minimise  # noqa: B018


def test_switched_layers_are_registered_when_keras_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(importlib, "import_module", asked.append)
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    importlib.reload(shrinknet)
    assert asked == ["shrinknet.network.switching"]


def test_import_survives_a_keras_that_cannot_be_used() -> None:
    code = "import sys, types; sys.modules['keras'] = types.ModuleType('keras'); import shrinknet"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""


def test_one_version_everywhere() -> None:
    version = shrinknet.__version__
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation is not None
    assert citation[1] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_entry_points_are_the_built_in_strategies() -> None:
    assert PYPROJECT["project"]["entry-points"][ENTRY_POINTS] == BUILT_IN


def test_no_index_address_is_recorded() -> None:
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"://|--(extra-)?index-url|--find-links|\bfile:", text), name


def test_constraints_are_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", pin) for pin in pins)


@pytest.mark.parametrize("name", ["dependencies", *PYPROJECT["project"]["optional-dependencies"]])
def test_constraints_satisfy_every_requirement(name: str) -> None:
    project = PYPROJECT["project"]
    requirements = project["dependencies"] if name == "dependencies" else project["optional-dependencies"][name]
    pinned = {normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for requirement in requirements:
        assert normal(re.split(r"[\[<>=]", requirement)[0]) in pinned


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Names that the examples may use without defining them: a model, a switched copy of it, and data."""
    import keras
    import numpy as np

    layers = [keras.layers.Conv2D(5, 3, activation="relu", name=name) for name in ("conv1", "conv2")]
    model = keras.Sequential([keras.Input((12, 12, 1)), *layers, keras.layers.Conv2D(1, 3, name="conv3")])
    model.compile("adam", "mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(8, 12, 12, 1)).astype("float32")
    y = np.random.default_rng(1).normal(size=(8, 6, 6, 1)).astype("float32")
    return {"keras": keras, "np": np, "model": model, "net": shrinknet.switched(model), "x": x, "y": y}


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings_are_true(name: str, names: dict[str, Any]) -> None:
    if name == "shrinknet.engine.tensorflow" and BACKEND != "tensorflow":
        pytest.skip("the module is for the TensorFlow backend")
    if name.startswith("shrinknet.tfkeras."):
        pytest.skip("it turns Keras 2 on for the whole process, and is only imported in one of its own")
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is for"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(module, extraglobs=dict(names), optionflags=options)
    assert failed == 0


def test_the_design_shows_every_module_in_the_order_of_the_imports() -> None:
    shown = re.findall(r"^  (\w+)(?:\.py|/) ", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    (layers,) = (
        contract["layers"] for contract in PYPROJECT["tool"]["importlinter"]["contracts"] if "layers" in contract
    )
    rank = {name.strip(): place for place, layer in enumerate(reversed(layers)) for name in layer.split("|")}
    del rank["__main__"]
    assert sorted(shown) == sorted(rank)
    assert [rank[name] for name in shown] == sorted(rank[name] for name in shown)
