"""The protocol of strategies: the methods `ask` and `tell`, and the view of the network in NumPy, never in Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from shrinknet.filters import Filter, Group
from shrinknet.records import Trial
from shrinknet.strategies.equations import Equations, Signal


class Savings(Protocol):
    """What each group saves, kept up as groups are taken away; the network itself does not change.

    Attributes:
        filters: the groups, in network order.
    """

    filters: tuple[Filter, ...]

    @property
    def amounts(self) -> np.ndarray:
        """What each of `filters` saves, from 0; 0 for those that are gone. Float64, shape (filters,)."""

    def remove(self, filter: Filter) -> None:
        """Takes a group away: what the others save is now counted without it."""


class Network(Protocol):
    """The network as a strategy sees it: read-only, in NumPy, computed on demand."""

    def candidates(self) -> tuple[Filter, ...]:
        """The filters that may be asked for, in network order: enabled, not frozen by the user, not the last
        `min_filters` of their layer. One for each group.
        """

    def enabled(self, layer: str) -> tuple[int, ...]:
        """Indices of the layer's filters that are not disabled, ascending; candidates or not."""

    def spare(self, layer: str) -> int:
        """How many of the layer's filters may be cut in one trial: the enabled ones beyond `min_filters`, 0 or more.
        Each candidate may be cut alone; only several together can exceed this number.
        """

    def kernel(self, layer: str) -> np.ndarray:
        """Weights of the layer, float32, shape (... kernel axes and channels in, filters): the last axis is the
        layer's own filters. Rows that are fed only by disabled channels are included unchanged.
        """

    def bias(self, layer: str) -> np.ndarray:
        """Biases of the layer, float32, shape (filters,); zeros if the layer has none."""

    def group(self, filter: Filter) -> Group:
        """The group of the filter; a group of one if it can be cut alone."""

    def activations(self, layer: str) -> np.ndarray:
        """The layer's own output on the calibration data, float32, shape (samples, ... , filters)."""

    def score(self, without: Sequence[Filter] = ()) -> float:
        """Score on the calibration data, with the groups of these filters disabled for the measurement."""

    @property
    def higher_is_better(self) -> bool:
        """Direction of `score`."""

    # What follows is measured on the calibration data, for every enabled group that some layer reads; it costs a pass
    # of these data through the network, `slopes` and `equations(weighted=True)` a pass backwards as well.

    def equations(self, weighted: bool = False) -> tuple[Equations, ...]:
        """What each reader computes from the channels that it reads, in network order; `weighted`: and how much the
        loss minds errors in its outputs.
        """

    def slopes(self) -> Mapping[Filter, np.ndarray]:
        """By how much the loss of each calibration sample falls, to first order, when the group is taken away: the
        sum over its readers and places of activation times gradient, float32, shape (samples,).
        """

    def signals(self) -> Mapping[Filter, Signal]:
        """What the readers see of each group."""

    def scales(self) -> Mapping[Filter, float]:
        """Mean absolute scale (gamma) of the batch normalizations on each group's channel; absent without one."""

    def savings(self, unit: str) -> Savings:
        """By how much the network gets smaller when each group goes by itself, counted in "multiply_adds" (of one
        sample), "parameters", "bytes" or "filters".
        """


@runtime_checkable
class Strategy(Protocol):
    """Chooses which filters to try next.

    The answer of `ask` depends only on the constructor's arguments, the trials told so far and the network, because an
    interrupted run resumes by telling a new strategy the old trials.
    """

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` different candidates, best first; empty: nothing is worth trying, and the search ends."""

    def tell(self, trial: Trial) -> None:
        """Reports the result of a trial. A trial with `split` set has not decided its filters yet."""
