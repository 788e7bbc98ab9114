"""Recorder: writes down what a run does, as plain data, and gives it back when the run is resumed.

The loop hands over everything that is to be kept and applies what it is given; a recorder never touches a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from shrinknet.records import Cost, Summary, Trial

State = Mapping[str, np.ndarray]
Filters = Mapping[str, list[int]]  # layer -> numbers of its filters


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands.

    Attributes:
        warmup: (step, validation score) pairs; baseline: the score after the warm-up, None before its end.
        trials: decided so far.
        position: how far the streams of data were read.
        decided: what the engine decided when the run began; results: the names of what an evaluation gives.
        elapsed: seconds that the run has taken.
        anchor: number of the trial whose state is the target of repairs, 0: that after the warm-up.
        latency: milliseconds of the uncut network, where the target is about it.
    """

    warmup: tuple[tuple[int, float], ...]
    baseline: float | None
    trials: tuple[Trial, ...]
    position: Mapping[str, int]
    decided: Mapping[str, Any]
    results: tuple[str, ...]
    elapsed: float
    anchor: int = 0
    latency: float | None = None


@dataclass(frozen=True)
class Saved:
    """A run that was interrupted, or came to its end.

    Attributes:
        began: configuration, identity and environment that it began with.
        snapshot: where it stood; arrays: the network and its optimizer.
        summary: of a run that came to its end; None otherwise.
        anchor: the state that is the target of repairs, where the network is in another one now.
    """

    began: Mapping[str, Any]
    snapshot: Snapshot
    arrays: State
    summary: Summary | None = None
    anchor: State | None = None


@dataclass(frozen=True)
class ControlState:
    """How far the control is trained: on the batches of these trials, read up to here, with this state."""

    numbers: tuple[int, ...]
    position: Mapping[str, int]
    arrays: State


@dataclass(frozen=True)
class FinalState:
    """How far the network that is left is trained at the end.

    Attributes:
        numbers: of the accepted trials that it is left by; done: steps that were taken; score: after them.
        position: how far the streams of data were read; arrays: the small network and its optimizer.
    """

    numbers: tuple[int, ...]
    done: int
    score: float
    position: Mapping[str, int]
    arrays: State


@dataclass(frozen=True)
class Before:
    """The network after its warm-up, before the first cut.

    Attributes:
        score: name; higher_is_better: its direction.
        cost: of the uncut network; uncut: the network itself.
        kernels: path of each layer with filters -> its kernel, (... kernel axes and channels in, filters).
    """

    score: str
    higher_is_better: bool
    cost: Cost
    uncut: Any
    kernels: State


@dataclass(frozen=True)
class After:
    """The end of a run, or of what could be done today.

    Attributes:
        summary: before and after; cost: of the slim network.
        removed: filters that are disabled; kernels: as in `Before`.
        switched, slim: the networks.
        finished: False: stopped from outside, the same command continues it.
    """

    summary: Summary
    cost: Cost
    removed: Filters
    kernels: State
    switched: Any
    slim: Any
    finished: bool


class Recorder(Protocol):
    """Keeps a run, in the order of these methods. Where arrays are a function, it is called only if they are kept."""

    def __enter__(self) -> Recorder: ...

    def __exit__(self, *error: object) -> None:
        """Releases what is held."""

    def begin(
        self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]], limits: Collection[str] = ()
    ) -> Saved | None:
        """Where the run stood when it was interrupted; None: it begins now.

        Args:
            config: the settings of the run; identity: gives what model and data it is about, if it is needed.
            limits: settings that only say how far the run goes; they may differ from those it began with.
        """

    def warm_state(self) -> State:
        """The network's state after the warm-up of a run that was interrupted later."""

    def warming(self, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        """A part of the warm-up is done."""

    def warmed_up(self, before: Before, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        """The warm-up is done, in this process or in one before."""

    def decided(self, snapshot: Snapshot, arrays: Callable[[], State], anchor: State | None = None) -> None:
        """One more trial is decided, the last of the snapshot's; the state is that after the decision.

        Args:
            anchor: see `Saved`.
        """

    def kept(self, number: int, arrays: Callable[[], State]) -> None:
        """The state after an accepted trial is a point of the frontier; the trial is not decided yet."""

    def final(self) -> FinalState | None:
        """How far the final training was before; None: it was not begun."""

    def finalizing(self, state: FinalState) -> None:
        """A part of the final training is done."""

    def control(self) -> ControlState | None:
        """How far the control was trained before; None: not at all."""

    def controlled(self, numbers: tuple[int, ...], position: Mapping[str, int], arrays: Callable[[], State]) -> None:
        """The control was trained on the batches of these trials."""

    def finished(self, after: After) -> None:
        """The end of the run, or of what could be done today."""


class NoRecorder:
    """Keeps nothing."""

    def __enter__(self) -> NoRecorder:
        return self

    def __exit__(self, *error: object) -> None: ...

    def begin(
        self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]], limits: Collection[str] = ()
    ) -> Saved | None:
        return None

    def warm_state(self) -> State:
        return {}

    def warming(self, snapshot: Snapshot, arrays: Callable[[], State]) -> None: ...

    def warmed_up(self, before: Before, snapshot: Snapshot, arrays: Callable[[], State]) -> None: ...

    def decided(self, snapshot: Snapshot, arrays: Callable[[], State], anchor: State | None = None) -> None: ...

    def kept(self, number: int, arrays: Callable[[], State]) -> None: ...

    def final(self) -> FinalState | None:
        return None

    def finalizing(self, state: FinalState) -> None: ...

    def control(self) -> ControlState | None:
        return None

    def controlled(
        self, numbers: tuple[int, ...], position: Mapping[str, int], arrays: Callable[[], State]
    ) -> None: ...

    def finished(self, after: After) -> None: ...
