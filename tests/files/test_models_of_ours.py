"""Model files that name classes of shrinknet's applications open without any import by the user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest


@pytest.mark.slow
def test_losses_of_applications_load_in_a_new_process(tmp_path: Path) -> None:
    from shrinknet.imaging.mask_training import DiceLoss, MaskDice

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    model.compile("sgd", DiceLoss(), [MaskDice()])
    model.save(tmp_path / "model.keras")
    code = (
        "import sys; from shrinknet.files.models import open_model;"
        "print(type(open_model(sys.argv[1], compiled=True).loss).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout.split() == ["DiceLoss"]
