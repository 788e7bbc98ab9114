"""Kills, disk failures and flipped bits do not change the result of a run; tools/crash.py does the damage."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from marking import slow

TOOL = Path(__file__).parents[2] / "tools" / "crash.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shrinknet_crash", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(*arguments: str) -> dict[str, Any]:
    """What the tool prints, run in a separate process because it forks before TensorFlow is used."""
    command = [sys.executable, str(TOOL), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_kills(found: dict[str, Any], count: int) -> None:
    assert found["kills"] == count and found["runs finished"] > 0
    assert found["runs that ended in other bits"] == 0
    assert found["most trials repeated after a kill"] <= 1
    assert found["decided trials lost by a kill"] == 0


@pytest.mark.parametrize("count", [slow(2), slow(30), slow(500)])
def test_kills_at_random_moments(count: int) -> None:
    check_kills(measured("kills", str(count)), count)


def check_points(found: dict[str, Any]) -> None:
    assert found["disk operations"] > 80
    assert set(found["kinds"]) == {"write", "sync", "replace", "sync_folder", "commit"}
    assert found["cases"].get("different", 0) == 0
    assert found["cases"]["kill"] == found["cases"]["once"] == found["cases"]["lasting"] > 0


@pytest.mark.slow
def test_failures_and_kills_at_some_disk_operations(tool: ModuleType) -> None:
    check_points(tool.points(every=97, first=2, recovery=1))


@pytest.mark.slow
def test_failures_and_kills_at_every_disk_operation(tool: ModuleType) -> None:
    found = tool.points()
    check_points(found)
    assert found["cases"]["once"] == found["disk operations"]


@pytest.mark.parametrize(("bits", "cuts"), [(50, 20), (1000, 200)])
@pytest.mark.slow
def test_flipped_bits_and_truncations(tool: ModuleType, bits: int, cuts: int) -> None:
    found = tool.flips(bits, cuts, ends=2)
    assert found["wrong"] == 0
    found_out = sum(number for kind, number in found["found"].items() if ":" in kind and "to the end" not in kind)
    assert found_out == bits + cuts
    assert any("older state used" in kind for kind in found["found"])
    assert not any(kind.startswith("state") and "no difference" in kind for kind in found["found"])


@pytest.mark.slow
def test_damaged_runs_end_in_the_same_bits(tool: ModuleType) -> None:
    assert tool.flips(100, 20, seed=1, ends=120)["wrong"] == 0


def check_full(found: dict[str, Any]) -> None:
    assert found["exit code"] == 74 and "make room" in found["sentence"]
    assert found["trials kept"] == 2
    assert found["exit code with room"] == 0 and found["same bits"]


@pytest.mark.slow
def test_a_limit_on_the_size_of_files(tool: ModuleType) -> None:
    check_full(tool.full(tmpfs=False)["limit on the size of files"])


@pytest.mark.slow
def test_a_full_disk(tool: ModuleType) -> None:
    found = tool.full()
    if "full tmpfs" not in found:
        pytest.skip("mounting a tmpfs needs root")
    check_full(found["full tmpfs"])
