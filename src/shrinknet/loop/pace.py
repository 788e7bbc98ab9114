"""Pace: how many filters are tried at once."""

from __future__ import annotations

from collections.abc import Callable, Collection

from shrinknet.errors import OptionError
from shrinknet.filters import Filter

Filters = tuple[Filter, ...]


class Pace:
    """The number of filters of the next trial: always the same, or adaptive.

    Adaptive doubles after an accepted trial. A rejected batch is not thrown away: it is split, and its halves are
    tried, down to single filters, before the strategy is asked again.

    Args:
        pace: "one", a number from 1, or "adaptive".

    Raises:
        OptionError: it is something else.
    """

    def __init__(self, pace: str | int) -> None:
        if pace == "one":
            pace = 1
        if pace != "adaptive" and (not isinstance(pace, int) or isinstance(pace, bool) or pace < 1):
            raise OptionError(f"Expected pace to be 'one', 'adaptive' or a number from 1; received {pace!r}.")
        self.adaptive = pace == "adaptive"
        self.count = 1 if self.adaptive else int(pace)
        self._halves: list[Filters] = []  # to be tried from the end

    def next(self, ask: Callable[[int], Filters], candidates: Collection[Filter]) -> Filters:
        """The filters of the next trial; empty: the strategy has nothing left."""
        for half in reversed(self._halves):
            batch = tuple(filter for filter in half if filter in candidates)
            if batch:
                return batch
        return ask(self.count)

    def splits(self, batch: Filters) -> bool:
        """Whether this batch, if it is rejected, will be tried again in halves."""
        return self.adaptive and len(batch) > 1

    def tell(self, batch: Filters, accepted: bool) -> None:
        """What became of a batch; what comes next is a function of the batches told so far."""
        if not self.adaptive:
            return
        while self._halves and not set(batch) <= set(self._halves.pop()):
            pass  # a half without candidates was passed over for good
        if accepted:
            self.count = self.count if self._halves else max(self.count, 2 * len(batch))
        elif len(batch) > 1:
            middle = (len(batch) + 1) // 2
            self._halves += [batch[middle:], batch[:middle]]
            self.count = max(1, len(batch) // 2)
        else:
            self.count = 1
