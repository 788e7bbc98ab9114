"""The settings of a minimization: small frozen objects that check themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shrinknet.checks import at_least, flag, is_number, one_of
from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Warmup:
    """Training before the first trial.

    Attributes:
        steps: training steps, from 0.
        patience: end it early after this many tenths without a better score, from 1; None: never.
    """

    steps: int = 0
    patience: int | None = None

    def __post_init__(self) -> None:
        at_least("warmup_steps", self.steps, 0)
        at_least("warmup_patience", self.patience, 1, optional=True)


@dataclass(frozen=True)
class Training:
    """Training within each trial.

    Attributes:
        steps: training steps at most, from 0; None: as many as an epoch of the training data has, between 50 and 500.
        optimizer: an optimizer or its name; a learning rate or a schedule for the model's own; None: the model's own.
        reset: whether the optimizer begins each trial as new: slots, momentum, and the schedule's steps.
        schedule: "cosine": if the optimizer is reset, its rate falls to 0 within each trial, from its own value, or
            from Keras's default if the model was trained with a schedule. "constant": the rate stays as it is. A
            schedule in `optimizer` is used as it is.
        train: "when-needed": a trial that is good enough after the repair is not trained; "always".
        distill: share of the loss that is the distance from the outputs of the uncut network, in [0, 1).
        checks: how often the network is scored during training, from 1, at equal intervals. With more than one,
            training ends early when two scores in a row are good enough, and is given up when twice the last gain in
            every part that is left would not be enough.
        compact: "auto": a trial trains the small network in place of the switched one if that saves more multiply-adds
            than making it costs, and writes the weights back; "always"; "never". If the optimizer is not reset, or the
            model has its own `train_step`, the switched network is trained.
    """

    steps: int | None = None
    optimizer: Any = None
    reset: bool = True
    schedule: str = "cosine"
    train: str = "when-needed"
    checks: int = 4
    distill: float = 0.0
    compact: str = "auto"

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 0, optional=True)
        flag("reset", self.reset)
        one_of("schedule", self.schedule, ("constant", "cosine"))
        one_of("train", self.train, ("when-needed", "always"))
        at_least("checks", self.checks, 1)
        _part("distill", self.distill)
        one_of("compact", self.compact, ("auto", "always", "never"))


@dataclass(frozen=True)
class Final:
    """Training of the network that is left, with a rate that falls to 0 along a cosine.

    Attributes:
        steps: training steps, from 0; None: as many as five epochs of the training data have; more of small data,
            up to 500 steps or 20 epochs; 5,000 at most.
        optimizer: as in `Training`; None: that of the trials if one is given, else the model's own, starting at three
            times Keras's default rate for its class, or at its own rate if that is higher.
        distill: share of the loss that is the distance from the outputs of the uncut network, in [0, 1).
    """

    steps: int | None = None
    optimizer: Any = None
    distill: float = 0.5

    def __post_init__(self) -> None:
        at_least("final_steps", self.steps, 0, optional=True)
        _part("final_distill", self.distill)


def _part(name: str, value: Any) -> None:
    if not (is_number(value) and 0 <= value < 1):
        raise OptionError(f"Expected {name} to be a share from 0 and below 1; received {value!r}.")


@dataclass(frozen=True)
class Stop:
    """When a run ends, apart from its target and the end of the strategy; the current trial is finished.

    Attributes:
        trials: the number of trials, from 0; seconds: the time. None: no limit.
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
        candidates: "filters", or "layers": convolutions and dense layers whose input and output have the same shape,
            each a candidate that is bypassed and removed.
        min_filters: filters that every layer keeps, from 0; or a mapping from names or patterns of layers, such as
            "block1*", to numbers or shares of the layer's filters; the first match counts, and 1 if nothing matches.
        only, never: names or patterns of layers: cut only there, or nothing there. A group of filters that can only be
            cut together is left alone if one of its layers is.
        round_to: the number of filters left in a layer that is cut is a multiple of this, from 1.
    """

    candidates: str = "filters"
    min_filters: int | Mapping[str, int | float] = 1
    only: str | Sequence[str] | None = None
    never: str | Sequence[str] = ()
    round_to: int = 1

    def __post_init__(self) -> None:
        one_of("candidates", self.candidates, ("filters", "layers"))
        at_least("round_to", self.round_to, 1)
        if isinstance(self.min_filters, Mapping):
            for pattern, floor in self.min_filters.items():
                share = isinstance(floor, float)
                if not (isinstance(pattern, str) and is_number(floor) and 0 <= floor <= (1 if share else floor)):
                    raise OptionError(
                        "Expected min_filters to map patterns of layers to numbers from 0 (int) or shares between 0 "
                        f"and 1 (float); received {pattern!r}: {floor!r}."
                    )
        else:
            at_least("min_filters", self.min_filters, 0)
        for name in ("only", "never"):
            value = getattr(self, name)
            words = (value,) if isinstance(value, str) else value
            if words is not None and not (isinstance(words, Sequence) and all(isinstance(one, str) for one in words)):
                raise OptionError(f"Expected {name} to be names or patterns of layers; received {value!r}.")


@dataclass(frozen=True)
class RunFolder:
    """Where a run is stored.

    Attributes:
        path: of the folder.
        force: if it contains another run, rename that and start over; otherwise it is refused.
        strict: refuse to continue with other versions, threads or devices; otherwise they are a warning.
        new_data: continue with data other than those the run began with; otherwise they are refused.
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
