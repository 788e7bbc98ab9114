"""Criterion: whether a cut keeps enough of the score. This is the only place that decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Verdict:
    """How a score compares with a reference.

    Attributes:
        ratio: share of the reference that is kept, 1.0 = all of it, higher is better whatever the score's direction;
            NaN if it cannot be computed.
        accepted: whether that is enough.
    """

    ratio: float
    accepted: bool


@dataclass(frozen=True)
class Criterion:
    """How much of the score a cut must keep.

    Attributes:
        threshold: the smallest accepted ratio of the score to its reference, in (0, 1]; None: any finite score will do.
        higher_is_better: direction of the score.
        max_drop: how much worse than its reference the score may be, in its own unit, from 0; it then decides alone,
            and scores may be zero or negative. None: the ratio decides.
        guards: what other scores must keep, by their names: a cut is accepted only if all of them do as well.
    """

    threshold: float | None
    higher_is_better: bool = True
    max_drop: float | None = None
    guards: Mapping[str, Criterion] = field(default_factory=dict, hash=False)

    def verdict(
        self, score: float, reference: float, guards: Mapping[str, float] = NONE, references: Mapping[str, float] = NONE
    ) -> Verdict:
        """Whether the score keeps enough of the reference, and the guards of theirs.

        A score that is not finite never does, and a guard that is missing never does.
        """
        own = self._own(score, reference)
        kept = (
            criterion.verdict(guards.get(name, math.nan), references.get(name, math.nan)).accepted
            for name, criterion in self.guards.items()
        )
        return Verdict(own.ratio, own.accepted and all(kept))

    def _own(self, score: float, reference: float) -> Verdict:
        kept = ratio(score, reference, self.higher_is_better)
        if self.max_drop is not None:
            drop = reference - score if self.higher_is_better else score - reference
            return Verdict(kept, drop <= self.max_drop)
        if self.threshold is None:
            return Verdict(kept, math.isfinite(score))
        return Verdict(kept, kept >= self.threshold)

    def missing(self, score: float, reference: float) -> float:
        """How much a score lacks to be accepted, from 0, in the score's unit; infinite for one that is not finite."""
        if not math.isfinite(score):
            return math.inf
        if self._own(score, reference).accepted:
            return 0.0
        return abs(self.needed(reference) - score)

    def needed(self, reference: float) -> float:
        """The score that would just be accepted with this reference; minus or plus infinity: any."""
        worse = -1 if self.higher_is_better else 1
        if self.max_drop is not None:
            return reference + worse * self.max_drop
        if self.threshold is None:
            return worse * math.inf
        return reference * self.threshold if self.higher_is_better else reference / self.threshold


def ratio(score: float, reference: float, higher_is_better: bool) -> float:
    """The share of the reference that is kept: score / reference if higher is better, else reference / score.

    NaN if either is not a finite number, or if the ratio has no meaning.
    """
    if not math.isfinite(score) or not math.isfinite(reference) or reference == 0:
        return math.nan
    if higher_is_better:
        return score / reference
    return reference / score if score > 0 else math.inf if score == 0 else math.nan
