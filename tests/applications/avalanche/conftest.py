"""Slopes that several test files read."""

from __future__ import annotations

from typing import Any

import pytest

from shrinknet.applications.avalanche import generate, read

SHAPE = (64, 80)


@pytest.fixture(scope="session")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read(generate(tmp_path_factory.mktemp("avalanche") / "slopes", 10, SHAPE, 0))
