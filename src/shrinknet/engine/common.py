"""What engines have in common: callbacks, the position in the data, and the check of all weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from shrinknet.engine.callbacks import keras_callbacks
from shrinknet.engine.data import Feed, Stream, first_batch
from shrinknet.network.switches import keep_frozen


class CommonEngine(ABC):
    """See `Engine`.

    Args:
        net: compiled; train, validation: what it is trained on and measured on.
        seed: of the order of the data.
        callbacks: the user's; on_step: called with (step, steps) now and then.
    """

    name: ClassVar[str]

    def __init__(
        self,
        net: Any,
        train: Feed,
        validation: Feed,
        seed: int,
        callbacks: Sequence[Any] = (),
        on_step: Callable[..., None] | None = None,
    ) -> None:
        self.net = net
        self.feed = train
        self.validation = validation
        self.seed = seed
        self.callbacks = keras_callbacks(callbacks)
        self.on_step = on_step or (lambda step, steps: None)

    @abstractmethod
    def train(self, steps: int, trial: int, start: int = 0) -> None:
        """See `Engine`."""

    @abstractmethod
    def evaluate(self, feed: Feed | None = None) -> dict[str, float]:
        """See `Engine`."""

    def prepare(self, steps_ahead: int = 0, decided: Mapping[str, Any] | None = None) -> None:
        """See `Engine`; here there is nothing to decide."""
        batch = keras.tree.map_structure(ops.convert_to_tensor, first_batch(self.feed))
        self.net._symbolic_build(data_batch=batch)
        keep_frozen(self.net)

    def decisions(self) -> dict[str, Any]:
        """See `Engine`."""
        return {}

    def finalize(self) -> None:
        """What `fit` does at its end: an optimizer that averages weights writes the average."""
        self.net.optimizer.finalize_variable_values(self.net.trainable_weights)

    def position(self) -> dict[str, int]:
        """See `Engine`."""
        position = {}
        if isinstance(self.feed, Stream):
            position["consumed"] = self.feed.consumed
        if isinstance(self.validation, Stream):
            position["validation_passes"] = self.validation.passes
        return position

    def go_to(self, position: Mapping[str, int]) -> None:
        """See `Engine`."""
        if isinstance(self.feed, Stream):
            self.feed.skip_to(position.get("consumed", 0))
        if isinstance(self.validation, Stream):
            self.validation.skip_passes(position.get("validation_passes", 0))

    def is_finite(self) -> bool:
        """See `Engine`."""
        floats = [variable for variable in self.net.weights if "float" in str(variable.dtype)]
        return all(bool(ops.convert_to_numpy(ops.all(ops.isfinite(variable)))) for variable in floats)
