"""Goals: what a network may cost, in real units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shrinknet.checks import is_number
from shrinknet.errors import OptionError

COUNTED = ("filters", "parameters", "multiply_adds", "bytes")
MEASURED = ("latency", "latency_ms")
UNITS = (*COUNTED, *MEASURED)
Target = int | float | Mapping[str, int | float]


@dataclass(frozen=True)
class Goal:
    """How much of one unit may be left.

    Attributes:
        unit: one of `COUNTED`, or "latency".
        amount: what may be left; share: whether it is a share of what the uncut network has.
    """

    unit: str
    amount: float
    share: bool

    def as_share(self, uncut: float) -> float:
        """What may be left as a share, given what the uncut network has."""
        return self.amount if self.share else self.amount / uncut


def goals_of(target: Target | None) -> tuple[Goal, ...]:
    """The goals of a target; all of them are to be reached.

    Args:
        target: None, a number or share of filters, or a mapping from units to numbers. A float below 1 is a share of
            what the uncut network has, anything else a number; "latency" is always a share, "latency_ms" milliseconds.

    Raises:
        OptionError: it is something else.
    """
    if target is None:
        return ()
    given = target if isinstance(target, Mapping) else {"filters": target}
    if not given:
        raise _refusal(target)
    return tuple(_goal(unit, amount, target) for unit, amount in given.items())


def _goal(unit: Any, amount: Any, target: Any) -> Goal:
    if unit not in UNITS or not is_number(amount) or not (amount > 0 and math.isfinite(amount)):
        raise _refusal(target)
    whole = is_number(amount, whole=True)
    if unit == "latency_ms":
        return Goal("latency", float(amount), share=False)
    if not whole and amount >= 1 and unit != "filters":
        amount, whole = math.ceil(amount), True
    if (unit == "latency" and whole) or (not whole and amount >= 1):
        raise _refusal(target)
    return Goal(unit, amount, share=not whole)


def unit_of(goals: tuple[Goal, ...]) -> str:
    """The unit that trials are sized in: that of the first goal; multiply-adds for latency, and without a goal."""
    return next((goal.unit for goal in goals if goal.unit in COUNTED), "multiply_adds")


def _refusal(target: Any) -> OptionError:
    return OptionError(
        "Expected target to be a number of filters (int), a share of them below 1 (float), or a dictionary of these "
        f"with the keys {', '.join(UNITS)}, such as {{'multiply_adds': 0.5}}; received {target!r}."
    )
