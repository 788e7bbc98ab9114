"""The package: its names are loaded when they are used, and run lengths need no Keras."""

from __future__ import annotations

import subprocess
import sys

import pytest

import shrinknet.applications.steel as steel

WATCHED = ("keras", "tensorflow", "numpy", "pandas")


def loaded(code: str) -> list[str]:
    """Which of the heavy packages a fresh Python has after `code`."""
    show = f"{code}\nimport sys\nprint(*[name for name in {WATCHED} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()


def test_nothing_heavy_before_it_is_needed() -> None:
    assert loaded("import shrinknet.applications.steel") == []
    names = "build_mask, build_rles, generate, mask2rle, master_table, read, rle2mask"
    assert loaded(f"from shrinknet.applications.steel import {names}") == ["numpy", "pandas"]


def test_every_name_is_there_and_no_other() -> None:
    assert set(steel.__all__) == set(steel._MODULES) <= set(dir(steel))
    for name in steel.__all__:
        assert getattr(steel, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'segment'; it has build_mask"):
        steel.segment  # noqa: B018
