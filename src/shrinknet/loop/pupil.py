"""Pupil: the network that is trained: the switched one, or the small network in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from shrinknet.engine import Engine, make_engine
from shrinknet.loop.standin import Standin
from shrinknet.loop.workbench import Workbench
from shrinknet.network.assembling import plain_class
from shrinknet.network.checkpoint import from_arrays
from shrinknet.network.compiled import carry_compilation

PASSES = 3  # multiply-adds of a training step, in those of a forward pass
# Multiply-adds in the time that one more layer takes to be built and compiled. On two x86-64 cores 0.11 and 0.13 s a
# layer, 6e8 and 5e8 multiply-adds (`resnet20` and `mobile` of tools/compare.py, halved); doubled, because the time of a
# step falls by less than its multiply-adds.
TO_MAKE = 1e9


@dataclass(frozen=True)
class Pupil:
    """The network that is trained: the small one, or the switched one if a small one would train differently.

    Attributes:
        net: the network; engine: trains it.
        give_back: writes the trained weights into the switched network.
    """

    net: Any
    engine: Engine
    give_back: Callable[[], None]

    def score(self, bench: Workbench) -> float:
        """Its validation score; NaN when a weight is not finite."""
        return bench.scorer(self.net, self.engine.evaluate) if self.engine.is_finite() else math.nan

    def scores(self, bench: Workbench) -> tuple[float, dict[str, float]]:
        """As `score`, and the scores of the guards by name."""
        if not self.engine.is_finite():
            return math.nan, {}
        return bench.scorer.with_guards(self.net, self.engine.evaluate)

    def put_back(self, arrays: Mapping[str, np.ndarray], bench: Workbench) -> None:
        """The state that `to_arrays` gave."""
        from_arrays(self.net, arrays, bench.switches if self.net is bench.net else None)


def switched_pupil(bench: Workbench) -> Pupil:
    """The switched network itself, with the optimizer that it has."""
    return Pupil(bench.net, bench.engine, lambda: None)


def small_pupil(bench: Workbench, optimizer: Any) -> Pupil | None:
    """The network as it is now, cut out and compiled with an optimizer; None if it would train differently."""
    if _frozen_by_hand(bench):
        return None
    small, cuts = bench.cut_out()
    if not isinstance(small, plain_class(type(bench.net))):  # a plain model has no train_step of the user's own
        return None
    standin = Standin(small, cuts)
    carry_compilation(bench.net, small, optimizer, [(source, target) for source, target, _ in cuts])
    engine = make_engine(small, bench.data.train, bench.data.validation, bench.seed, bench.callbacks,
                         bench.progress.step)  # fmt: skip
    engine.prepare(0, bench.engine.decisions())
    return Pupil(small, engine, standin.give_back)


def _frozen_by_hand(bench: Workbench) -> bool:
    """Whether filters are frozen that are not disabled: in a small network they would train."""
    return bool(set(bench.switches.frozen) - set(bench.switches.disabled))


def is_worth_making(bench: Workbench, steps: int, saved: float) -> bool:
    """Whether a training on the small network saves more time than making that network takes.

    Decided from counts, not from a clock, so that a run that is resumed decides the same.

    Args:
        steps: of the training.
        saved: multiply-adds of one sample that the small network does without.
    """
    return PASSES * saved * bench.batch * steps > TO_MAKE * len(bench.switches.graph.layers)
