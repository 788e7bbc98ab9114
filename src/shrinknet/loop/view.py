"""NetworkView: the switched network as a strategy sees it: NumPy, read-only, computed only when asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from keras import ops

from shrinknet.costs.savings import Savings
from shrinknet.errors import OptionError, StrategyError
from shrinknet.filters import Filter, Group
from shrinknet.loop.settings import Scope
from shrinknet.network.checkpoint import Checkpoint
from shrinknet.network.switches import Switches
from shrinknet.repair.evidence import Evidence, scales
from shrinknet.strategies.equations import Equations, Signal


class NetworkView:
    """See `shrinknet.strategies.Network` for what its methods give.

    Args:
        switches: of the network.
        frozen: the filters that the user froze: they are no candidates.
        floors: layer -> how many filters it keeps.
        whole_layers: candidates are layers that can be bypassed, each named by its first enabled filter.
        calibration: inputs for `activations`; measure: the score on calibration data, now.
        higher_is_better: direction of the score.
        evidence: what is measured on the calibration data for strategies that ask for it; None: they are refused.
    """

    def __init__(
        self,
        switches: Switches,
        *,
        frozen: Sequence[Filter] = (),
        floors: Mapping[str, int] | None = None,
        whole_layers: bool = False,
        calibration: Callable[[], Any],
        measure: Callable[[], float],
        higher_is_better: bool,
        evidence: Callable[[], Evidence] | None = None,
    ) -> None:
        self._switches = switches
        self._frozen = frozenset(frozen)
        self._floors = floors or dict.fromkeys(switches.graph.producers, 1)
        self._whole_layers = whole_layers
        self._calibration = calibration
        self._measure = measure
        self.higher_is_better = higher_is_better
        self._evidence = evidence
        self._sizes = {group.name: Counter(filter.layer for filter in group.filters) for group in switches.groups}

    def candidates(self) -> tuple[Filter, ...]:
        if self._whole_layers:
            return tuple(Filter(layer, self.enabled(layer)[0]) for layer in self._switches.bypassable)
        left = self._left()
        return tuple(
            filter
            for filter in self._switches.enabled
            if filter not in self._frozen
            and all(left[layer] - count >= self._floors[layer] for layer, count in self._sizes[filter].items())
        )

    def _left(self) -> dict[str, int]:
        gone = self._switches.read("disabled")
        return {path: int((~gone[channels]).sum()) for path, channels in self._switches.graph.producers.items()}

    def spare(self, layer: str) -> int:
        return max(0, self._left()[layer] - self._floors[layer])

    def enabled(self, layer: str) -> tuple[int, ...]:
        gone = self._switches.read("disabled")[self._switches.graph.producers[layer]]
        return tuple(np.flatnonzero(~gone).tolist())

    def kernel(self, layer: str) -> np.ndarray:
        kernel, axis = next(
            (weight.variable, weight.axis) for weight in self._own(layer) if len(weight.variable.shape) > 1
        )
        return np.moveaxis(ops.convert_to_numpy(kernel).astype("float32"), axis, -1)

    def bias(self, layer: str) -> np.ndarray:
        biases = [weight.variable for weight in self._own(layer) if len(weight.variable.shape) == 1]
        if biases:
            return ops.convert_to_numpy(biases[0]).astype("float32")
        return np.zeros(self._switches.graph.producers[layer].size, "float32")

    def _own(self, layer: str) -> list[Any]:
        return [weight for weight in self._switches.graph.weights if weight.path == layer and weight.owned]

    def group(self, filter: Filter) -> Group:
        return self._switches.group(filter)

    def activations(self, layer: str) -> np.ndarray:
        with _listening(self._switches.graph.layers[layer]) as heard:
            self._switches.net(self._calibration(), training=False)
        return ops.convert_to_numpy(heard[-1]).astype("float32")

    def score(self, without: Sequence[Filter] = ()) -> float:
        if self._whole_layers:
            before = Checkpoint.of(self._switches.net)
            self._switches.bypass(*dict.fromkeys(filter.layer for filter in without))
            try:
                return self._measure()
            finally:
                before.restore()
        without = [filter for filter in without if filter not in self._switches.disabled]
        self._switches.disable(*without)
        try:
            return self._measure()
        finally:
            self._switches.enable(*without)

    def equations(self, weighted: bool = False) -> tuple[Equations, ...]:
        return self._known().equations(weighted)

    def slopes(self) -> dict[Filter, np.ndarray]:
        return self._known().slopes()

    def signals(self) -> dict[Filter, Signal]:
        return self._known().signals()

    def scales(self) -> dict[Filter, float]:
        return scales(self._switches)

    def savings(self, unit: str) -> Savings:
        return Savings(self._switches.graph, self._switches.read("disabled"), unit)

    def _known(self) -> Evidence:
        if self._evidence is None:
            raise StrategyError(
                "The strategy asked for what calibration data say about the network, but the run has none. Give "
                "calibration data, or choose a strategy that works without them, as norm-l1."
            )
        return self._evidence()


def floors(scope: Scope, switches: Switches) -> dict[str, int]:
    """Layer -> how many filters it keeps; all of them where it is left alone, one at least under a mean or a maximum.

    Raises:
        OptionError: a name or pattern fits no layer that can be cut.
    """
    widths = {path: channels.size for path, channels in switches.graph.producers.items()}
    named = {path for group in switches.groups for path in (filter.layer for filter in group.filters)}
    given = scope.min_filters
    patterns = {"only": _words(scope.only), "never": _words(scope.never),
                "min_filters": tuple(given) if isinstance(given, Mapping) else ()}  # fmt: skip
    for name, words in patterns.items():
        for word in words:
            if not any(fnmatchcase(path, word) for path in widths):
                raise OptionError(
                    f"Expected {name} to name layers with filters; {word!r} fits none of {', '.join(sorted(named))}."
                )
    kept = {}
    for path, width in widths.items():
        wanted = scope.only is None or any(fnmatchcase(path, word) for word in patterns["only"])
        if not wanted or any(fnmatchcase(path, word) for word in patterns["never"]):
            kept[path] = width
        else:
            kept[path] = _floor(given, path, width)
    for _, channels, needs_one in switches.graph.averages:
        for path, own in switches.graph.producers.items() if needs_one else ():
            if np.isin(own, channels).any():
                kept[path] = max(kept[path], 1)
    return kept


def _words(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _floor(given: int | Mapping[str, int | float], path: str, width: int) -> int:
    if not isinstance(given, Mapping):
        return given
    floor = next((floor for word, floor in given.items() if fnmatchcase(path, word)), 1)
    return math.ceil(floor * width) if isinstance(floor, float) else floor


@contextmanager
def _listening(layer: Any) -> Any:
    """Keeps every output of a layer while the block lasts, wherever in a nested model it sits."""
    heard: list[Any] = []
    call = layer.call

    def listening(*arguments: Any, **keywords: Any) -> Any:
        heard.append(call(*arguments, **keywords))
        return heard[-1]

    layer.__dict__["call"] = listening
    try:
        yield heard
    finally:
        del layer.__dict__["call"]
