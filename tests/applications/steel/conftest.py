"""Plates that several test files read."""

from __future__ import annotations

from typing import Any

import pytest

from shrinknet.applications.steel import generate, read

SHAPE = (64, 128)


@pytest.fixture(scope="session")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from shrinknet.applications.steel.generation import Mixture

    folder = tmp_path_factory.mktemp("steel") / "plates"
    shares = {number: 0.25 for number in (1, 2, 3, 4)}
    return read(generate(folder, 40, 0, shape=SHAPE, mixture=Mixture(0.6, shares, 0.0)), SHAPE)
