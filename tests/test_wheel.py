"""The wheel: its contents, and that it works when it is installed into an empty environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without network access."""
    hatchling = pytest.importorskip("hatchling.build", reason="hatchling is what builds the wheel")
    assert hatchling
    out = tmp_path_factory.mktemp("wheel")
    build = f"import hatchling.build; print(hatchling.build.build_wheel({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    return out / done.stdout.splitlines()[-1]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"shrinknet"}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    assert "shrinknet/py.typed" in names and "shrinknet/report/page.css" in names


USE = """
import shrinknet, sys
assert {site!r} in shrinknet.__file__, shrinknet.__file__
import keras
from shrinknet import Switches, slim, switched
layers = [keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Conv2D(1, 3)]
net = switched(keras.Sequential([keras.Input((8, 8, 1)), *layers]))
switches = Switches(net)
switches.disable(switches.filters[0])
print(slim(net).get_layer("conv").filters)
"""


def test_an_empty_environment_can_use_it(wheel: Path, tmp_path: Path) -> None:
    """Uses the dependencies of this environment: they are 700 MB, and installing them only tests pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv").rglob("site-packages"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    packages = next(path for path in map(Path, sys.path) if (path / "keras").is_dir())
    (site / "dependencies.pth").write_text(f"{packages}\n")  # after the folder of the wheel
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", USE.format(site=str(site))], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3"
    version = subprocess.run([tmp_path / "venv" / "bin" / "shrinknet", "--version"], capture_output=True, text=True)
    assert re.match(r"shrinknet, version \d", version.stdout), version.stderr
