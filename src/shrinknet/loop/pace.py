"""Pace: how many filters are tried at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from shrinknet.checks import at_least, is_number, one_of
from shrinknet.errors import OptionError
from shrinknet.filters import Filter

Filters = tuple[Filter, ...]


class Proposals(Protocol):
    """What a pace can ask for: the strategy's next filters, best first, never more than the goals need."""

    def of_count(self, count: int) -> Filters:
        """At most this many filters."""

    def of_cost(self, share: float) -> Filters:
        """As few as save this share of the network's present cost; one if a single filter saves more."""

    def towards_goals(self, part: float) -> Filters:
        """As few as bring the network this part of the way to all goals, in (0, 1]."""


class Pace(Protocol):
    """Decides the size of each trial, from the batches told so far and nothing else."""

    def next(self, proposals: Proposals, candidates: Collection[Filter]) -> Filters:
        """The filters of the next trial; empty: the strategy has nothing left."""

    def splits(self, batch: Filters) -> bool:
        """Whether this batch, if it is rejected, will be tried again in parts."""

    def tell(self, batch: Filters, accepted: bool) -> None:
        """Learns what became of a batch."""


@dataclass(frozen=True)
class Bisect:
    """Large first steps; from the first rejection on, each step is half the one before.

    Steps are measured in the unit of the target. The number of trials grows with the logarithm of the precision, not
    with the number of filters.

    Attributes:
        first: share of the network's present cost that the first trials remove, in (0, 1).
        least: the smallest share that is tried, above 0; at that size, or with a single filter, a rejection is final.
    """

    first: float = 0.25
    least: float = 0.01

    def __post_init__(self) -> None:
        if not (is_number(self.first) and is_number(self.least) and 0 < self.least <= self.first < 1):
            raise OptionError(
                f"Expected Bisect(first, least) with 0 < least <= first < 1; received {self.first!r}, {self.least!r}."
            )


@dataclass(frozen=True)
class Rounds:
    """A number of trials of equal size up to the target.

    Attributes:
        count: number of trials, from 1.
    """

    count: int = 8

    def __post_init__(self) -> None:
        at_least("the number of rounds", self.count, 1)


Spec = str | int | Bisect | Rounds


def make_pace(spec: Spec, *, has_goals: bool, decides: bool) -> Pace:
    """The pace for a setting.

    Args:
        spec: "one", a number from 1, "adaptive", "bisect", "rounds", a `Bisect` or `Rounds`; "auto": "rounds" with
            goals where no score decides, else "bisect".
        has_goals: whether there is a target; decides: whether a score can reject a trial.

    Raises:
        OptionError: it is something else, or rounds without a target.
    """
    if is_number(spec, whole=True) and spec >= 1:  # type: ignore[operator]
        return Fixed(int(spec))  # type: ignore[arg-type]
    if isinstance(spec, str):
        one_of("pace", spec, ("auto", "one", "adaptive", "bisect", "rounds"))
        if spec == "auto":
            spec = "rounds" if has_goals and not decides else "bisect"
        spec = Bisect() if spec == "bisect" else Rounds() if spec == "rounds" else spec
    if isinstance(spec, Rounds):
        if not has_goals:
            raise OptionError("Expected a target for pace='rounds': the rounds lead up to it. Give target=.")
        return InRounds(spec)
    if isinstance(spec, Bisect):
        return Bisecting(spec)
    if spec in ("one", "adaptive"):
        return Fixed(1) if spec == "one" else Adaptive()
    raise OptionError(
        f"Expected pace to be 'one', 'adaptive', 'bisect', 'rounds', a number from 1, a Bisect or a Rounds; received "
        f"{spec!r}."
    )


class Fixed:
    """Always the same number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def next(self, proposals: Proposals, candidates: Collection[Filter]) -> Filters:
        return proposals.of_count(self.count)

    def splits(self, batch: Filters) -> bool:
        return False

    def tell(self, batch: Filters, accepted: bool) -> None: ...


class Adaptive:
    """Doubles after an accepted trial. A rejected batch is not thrown away: it is split, and its halves are tried, down
    to single filters, before the strategy is asked again.
    """

    def __init__(self) -> None:
        self.count = 1
        self._halves: list[Filters] = []  # to be tried from the end

    def next(self, proposals: Proposals, candidates: Collection[Filter]) -> Filters:
        for half in reversed(self._halves):
            batch = tuple(filter for filter in half if filter in candidates)
            if batch:
                return batch
        return proposals.of_count(self.count)

    def splits(self, batch: Filters) -> bool:
        return len(batch) > 1

    def tell(self, batch: Filters, accepted: bool) -> None:
        while self._halves and not set(batch) <= set(self._halves.pop()):
            pass  # a half without candidates was skipped for good
        if accepted:
            self.count = self.count if self._halves else max(self.count, 2 * len(batch))
        elif len(batch) > 1:
            middle = (len(batch) + 1) // 2
            self._halves += [batch[middle:], batch[:middle]]
            self.count = max(1, len(batch) // 2)
        else:
            self.count = 1


class Bisecting:
    """See `Bisect`."""

    def __init__(self, spec: Bisect) -> None:
        self.spec = spec
        self.share = spec.first
        self._rejected = False
        self._too_many = 0  # filters of the last batch that was rejected, since the last acceptance; 0: none

    def next(self, proposals: Proposals, candidates: Collection[Filter]) -> Filters:
        batch = proposals.of_cost(self.share)
        while self._too_many > 1 and len(batch) >= self._too_many:  # filters are coarser than the steps
            batch = proposals.of_count(self._too_many // 2)
        return batch

    def splits(self, batch: Filters) -> bool:
        return len(batch) > 1 and self.share > self.spec.least

    def tell(self, batch: Filters, accepted: bool) -> None:
        self._too_many = 0 if accepted else len(batch) if self.splits(batch) else 0
        self._rejected |= not accepted
        if self._rejected:
            self.share = max(self.spec.least, self.share / 2)


class InRounds:
    """See `Rounds`; where the last round falls short of the target, another follows."""

    def __init__(self, spec: Rounds) -> None:
        self.left = spec.count

    def next(self, proposals: Proposals, candidates: Collection[Filter]) -> Filters:
        return proposals.towards_goals(1 / self.left)

    def splits(self, batch: Filters) -> bool:
        return False

    def tell(self, batch: Filters, accepted: bool) -> None:
        self.left = max(1, self.left - 1)
