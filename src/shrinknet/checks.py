"""Argument checks with uniform wording: what was expected, and what was received."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any

from shrinknet.errors import OptionError


def is_number(value: Any, *, whole: bool = False) -> bool:
    """Whether it is a number of Python or NumPy; True and False are not numbers."""
    return isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)


def at_least(name: str, value: Any, least: float, *, whole: bool = True, optional: bool = False) -> None:
    """Refuses anything but a finite number (by default a whole one) of at least `least`.

    Raises:
        OptionError: says what was expected and received.
    """
    if (value is None and optional) or (is_number(value, whole=whole) and value >= least and value < math.inf):
        return
    kind = "whole number" if whole else "number"
    none = ", or None" if optional else ""
    raise OptionError(f"Expected {name} to be a {kind} of at least {least}{none}; received {value!r}.")


def share(name: str, value: Any, meaning: str) -> None:
    """Refuses anything but a number in (0, 1].

    Raises:
        OptionError: says what was expected and received.
    """
    if not (is_number(value) and 0 < value <= 1):
        raise OptionError(f"Expected {name} in (0, 1], {meaning}; received {value!r}.")


def one_of(name: str, value: Any, known: Collection[Any]) -> None:
    """Refuses anything but the known values.

    Raises:
        OptionError: lists them.
    """
    if not any(value is one or (type(value) is type(one) and value == one) for one in known):
        *most, last = map(repr, known)
        raise OptionError(f"Expected {name} to be {', '.join(most)} or {last}; received {value!r}.")


def flag(name: str, value: Any) -> None:
    """Refuses anything but True and False.

    Raises:
        OptionError: says what was received.
    """
    one_of(name, value, (True, False))
