"""Memory of past trials: the bookkeeping that most strategies share."""

from __future__ import annotations

from typing import final

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.protocol import Network


@final
class Memory:
    """Remembers the trials, and which filters not to ask for again.

    A rejected trial is rolled back bit for bit, so asking for its filters again would repeat it on the same network.
    They are left out until an acceptance has changed the network (thesis 2.4.2: after a restore the selection picks
    different masks). A trial with `split` set is ignored.

    Attributes:
        patience: rejections in a row after which nothing remains; None: no limit.
        trials: number of decided trials.
        rejections: number of rejections in a row, 0 after each acceptance.
        rejected: the filters of all trials rejected since the last acceptance.
    """

    def __init__(self, patience: int | None = None) -> None:
        self.patience = at_least_one("patience", patience)
        self.trials = 0
        self.rejections = 0
        self.rejected: frozenset[Filter] = frozenset()

    def tell(self, trial: Trial) -> None:
        """Records a decided trial."""
        if trial.split:
            return
        self.trials += 1
        self.rejections = 0 if trial.accepted else self.rejections + 1
        self.rejected = frozenset() if trial.accepted else self.rejected.union(trial.filters)

    def remaining(self, network: Network) -> tuple[Filter, ...]:
        """Candidates not rejected since the last acceptance, in network order; none once patience has run out."""
        if self.patience is not None and self.rejections >= self.patience:
            return ()
        return tuple(filter for filter in network.candidates() if filter not in self.rejected)


def at_least_one(name: str, value: int | None) -> int | None:
    """Returns `value`, an integer from 1 or None.

    Raises:
        OptionError: anything else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(
            f"Expected the strategy's parameter {name} to be an integer of at least 1, or None for no limit; "
            f"received {value!r}."
        )
    return value
