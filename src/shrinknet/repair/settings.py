"""The settings of repair, checked: `Refit` and `Fold`, and what `repair=` stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shrinknet.checks import is_number
from shrinknet.errors import OptionError


@dataclass(frozen=True)
class Refit:
    """Repair by least squares: every reader gets the kernel and bias that best reproduce its old outputs.

    Attributes:
        samples: calibration samples, from 1; drawn by the seed if more are given. "auto": 1,024 small inputs, and fewer
            large ones, which have more positions each: as many as hold three million numbers, but at least 256. None:
            all that are given.
        positions: rows of each layer's regression at most, from 1: output places, spread evenly over the samples.
        ridge: share of the mean square of a layer's inputs that is added to the diagonal of its equations, above 0;
            it pulls the solution towards the old kernel.
        rounds: how often a layer in front of a ReLU is solved anew, from 0, each time without what the ReLU hides:
            outputs that are negative as they shall be count as right.
        frozen: "keep" leaves frozen filters and layers with `trainable=False` as they are, to the bit; "move" repairs
            them like all others.
        seed: of the samples and positions, integer from 0.
        batch: samples that pass through the network at once, from 1. "auto": 256 small inputs, and fewer large ones: as
            many as hold a million numbers, but at least 64.
        memory: bytes of activations that are held in memory, from 0; what exceeds them goes to temporary files.

    Raises:
        OptionError: a value is out of range.
    """

    samples: int | Literal["auto"] | None = "auto"
    positions: int = 8_192
    ridge: float = 0.01
    rounds: int = 3
    frozen: Literal["keep", "move"] = "keep"
    seed: int = 0
    batch: int | Literal["auto"] = "auto"
    memory: int = 2 * 2**30

    def __post_init__(self) -> None:
        for name, open_ in (("samples", (None, "auto")), ("batch", ("auto",))):
            if getattr(self, name) not in open_:
                _whole(name, getattr(self, name), 1)
        for name, least in (("positions", 1), ("rounds", 0), ("memory", 0), ("seed", 0)):
            _whole(name, getattr(self, name), least)
        if not (is_number(self.ridge) and 0 < self.ridge < float("inf")):
            raise OptionError(f"Expected ridge to be a number above 0, as 0.01; received {self.ridge!r}.")
        if self.frozen not in ("keep", "move"):
            raise OptionError(f"Expected frozen to be 'keep' or 'move'; received {self.frozen!r}.")


@dataclass(frozen=True)
class Fold:
    """Repair without data: what read a removed filter reads the most similar filter of its layer instead.

    Attributes:
        frozen: as for `Refit`.

    Raises:
        OptionError: a value is out of range.
    """

    frozen: Literal["keep", "move"] = "keep"

    def __post_init__(self) -> None:
        if self.frozen not in ("keep", "move"):
            raise OptionError(f"Expected frozen to be 'keep' or 'move'; received {self.frozen!r}.")


Repair = Refit | Fold
_NUMBERS, _FEWEST, _MOST = 3 * 2**20, 256, 1_024  # of samples="auto": numbers in the inputs, and samples
_AT_ONCE = 2**20, 64, 256  # the same of batch="auto"


def samples_wanted(settings: Refit, shapes: Sequence[Sequence[int]]) -> int | None:
    """How many calibration samples are wanted at most; None: all.

    Args:
        shapes: of each input, one sample.
    """
    if settings.samples != "auto":
        return settings.samples
    return _that_hold(_NUMBERS, shapes, _FEWEST, _MOST)


def samples_at_once(settings: Refit, shapes: Sequence[Sequence[int]]) -> int:
    """How many calibration samples pass through the network at once; `shapes` as in `samples_wanted`."""
    return _that_hold(_AT_ONCE[0], shapes, *_AT_ONCE[1:]) if settings.batch == "auto" else settings.batch


def _that_hold(numbers: int, shapes: Sequence[Sequence[int]], fewest: int, most: int) -> int:
    return int(np.clip(numbers // max(1, *(math.prod(shape) for shape in shapes)), fewest, most))


def repair_settings(repair: Repair | str | None) -> Repair | None:
    """What `repair=` stands for: "refit", "fold", an object with settings, or None for no repair.

    Raises:
        OptionError: it is none of these.
    """
    if repair is None or isinstance(repair, Refit | Fold):
        return repair
    known: dict[str, Repair] = {"refit": Refit(), "fold": Fold()}
    if isinstance(repair, str) and repair in known:
        return known[repair]
    raise OptionError(f"Expected repair to be 'refit', 'fold', a Refit or Fold object, or None; received {repair!r}.")


def _whole(name: str, value: object, least: int) -> None:
    if not (is_number(value, whole=True) and value >= least):  # type: ignore[operator]
        raise OptionError(f"Expected {name} to be a whole number of at least {least}; received {value!r}.")
