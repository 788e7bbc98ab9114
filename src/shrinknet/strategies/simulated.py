"""What calibration data would say about a network of NumPy arrays: for `shrinknet.testing.FakeNetwork`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from shrinknet.filters import Filter, Group
from shrinknet.strategies.equations import Equations, Signal


class Arrays(Protocol):
    """What a network of NumPy arrays has to offer."""

    layers: tuple[str, ...]
    listed: tuple[Group, ...]

    def kernel(self, layer: str) -> np.ndarray:
        """See `Network`."""

    def bias(self, layer: str) -> np.ndarray:
        """See `Network`."""

    def enabled(self, layer: str) -> tuple[int, ...]:
        """See `Network`."""

    def group(self, filter: Filter) -> Group:
        """See `Network`."""

    def activations(self, layer: str) -> np.ndarray:
        """See `Network`."""


class Simulated:
    """Mixed into a network of NumPy arrays: what is measured on calibration data, made up from the layers' weights."""

    def equations(self: Arrays, weighted: bool = False) -> tuple[Equations, ...]:
        """As if each layer was read by one of three outputs."""
        return tuple(_equations(self, layer, weighted) for layer in self.layers)

    def slopes(self: Arrays) -> dict[Filter, np.ndarray]:
        """As if the gradient at each filter's output was its bias."""
        return _slopes(self)

    def signals(self: Arrays) -> dict[Filter, Signal]:
        """Of the layers' own outputs."""
        return _signals(self)

    def scales(self: Arrays) -> dict[Filter, float]:
        """As if the biases were scales; groups whose first filter has index 1 have none."""
        sizes = {layer: np.abs(self.bias(layer)) for layer in self.layers}
        return {
            group.name: float(np.mean([sizes[member.layer][member.index] for member in group.filters]))
            for group in _enabled(self)
            if group.name.index != 1
        }

    def savings(self: Arrays, unit: str) -> Saved:
        """The filters of each group, or the numbers in their kernels and biases."""
        saved = {}
        for group in _enabled(self):
            each = [1 + self.kernel(member.layer)[..., 0].size for member in group.filters]
            saved[group.name] = float(len(each) if unit == "filters" else sum(each))
        return Saved(saved)


class Saved:
    """See `Savings`: what each group saves, whatever else is gone."""

    def __init__(self, saved: Mapping[Filter, float]) -> None:
        self.filters = tuple(saved)
        self.amounts = np.array(list(saved.values()), np.float64)

    def remove(self, filter: Filter) -> None:
        """See `Savings`."""
        self.amounts[self.filters.index(filter)] = 0


def _equations(network: Arrays, layer: str, weighted: bool) -> Equations:
    enabled = np.array(network.enabled(layer), int)
    outputs = network.activations(layer).astype(np.float64)
    rows = np.zeros((outputs[..., 0].size, outputs.shape[-1]))
    rows[:, enabled] = outputs.reshape(-1, outputs.shape[-1])[:, enabled]
    rows -= rows.mean(axis=0)
    sums = network.kernel(layer).reshape(-1, outputs.shape[-1]).sum(axis=0)
    kernel = np.zeros((outputs.shape[-1], 3))
    kernel[enabled] = np.sin(np.outer(sums[enabled] + 1, [1, 2, 3]))
    reads: dict[Filter, list[int]] = {}
    for index in enabled.tolist():
        reads.setdefault(network.group(Filter(layer, index)).name, []).append(index)
    columns = {filter: np.array(found) for filter, found in reads.items()}
    weights = np.array([1.0, 2.0, 0.5]) if weighted else None
    return Equations(f"after {layer}", rows.T @ rows / len(rows), kernel, columns, {}, weights)


def _slopes(network: Arrays) -> dict[Filter, np.ndarray]:
    falls = {}
    for layer in network.layers:
        outputs = network.activations(layer)
        falls[layer] = outputs.reshape(len(outputs), -1, outputs.shape[-1]).sum(axis=1) * network.bias(layer)
    least = min((len(array) for array in falls.values()), default=0)
    return {
        group.name: np.sum([falls[member.layer][:least, member.index] for member in group.filters], axis=0)
        for group in _enabled(network)
    }


def _signals(network: Arrays) -> dict[Filter, Signal]:
    outputs = {layer: network.activations(layer) for layer in network.layers}
    return {
        group.name: Signal(
            float(np.mean([np.abs(outputs[member.layer][..., member.index]).mean() for member in group.filters])),
            float(np.mean([(outputs[member.layer][..., member.index] == 0).mean() for member in group.filters])),
        )
        for group in _enabled(network)
    }


def _enabled(network: Arrays) -> list[Group]:
    """The groups that are not disabled, in network order."""
    enabled = {layer: set(network.enabled(layer)) for layer in network.layers}
    return [group for group in network.listed if group.name.index in enabled[group.name.layer]]
