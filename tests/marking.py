"""A parameter set that only `make test-all` runs."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any, **settings: Any) -> Any:
    """Like `pytest.param`, marked as slow."""
    return pytest.param(*values, marks=pytest.mark.slow, **settings)
