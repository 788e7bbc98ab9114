"""The settings of a minimization, checked: small frozen objects, each about one thing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from shrinknet.checks import at_least, flag, is_number, one_of, share
from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Warmup:
    """Training before the first trial.

    Attributes:
        steps: training steps, from 0.
        patience: end it after this many tenths of it without a better score, from 1; None: never.
    """

    steps: int = 10_000
    patience: int | None = None

    def __post_init__(self) -> None:
        at_least("warmup_steps", self.steps, 0)
        at_least("warmup_patience", self.patience, 1, optional=True)


@dataclass(frozen=True)
class Training:
    """Training within each trial.

    Attributes:
        steps: training steps, from 0.
        optimizer: an optimizer or its name; a learning rate or a schedule for the model's own; None: the model's own.
        reset: whether the optimizer begins each trial as new: slots, momentum, and the schedule's steps.
    """

    steps: int = 2_000
    optimizer: Any = None
    reset: bool = True

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 0)
        flag("reset", self.reset)


@dataclass(frozen=True)
class Stop:
    """When a run ends, besides its target and the strategy's own end; the trial under way is finished.

    Attributes:
        trials: after so many, from 0; seconds: after so long. None: no limit.
    """

    trials: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        at_least("max_trials", self.trials, 0, optional=True)
        at_least("max_seconds", self.seconds, 0, whole=False, optional=True)


@dataclass(frozen=True)
class Scope:
    """What may be cut.

    Attributes:
        candidates: "filters", or "layers": convolutions and dense layers between tensors of one shape, each a candidate
            of its own that is bypassed and taken out.
        min_filters: filters that every layer keeps, from 0.
    """

    candidates: str = "filters"
    min_filters: int = 1

    def __post_init__(self) -> None:
        one_of("candidates", self.candidates, ("filters", "layers"))
        at_least("min_filters", self.min_filters, 0)


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept.

    Attributes:
        path: of the folder.
        force: where it holds another run, set that beside and begin anew; otherwise it is refused.
        strict: refuse to continue with other versions, threads or devices; otherwise they are a warning.
        new_data: continue with other data than the run began with; otherwise they are refused.
    """

    path: str | os.PathLike[str]
    force: bool = False
    strict: bool = False
    new_data: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise OptionError(f"Expected run_dir to be a path or a RunFolder; received {self.path!r}.")
        for name in ("force", "strict", "new_data"):
            flag(name, getattr(self, name))

    @property
    def folder(self) -> Path:
        """The path as an object."""
        return Path(self.path)


@dataclass(frozen=True)
class Options:
    """The settings of the loop; see `minimize`."""

    threshold: float = 0.98
    max_drop: float | None = None
    reference: str = "last"
    target: int | float | None = None
    warmup: Warmup = field(default_factory=Warmup)
    training: Training = field(default_factory=Training)
    stop: Stop = field(default_factory=Stop)
    scope: Scope = field(default_factory=Scope)

    def __post_init__(self) -> None:
        share("threshold", self.threshold, "the share of the score to keep")
        at_least("max_drop", self.max_drop, 0, whole=False, optional=True)
        one_of("reference", self.reference, ("last", "baseline"))
        target = self.target
        if target is not None and not (is_number(target) and (0 < target < 1 if _is_share(target) else target >= 1)):
            raise OptionError(
                "Expected target to be a number of filters from 1 (int), or a share of them between 0 and 1 (float); "
                f"received {target!r}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings that decide what a run computes, in plain values; the optimizer is left to the caller."""
        plain = {name: getattr(self, name) for name in ("threshold", "max_drop", "reference", "target")}
        plain |= {"warmup_steps": self.warmup.steps, "steps": self.training.steps}
        objects = {"warmup_steps": self.warmup, "steps": self.training, "stop": self.stop, "scope": self.scope}
        fields = {
            name: getattr(objects[parameter], field)
            for name, (parameter, _, field) in KEYWORDS.items()
            if parameter in objects and name != "trial_optimizer"
        }
        return {**plain, **fields}


def _is_share(target: float) -> bool:
    return not is_number(target, whole=True)


# Keywords of `minimize` that are a field of one of the objects: the keyword -> (its parameter, class, field).
KEYWORDS: Mapping[str, tuple[str, type, str]] = {
    "warmup_patience": ("warmup_steps", Warmup, "patience"),
    "trial_optimizer": ("steps", Training, "optimizer"),
    "reset": ("steps", Training, "reset"),
    "max_trials": ("stop", Stop, "trials"),
    "max_seconds": ("stop", Stop, "seconds"),
    "candidates": ("scope", Scope, "candidates"),
    "min_filters": ("scope", Scope, "min_filters"),
    "force": ("run_dir", RunFolder, "force"),
    "strict": ("run_dir", RunFolder, "strict"),
    "new_data": ("run_dir", RunFolder, "new_data"),
}


def gather(parameter: str, kind: type, value: Any, keywords: Mapping[str, Any]) -> Any:
    """The object for a parameter that takes a plain value, an object, or None, with the keywords that belong to it.

    Args:
        parameter: its name, such as "steps"; kind: the class of its object, such as `Training`.
        value: an object of that class, the value of its first field, or None.
        keywords: others of `minimize`; those of other parameters are passed over.

    Raises:
        OptionError: a field is given twice, or has a value outside of its range.
    """
    own = {field: keywords[name] for name, (of, _, field) in KEYWORDS.items() if of == parameter and name in keywords}
    if isinstance(value, kind):
        if own:
            names = ", ".join(name for name, (of, _, _) in KEYWORDS.items() if of == parameter and name in keywords)
            raise OptionError(
                f"Expected {names} inside of the {kind.__name__} that {parameter} is; received both. Write "
                f"{kind.__name__}(..., {', '.join(own)}=...)."
            )
        return value
    if value is None:
        return kind(**own) if kind is not RunFolder else None
    return kind(**{fields(kind)[0].name: value, **own})


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Refuses keywords that `minimize` does not know.

    Raises:
        OptionError: names the nearest known one, and all.
    """
    from difflib import get_close_matches

    for name in keywords:
        if name not in KEYWORDS:
            near = get_close_matches(name, KEYWORDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise OptionError(
                f"minimize has no argument {name!r}.{hint} Besides those of its signature it takes "
                f"{', '.join(KEYWORDS)}."
            )


# Settings that may change when a run is resumed: what was decided stays, they say how far it goes.
LIMITS = ("target", "max_trials", "max_seconds")
