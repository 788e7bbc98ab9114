"""Workbench: the network that is being cut, and everything that trains, measures and cuts it. It has no history."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.costs.counting import cost, graph_cost
from shrinknet.cutting.slimmer import Fate, cut_out
from shrinknet.engine import FitEngine, make_engine
from shrinknet.engine.data import CALIBRATION_SAMPLES, Arrays, Feed, calibration, first_batch
from shrinknet.errors import ModelError
from shrinknet.loop.progress import Progress
from shrinknet.loop.scoring import Mode, Score, make_scorer
from shrinknet.loop.settings import Scope
from shrinknet.loop.view import NetworkView, floors
from shrinknet.network.checkpoint import Checkpoint, from_arrays, to_arrays, weights_to_arrays
from shrinknet.network.compiled import carry_compilation
from shrinknet.network.guarded import keep_frozen
from shrinknet.network.optimizers import fresh_copy, reset_optimizer
from shrinknet.network.soundness import unsound
from shrinknet.network.switches import Switches
from shrinknet.records import Cost
from shrinknet.repair import Refit
from shrinknet.repair.evidence import Evidence
from shrinknet.repair.reference import Calibration
from shrinknet.repair.settings import samples_wanted

_LOG = logging.getLogger("shrinknet")


@dataclass(frozen=True)
class Data:
    """Data to train on, data that decide, and data that no decision sees."""

    train: Feed
    validation: Feed
    test: Feed | None = None


class Workbench:
    """What can be done to a switched network.

    Args:
        net: switched and compiled.
        data: to train and to measure on.
        seed: of the order of the data.
        score, mode: see `make_scorer`.
        scope: what may be cut.
        repair: how many samples and positions of the calibration data are used.
        callbacks: the user's; progress: shows how far training is.
        steps_ahead: the least number of training steps to come.
        decided: what the engine decided when the run began; results: the names of the evaluation's results then.

    Raises:
        ModelError: there are no filters that can be cut.
        ScoreError: the score is unknown, or its direction is.
    """

    def __init__(
        self,
        net: Any,
        data: Data,
        seed: int,
        *,
        score: Score = None,
        mode: Mode = "auto",
        scope: Scope | None = None,
        repair: Refit | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | None = None,
        steps_ahead: int = 0,
        decided: Mapping[str, Any] | None = None,
        results: tuple[str, ...] | None = None,
    ) -> None:
        self.net = net
        self.data = data
        self.seed = seed
        self.scope = scope or Scope()
        self.repair = repair or Refit()
        self.callbacks = callbacks
        self.progress = progress or Progress(hidden=True)
        batch = first_batch(data.train)
        self.batch = len(keras.tree.flatten(batch[0])[0])
        # a network with open sizes may train on crops; it is used on inputs like those it is validated on
        self.shapes = _shapes(first_batch(data.validation)[0])
        self.switches = Switches(net, self.shapes)
        self.floors = floors(self.scope, self.switches)
        if not self.switches.filters:
            reasons = "; ".join(f"{layer}: {reason}" for layer, reason in self.switches.unswitchable.items())
            raise ModelError(f"The model {net.name} has no filters that can be cut ({reasons or 'no such layers'}).")
        self.held = unsound(self.switches.graph)  # filters that training would still take into account -> why
        if self.held and set(self.held) >= set(self.switches.filters):
            raise ModelError(f"None of the filters of {net.name} can be cut. {next(iter(self.held.values()))}")
        if self.held:
            _LOG.warning("%d filters are left alone. %s", len(self.held), next(iter(self.held.values())))
        wanted = samples_wanted(self.repair, [[size or 1 for size in shape] for shape in _shapes(batch[0])])
        self.few = calibration(data.train, max(wanted or 0, CALIBRATION_SAMPLES))
        self.ships: Any = None  # the optimizer of networks that are handed out; None: the one they train with
        self._evidence: Evidence | None = None
        self.engine = make_engine(net, data.train, data.validation, seed, callbacks, self.progress.step)
        self.engine.prepare(steps_ahead, decided)
        measured = {} if results else self.engine.evaluate()
        self.results = results or tuple(measured)
        self.scorer = make_scorer(score, mode, net, self.results)
        known = measured.get(self.scorer.name) if self.scorer.function is None else None
        self.first = known if isinstance(known, float) else None  # the score before any training, if known

    @property
    def whole_layers(self) -> bool:
        """Whether candidates are layers, not filters."""
        return self.scope.candidates == "layers"

    def view(self, few: Arrays | None = None) -> NetworkView:
        """The network as a strategy sees it; filters that are frozen now are no candidates.

        Args:
            few: samples for measurements without training; None: some of the training data.
        """
        few = few or calibration(self.data.train if isinstance(self.data.train, Arrays) else self.few)
        return NetworkView(
            self.switches,
            frozen=(*self.switches.frozen, *self.held),
            floors=self.floors,
            whole_layers=self.whole_layers,
            calibration=lambda: few.arrays[0],
            measure=lambda: self.scorer(self.net, lambda: self.engine.evaluate(few)),
            higher_is_better=self.scorer.higher_is_better,
            evidence=self.evidence,
        )

    def evidence(self) -> Evidence:
        """What the calibration data tell about the network."""
        if self._evidence is None:
            x, *targets = self.few.arrays
            looked_at = Calibration(self.net, x, self.repair, self.switches)
            self._evidence = Evidence(looked_at, targets[0] if targets else None)
        return self._evidence

    # -- cutting and training

    def cut(self, *filters: Any) -> None:
        """Disables and freezes filters, or bypasses the layers that they stand for."""
        if self.whole_layers:
            self.switches.bypass(*dict.fromkeys(filter.layer for filter in filters))
        else:
            self.switches.disable(*filters)
            self.switches.freeze(*filters)

    def reset(self) -> None:
        """Resets the optimizer to its state when it was built."""
        reset_optimizer(self.net.optimizer)

    def take_optimizer(self, optimizer: Any) -> None:
        """Makes the network train with this optimizer from now on."""
        carry_compilation(self.net, self.net, optimizer)
        keep_frozen(self.net)
        self.engine.prepare(0, self.engine.decisions())

    def checkpoint(self) -> Checkpoint:
        """All state as it is now."""
        return Checkpoint.of(self.net, self.switches)

    def arrays(self) -> dict[str, np.ndarray]:
        """All state as it is now, for a file."""
        return to_arrays(self.net)

    def weights(self) -> dict[str, np.ndarray]:
        """The weights and switches as they are now, for a file."""
        return weights_to_arrays(self.net)

    def put_back(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the state that `arrays` returned."""
        from_arrays(self.net, arrays, self.switches)

    def slim(self) -> Any:
        """The small network that is left, verified to compute the same."""
        small, _ = cut_out(self.switches, self.sample())
        if self.ships is not None:
            carry_compilation(small, small, fresh_copy(self.ships))
        return small

    def cut_out(self) -> tuple[Any, list[tuple[Any, Any, Fate]]]:
        """As `slim`, with the fate of each variable."""
        return cut_out(self.switches, self.sample(), optimizer="fresh")

    # -- measuring

    def score(self) -> float:
        """The validation score; NaN if any weight is not finite, which a finite loss can hide."""
        return self.scorer(self.net, self.engine.evaluate) if self.engine.is_finite() else math.nan

    def scores(self) -> tuple[float, dict[str, float]]:
        """As `score`, and the scores of the guards by name."""
        if not self.engine.is_finite():
            return math.nan, {}
        return self.scorer.with_guards(self.net, self.engine.evaluate)

    def score_of(self, model: Any, feed: Feed) -> float:
        """The score of another network, compiled alike, on any data."""
        return self.scorer(model, lambda: FitEngine(model, feed, feed, self.seed).evaluate())

    def cost(self, small: Any = None) -> Cost:
        """The network's cost if it were cut out now, or that of the small network given."""
        if small is None and self.switches.bypassed:
            small = self.slim()
        if small is None:
            return graph_cost(self.switches.graph, self.switches.read("disabled"))
        return cost(small, self.shapes)

    def filters_left(self) -> int:
        """Filters that are neither disabled nor bypassed."""
        bypassed = self.switches.bypassed
        return sum(filter.layer not in bypassed for filter in self.switches.enabled)

    def removed(self) -> dict[str, list[int]]:
        """Layer -> the numbers of its filters that are disabled, every member of their groups."""
        gone, found = self.switches.disabled, dict[str, list[int]]()
        for group in self.switches.groups:
            for filter in group.filters if group.name in gone else ():
                found.setdefault(filter.layer, []).append(filter.index)
        return found

    def kernels(self) -> dict[str, np.ndarray]:
        """Path of each layer with filters -> its kernel, float32, (... kernel axes and channels in, filters)."""
        found, graph = {}, self.switches.graph
        for weight in graph.weights:
            if weight.owned and weight.path in graph.producers and len(weight.variable.shape) > 1:
                array = ops.convert_to_numpy(weight.variable).astype("float32")
                found[weight.path] = np.moveaxis(array, weight.axis, -1)
        return found

    def sample(self) -> Any:
        """A few inputs for comparing networks."""
        return keras.tree.map_structure(lambda array: np.asarray(array)[:8], first_batch(self.data.validation)[0])


def _shapes(inputs: Any) -> list[tuple[int, ...]]:
    """The shape of one sample of each input."""
    return [tuple(np.shape(array))[1:] for array in keras.tree.flatten(inputs)]
