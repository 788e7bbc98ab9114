"""The settings of the loop, checked."""

from __future__ import annotations

from dataclasses import dataclass

from shrinknet.checks import is_number
from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Options:
    """The settings of the loop; see `minimize`."""

    threshold: float = 0.98
    reference: str = "last"
    warmup_steps: int = 10_000
    warmup_patience: int | None = None
    steps: int = 2_000
    target: int | float | None = None
    max_trials: int | None = None
    max_seconds: float | None = None
    min_filters: int = 1
    candidates: str = "filters"
    reset: bool = True

    def __post_init__(self) -> None:
        if not (is_number(self.threshold) and 0 < self.threshold <= 1):
            raise OptionError(
                f"Expected threshold in (0, 1], the share of the score to keep; received {self.threshold!r}."
            )
        if self.reference not in ("last", "baseline"):
            raise OptionError(f"Expected reference to be 'last' or 'baseline'; received {self.reference!r}.")
        if self.candidates not in ("filters", "layers"):
            raise OptionError(f"Expected candidates to be 'filters' or 'layers'; received {self.candidates!r}.")
        least = {
            "warmup_steps": 0,
            "steps": 0,
            "min_filters": 0,
            "max_trials": 0,
            "max_seconds": 0,
            "warmup_patience": 1,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            whole = name != "max_seconds"
            if value is not None and not (is_number(value, whole=whole) and value >= bound):
                kind = "whole number" if whole else "number"
                raise OptionError(f"Expected {name} to be a {kind} of at least {bound}; received {value!r}.")
        target = self.target
        if target is not None and not (0 < target < 1 if isinstance(target, float) else target >= 1):
            raise OptionError(
                "Expected target to be a number of filters from 1 (int), or a share of them between 0 and 1 (float); "
                f"received {target!r}."
            )
