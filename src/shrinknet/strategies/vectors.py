"""Filters as vectors, so that a strategy can compare them in a few array operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shrinknet.filters import Filter, Group
from shrinknet.strategies.protocol import Network


@dataclass(frozen=True, slots=True)
class Peers:
    """Groups that can be compared with each other: their producers are the same layers in the same order.

    In a network without ties these are the enabled filters of one layer. If a layer's filters are grouped in different
    ways (for example, half of them tied by a residual add), each way has its own peers, since vectors of different
    weights have no angle or distance.

    Attributes:
        filters: names of the groups in network order, candidates or not; disabled ones are left out.
        vectors: float64, shape (groups, weights): each row is the concatenation of the vectors of the group's
            producers, each a flattened kernel with its bias appended.
    """

    filters: tuple[Filter, ...]
    vectors: np.ndarray


def peers(network: Network, bias: bool = True) -> tuple[Peers, ...]:
    """All enabled groups that a candidate can be compared with, for the candidates of all layers.

    Args:
        network: the network that the strategy sees.
        bias: append each filter's bias to its kernel.

    Returns:
        Peers in network order of their first candidate.
    """
    rows: dict[str, np.ndarray] = {}
    found: dict[tuple[str, ...], Peers] = {}
    for filter in network.candidates():
        layers = _layers(network.group(filter))
        if layers not in found:
            for layer in set(layers) - set(rows):
                rows[layer] = _rows(network, layer, bias)
            found[layers] = _peers(network, layers, rows)
    return tuple(found.values())


def norms(network: Network, order: int = 2, bias: bool = True) -> dict[Filter, float]:
    """L1 (`order` 1) or L2 (`order` 2) norm of the vector of every enabled group that `peers` lists.

    Norms are rounded to 12 significant digits, so that kernels with the same numbers in a different order have the same
    norm, whatever the order of summation.
    """
    return {
        filter: float(norm)
        for family in peers(network, bias)
        for filter, norm in zip(family.filters, rounded(np.linalg.norm(family.vectors, order, axis=1)), strict=True)
    }


def rounded(values: np.ndarray) -> np.ndarray:
    """Values rounded to 12 significant binary-scaled digits, so that sums that differ only in their order tie.

    Weights are float32 (7 digits) and sums are computed in float64 (16 digits); 12 lies safely in between.
    """
    mantissa, exponent = np.frexp(values)
    result: np.ndarray = np.ldexp(np.round(mantissa, 12), exponent)
    return result


def _layers(group: Group) -> tuple[str, ...]:
    return tuple(filter.layer for filter in group.filters)


def _rows(network: Network, layer: str, bias: bool) -> np.ndarray:
    kernel = np.asarray(network.kernel(layer), np.float64)
    rows = kernel.reshape(-1, kernel.shape[-1]).T  # (filters, weights)
    return np.column_stack([rows, np.asarray(network.bias(layer), np.float64)]) if bias else rows


def _peers(network: Network, layers: tuple[str, ...], rows: dict[str, np.ndarray]) -> Peers:
    enabled = (Filter(layers[0], index) for index in network.enabled(layers[0]))
    # A group occurs once for each of its filters in the first layer; it is counted at the filter it is named after.
    groups = [group for filter in enabled if (group := network.group(filter)).name == filter]
    groups = [group for group in groups if _layers(group) == layers]
    indices = np.array([[filter.index for filter in group.filters] for group in groups])  # (groups, producers)
    joined = [rows[layer][indices[:, place]] for place, layer in enumerate(layers)]
    return Peers(tuple(group.name for group in groups), np.concatenate(joined, axis=1))
