"""Checks of arguments, with one wording for all of them."""

from __future__ import annotations

import numbers
from typing import Any


def is_number(value: Any, *, whole: bool = False) -> bool:
    """Whether it is a number of Python's or NumPy's; True and False are none."""
    return isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
