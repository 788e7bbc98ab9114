"""Mender: repairs a network after a cut, before any training, with what it computed before as the target.

A refit takes its targets from the network after its warm-up, whatever was cut since, so that errors do not
accumulate. Training changes the weights on purpose: after an accepted trial with training, the targets come from the
network as it was then.
"""

from __future__ import annotations

from collections.abc import Callable

from shrinknet.errors import ModelError
from shrinknet.loop.workbench import Workbench
from shrinknet.repair import Fold, Refit, fold
from shrinknet.repair.reference import Reference, reference_of


class Mender:
    """Repairs one network after each of its cuts.

    Args:
        bench: of the network.
        settings: how; None: nothing is done.
    """

    def __init__(self, bench: Workbench, settings: Refit | Fold | None) -> None:
        self.bench = bench
        self.settings = settings
        self._reference: Reference | None = None

    @property
    def remembers(self) -> bool:
        """Whether a repair needs what the network computed before."""
        return isinstance(self.settings, Refit)

    def remember(self, put_back: Callable[[], None] | None = None) -> None:
        """Takes what the network computes now as the target, unless there is one already.

        Args:
            put_back: restores the state that the target is taken from, temporarily; None: the present state.
        """
        if not self.remembers or self._reference is not None:
            return
        if put_back is None:
            self._reference = reference_of(self.bench.evidence().calibration)
            return
        now = self.bench.checkpoint()
        try:
            put_back()
            self._reference = reference_of(self.bench.evidence().calibration)
        finally:
            now.restore()

    def forget(self) -> None:
        """Drops the target: the network was trained, and what it computed before no longer counts."""
        self._reference = None

    def mend(self) -> bool:
        """Repairs the network; returns False if it computes numbers that are not finite."""
        if isinstance(self.settings, Fold):
            fold(self.bench.net, settings=self.settings)
        elif self._reference is not None:
            try:
                self.bench.evidence().repaired(self._reference)
            except ModelError:
                return False
        return True
