"""Proposals: how many of the strategy's filters make up a trial of the size that the pace wants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.loop.meter import Meter
from shrinknet.loop.pace import Filters
from shrinknet.loop.search import Ask

Enough = Callable[[Sequence[Filter]], bool]


class ByCount:
    """Proposals where nothing is known about costs."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def of_count(self, count: int) -> Filters:
        """See `pace.Proposals`."""
        return self.ask(count)

    def of_cost(self, share: float) -> Filters:
        """Refused: costs are not known."""
        raise OptionError("Expected a pace that counts filters: 'one', a number, or 'adaptive'.")

    def towards_goals(self, part: float) -> Filters:
        """Refused: costs are not known."""
        return self.of_cost(part)


class ByCost:
    """See `pace.Proposals`.

    Args:
        ask: returns at most this many of the strategy's filters, best first.
        meter: counts what they cost.
        round_to: what is left of a layer that is cut is a multiple of this number.
    """

    def __init__(self, ask: Ask, meter: Meter, round_to: int = 1) -> None:
        self.ask = ask
        self.meter = meter
        self.round_to = round_to
        self.candidates = len(meter.bench.switches.enabled)

    def of_count(self, count: int) -> Filters:
        """At most this many filters, and no more than the goals need."""
        ranked = self.ask(count)
        if self.meter.goals:
            ranked = ranked[: self._fewest(ranked, self.meter.reached)]
        return self._whole_lumps(ranked, len(ranked))

    def of_cost(self, share: float) -> Filters:
        """As few filters as save this share of the network's present cost, and no more than the goals need."""
        saving, reached = self.meter.saving(share), self.meter.reached
        return self._until(lambda filters: saving(filters) or reached(filters), share)

    def towards_goals(self, part: float) -> Filters:
        """As few filters as bring the network this part of the way to all goals."""
        return self._until(self.meter.towards(part), 0.1)

    def _until(self, enough: Enough, guess: float) -> Filters:
        """Asks for more filters until they are enough; `guess` is the share of the filters to begin with."""
        if self.meter.bench.whole_layers:
            return self.of_count(1)
        count = math.ceil(guess * self.candidates) + 1
        while True:
            ranked = self.ask(min(count, self.candidates))
            wanted = self._fewest(ranked, enough)
            if (wanted < len(ranked) or enough(ranked)) or len(ranked) < count:
                return self._whole_lumps(ranked, wanted)
            count *= 2

    def _fewest(self, ranked: Filters, enough: Enough) -> int:
        """The length of the shortest prefix that is enough, from 1; that of the whole if none is."""
        low, high = min(1, len(ranked)), len(ranked)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(ranked[:middle]) else (middle + 1, high)
        return low

    def _whole_lumps(self, ranked: Filters, wanted: int) -> Filters:
        """The first ranked filters, without those that would leave a layer with a number not divisible by `round_to`.

        If that leaves none, more are taken, until some layer can lose enough at once.
        """
        if self.round_to == 1 or not ranked:
            return ranked[:wanted]
        while not (batch := self._rounded(ranked[:wanted])):
            if wanted >= self.candidates:
                return ()
            wanted = min(2 * wanted, self.candidates)
            ranked = self.ask(wanted)
        return batch

    def _rounded(self, batch: Filters) -> Filters:
        view = self.meter.bench.switches
        gone = view.read("disabled")
        left = {path: int((~gone[channels]).sum()) for path, channels in view.graph.producers.items()}
        sizes = {filter: Counter(member.layer for member in view.group(filter).filters) for filter in batch}
        kept = list(batch)
        while True:
            cut: Counter[str] = sum((sizes[filter] for filter in kept), Counter())
            odd = {path for path, count in cut.items() if (left[path] - count) % self.round_to}
            worst = next((filter for filter in reversed(kept) if odd & set(sizes[filter])), None)
            if worst is None:
                return tuple(kept)
            kept.remove(worst)
