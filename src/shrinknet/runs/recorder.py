"""Recorder: saves what a run does, as plain data, and returns it when the run is resumed.

The loop passes everything that is to be saved, and applies what is returned; a recorder never changes a network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from shrinknet.records import Cost, Summary, Trial

State = Mapping[str, np.ndarray]
Filters = Mapping[str, list[int]]  # layer -> indices of its filters


@dataclass(frozen=True)
class Snapshot:
    """The progress of a run.

    Attributes:
        warmup: (step, validation score) pairs; baseline: the score after the warm-up, None before its end.
        trials: the trials decided so far.
        position: how far the data streams were read.
        decided: what the engine decided when the run started; results: the names of the results of an evaluation.
        elapsed: seconds that the run has taken so far.
        anchor: number of the trial whose state is the target of repairs; 0: the state after the warm-up.
        latency: milliseconds of the uncut network, if the target is a latency.
        guards: by name, the scores after the warm-up that guard a cut besides the first.
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
    guards: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """A run that was interrupted or is finished.

    Attributes:
        began: the configuration, identity and environment that it started with.
        snapshot: its progress; arrays: the network and its optimizer.
        summary: the summary of a finished run; None otherwise.
        anchor: the state that is the target of repairs, if it is not the current state of the network.
    """

    began: Mapping[str, Any]
    snapshot: Snapshot
    arrays: State
    summary: Summary | None = None
    anchor: State | None = None


@dataclass(frozen=True)
class ControlState:
    """The progress of the control: the trials on whose batches it was trained, the position in the data, its state."""

    numbers: tuple[int, ...]
    position: Mapping[str, int]
    arrays: State


@dataclass(frozen=True)
class FinalState:
    """The progress of the final training.

    Attributes:
        numbers: the accepted trials that led to the network; done: steps so far; score: the score after them.
        position: how far the data streams were read; arrays: the small network and its optimizer.
        stopped: a callback has ended the training after these steps.
    """

    numbers: tuple[int, ...]
    done: int
    score: float
    position: Mapping[str, int]
    arrays: State
    stopped: bool = False


@dataclass(frozen=True)
class Before:
    """The network after its warm-up, before the first cut.

    Attributes:
        score: the name of the score; higher_is_better: its direction.
        cost: the cost of the uncut network; uncut: the network itself.
        kernels: path of each layer with filters -> its kernel, (... kernel axes and channels in, filters).
    """

    score: str
    higher_is_better: bool
    cost: Cost
    uncut: Any
    kernels: State


@dataclass(frozen=True)
class After:
    """The result of a run that is finished or was stopped.

    Attributes:
        summary: before and after; cost: the cost of the slim network.
        removed: the disabled filters; kernels: as in `Before`.
        switched, slim: the networks.
        finished: False if the run was stopped from outside; the same command then resumes it.
    """

    summary: Summary
    cost: Cost
    removed: Filters
    kernels: State
    switched: Any
    slim: Any
    finished: bool


class Recorder(Protocol):
    """Saves a run, in the order of these methods. Functions that return arrays are called only if these are saved."""

    def __enter__(self) -> Recorder: ...

    def __exit__(self, *error: object) -> None:
        """Releases the lock, if there is one."""

    def begin(
        self, config: Mapping[str, Any], identity: Callable[[], Mapping[str, Any]], limits: Collection[str] = ()
    ) -> Saved | None:
        """The state of the run when it was interrupted; None if it starts now.

        Args:
            config: the settings of the run; identity: returns a description of its model and data, if it is needed.
            limits: settings that only determine when the run ends; they may differ from those it started with.
        """

    def warm_state(self) -> State:
        """The state of the network after the warm-up, for a run that was interrupted later."""

    def warming(self, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        """Called after each part of the warm-up."""

    def warmed_up(self, before: Before, snapshot: Snapshot, arrays: Callable[[], State]) -> None:
        """Called when the warm-up is done, whether in this process or in an earlier one."""

    def decided(self, snapshot: Snapshot, arrays: Callable[[], State], anchor: State | None = None) -> None:
        """Called when a trial is decided, the last of the snapshot; the state is that after the decision.

        Args:
            anchor: see `Saved`.
        """

    def kept(self, number: int, arrays: Callable[[], State]) -> None:
        """Called if the state after an accepted trial is a point of the frontier, before `decided`."""

    def final(self) -> FinalState | None:
        """The progress of the final training; None if it has not started."""

    def finalizing(self, state: FinalState) -> None:
        """Called after each part of the final training."""

    def control(self) -> ControlState | None:
        """The progress of the control; None if it was not trained yet."""

    def controlled(self, numbers: tuple[int, ...], position: Mapping[str, int], arrays: Callable[[], State]) -> None:
        """Called when the control was trained on the batches of these trials."""

    def finished(self, after: After) -> None:
        """Called when the run is finished or was stopped."""


class NoRecorder:
    """Saves nothing."""

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
