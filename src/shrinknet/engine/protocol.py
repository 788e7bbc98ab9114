"""Engine: trains a network for a number of steps and evaluates it; all that the loop knows about training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from shrinknet.engine.data import Feed


class Engine(Protocol):
    """Trains and evaluates one compiled network.

    Attributes:
        name: how it runs the steps, in a word or two.
        net: the network; its loss, loss weights, metrics, optimizer, `train_step` and sample weights are used.
        feed: the training data; validation: the data that it is evaluated on by default.
        seed: determines the order of the data.
        stopped: whether a callback has stopped the last training.
    """

    name: ClassVar[str]
    net: Any
    feed: Feed
    validation: Feed
    seed: int

    @property
    def stopped(self) -> bool:
        """See above."""

    def prepare(self, steps_ahead: int = 0, decided: Mapping[str, Any] | None = None) -> None:
        """Creates every variable that Keras would create in the first step, and decides how to run the steps.

        Args:
            steps_ahead: minimum number of training steps to come.
            decided: what `decisions` returned when the run began, to be used again; None: the run begins now.
        """

    def decisions(self) -> dict[str, Any]:
        """How the steps are run, in JSON types, since the last bits of a training depend on it."""

    def train(self, steps: int, trial: int, start: int = 0, total: int | None = None) -> int:
        """Trains on `steps` batches, in an order that depends only on the seed and the trial's number.

        Args:
            trial: its number, 0 for the warm-up; start: number of its batches that were already used.
            total: number of batches after which the training ends, for callbacks; None: it ends with these.

        Returns:
            The number of batches; fewer than `steps` only if a callback has stopped the training.

        Raises:
            DataError: a generator ended too early; the steps before that were run.
        """

    def end_training(self) -> bool:
        """Tells callbacks that a training has ended before its `total`; and says whether there are any."""

    def evaluate(self, feed: Feed | None = None) -> dict[str, Any]:
        """Loss and metrics by name, over all of `feed` (the validation data if None).

        A metric with several numbers is an array or a structure. If the model has its own `test_step`, results that
        are not metrics are averaged over the samples.
        """

    def is_finite(self) -> bool:
        """Whether every weight is finite; a finite loss does not imply it."""

    def position(self) -> dict[str, int]:
        """How far the streams were read, so that another process can continue at the same batch."""

    def go_to(self, position: Mapping[str, int]) -> None:
        """Advances the streams to a position, without training."""
