"""Engine: what trains a network for so many steps and measures it; the loop knows no more of it than this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from shrinknet.engine.data import Feed


class Engine(Protocol):
    """Trains and measures one compiled network.

    Attributes:
        name: how it runs the steps, in a word or two.
        net: its loss, loss weights, metrics, optimizer, `train_step` and sample weights are honoured.
        feed: what it is trained on; validation: what it is measured on by default.
        seed: of the order of the data.
    """

    name: ClassVar[str]
    net: Any
    feed: Feed
    validation: Feed
    seed: int

    def prepare(self, steps_ahead: int = 0, decided: Mapping[str, Any] | None = None) -> None:
        """Makes every variable exist that Keras would create in the first step, and decides how to run the steps.

        Args:
            steps_ahead: how many training steps are to come, at least.
            decided: what `decisions` gave when the run began, which then holds; None: the run begins now.
        """

    def decisions(self) -> dict[str, Any]:
        """What was decided about how to run the steps, in JSON types: the bits of a training depend on it."""

    def train(self, steps: int, trial: int, start: int = 0) -> None:
        """Trains for exactly `steps` batches, in an order that depends on the seed and the trial's number only.

        Args:
            trial: its number, 0 for the warm-up; start: how many batches of it were trained on before.

        Raises:
            DataError: a generator ran dry; the steps before were taken.
        """

    def evaluate(self, feed: Feed | None = None) -> dict[str, Any]:
        """Loss and metrics by name, over all of `feed` (the validation data when None).

        A metric that gives several numbers is an array or a structure; results of a `test_step` of the model's own that
        are no metrics are averaged over the samples.
        """

    def is_finite(self) -> bool:
        """Whether every weight is a finite number; a finite loss does not say so."""

    def position(self) -> dict[str, int]:
        """How far the streams are read: what another process needs to go on at the same batch."""

    def go_to(self, position: Mapping[str, int]) -> None:
        """Reads the streams as far as they were read, without training on anything."""
