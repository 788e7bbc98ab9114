"""The package: its names are loaded when they are used, and slopes need no Keras."""

from __future__ import annotations

import subprocess
import sys

import pytest

import shrinknet.applications.avalanche as avalanche

WATCHED = ("keras", "tensorflow", "numpy", "pandas", "sklearn")


def loaded(code: str) -> list[str]:
    """Which of the heavy packages a fresh Python has after `code`."""
    show = f"{code}\nimport sys\nprint(*[name for name in {WATCHED} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()


def test_nothing_heavy_before_it_is_needed() -> None:
    assert loaded("import shrinknet.applications.avalanche") == []
    names = "generate, outline, read, windows"
    assert loaded(f"from shrinknet.applications.avalanche import {names}") == ["numpy", "pandas"]


def test_every_name_is_there_and_no_other() -> None:
    assert set(avalanche.__all__) == set(avalanche._MODULES) <= set(dir(avalanche))
    for name in avalanche.__all__:
        assert getattr(avalanche, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'segment'; it has approximate_network"):
        avalanche.segment  # noqa: B018
