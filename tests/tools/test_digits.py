"""The example from the docs, run as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_digits_classifier_loses_four_tenths_of_its_parameters_at_the_same_accuracy() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits.py")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["parameters_after"] <= 0.6 * result["parameters_before"]
    assert result["accuracy_after"] >= result["accuracy_before"] - 0.02
    assert result["accuracy_before"] > 0.9
