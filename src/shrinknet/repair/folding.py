"""Fold: repair without data. What read a removed filter reads the most similar filter of its layer instead.

After model folding (arXiv:2502.10216), which merges clusters of similar channels. A filter with its batch
normalization is one affine function of its inputs. If that of filter a is about s times that of filter b, s above 0,
then behind a ReLU its output is about s times that of b: a reader loses least when s times its weights for a are
added to those for b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.filters import Filter
from shrinknet.graph import ChannelGraph, Weight
from shrinknet.network.switches import Switches
from shrinknet.records import table
from shrinknet.repair.program import Program, record
from shrinknet.repair.readers import following_norm
from shrinknet.repair.settings import Fold


@dataclass(frozen=True)
class Folded:
    """What a fold did.

    Attributes:
        into: each group that is disabled -> the group that stands in for it, and the factor; disabled groups without
            any similar one are absent: their weights are dropped.
    """

    into: Mapping[Filter, tuple[Filter, float]]

    def __str__(self) -> str:
        rows = ((str(gone), str(heir), factor) for gone, (heir, factor) in self.into.items())
        return table({"filter": gone, "into": heir, "factor": factor} for gone, heir, factor in rows)


def fold(net: Any, *, settings: Fold | None = None) -> Folded:
    """Lets the most similar filter of its layer stand in for each disabled one; needs no data.

    The weights that read a disabled channel are added, times the regression coefficient of the two filters, to those
    that read the similar one, and set to 0, so that a second fold adds nothing. Filters are compared with their biases
    and batch normalizations; those of a group with the others whose producers are the same layers. Only positive
    coefficients count, since most activation functions are not odd.

    Args:
        net: what `switched(model)` returned, with filters disabled.
        settings: see `Fold`.

    Returns:
        Which filter stands in for which; prints as a table.

    Raises:
        ModelError: the network has no switches.
    """
    settings = settings or Fold()
    switches = Switches(net)
    graph, gone = switches.graph, switches.read("disabled")
    kept = switches.read("frozen") & (settings.frozen == "keep")
    heirs = _heirs(graph, record(net), gone)
    for weight in graph.weights:
        movable = settings.frozen == "move" or weight.layer.trainable
        if not weight.owned and movable and gone[weight.channels].any():
            _hand_over(graph, weight, heirs, kept)
    names = graph.cuttable
    return Folded({names[one].name: (names[heir].name, factor) for one, (heir, factor) in heirs.items()})


def _heirs(graph: ChannelGraph, program: Program, gone: np.ndarray) -> dict[int, tuple[int, float]]:
    """Each channel that is gone -> the most similar one that is left, and the factor."""
    rows = {path: _affine(graph, program, path, gone) for path in graph.producers}
    families: dict[tuple[str, ...], list[int]] = {}
    for channel, group in graph.cuttable.items():
        families.setdefault(tuple(filter.layer for filter in group.filters), []).append(channel)
    heirs = {}
    for family in families.values():
        members = (graph.cuttable[channel].filters for channel in family)
        vectors = np.array([np.concatenate([rows[one.layer][one.index] for one in filters]) for filters in members])
        lost = np.flatnonzero(gone[family])
        left = np.flatnonzero(~gone[family])
        lengths = np.linalg.norm(vectors, axis=1)
        for place in lost.tolist() if left.size else ():
            products = vectors[left] @ vectors[place]
            similar = int(np.argmax(products / np.maximum(lengths[left], 1e-30)))
            if products[similar] > 0:
                heir = int(left[similar])
                heirs[family[place]] = family[heir], float(products[similar] / lengths[heir] ** 2)
    return heirs


def _affine(graph: ChannelGraph, program: Program, path: str, gone: np.ndarray) -> np.ndarray:
    """Kernel and bias of each filter of a layer as its batch normalization leaves them, shape (filters, weights)."""
    filters = graph.producers[path]
    own = [weight for weight in graph.weights if weight.path == path and weight.owned]
    own = [weight for weight in own if np.array_equal(weight.channels, filters)]
    kernel = next(weight for weight in own if len(weight.variable.shape) > 1)
    values = ops.convert_to_numpy(kernel.variable).astype("float64")
    for axis, positions in graph.read_by(kernel.variable, gone).items():
        np.moveaxis(values, axis, 0)[positions] = 0
    rows = np.moveaxis(values, kernel.axis, 0).reshape(filters.size, -1)
    biases = [weight.variable for weight in own if len(weight.variable.shape) == 1]
    bias = ops.convert_to_numpy(biases[0]).astype("float64") if biases else np.zeros(filters.size)
    norm = following_norm(program, path)
    if norm is not None:
        deviation = np.sqrt(ops.convert_to_numpy(norm.moving_variance).astype("float64") + norm.epsilon)
        scale = ops.convert_to_numpy(norm.gamma) / deviation if norm.gamma is not None else 1 / deviation
        offset = ops.convert_to_numpy(norm.beta) if norm.beta is not None else 0.0
        rows, bias = rows * scale[:, np.newaxis], (bias - ops.convert_to_numpy(norm.moving_mean)) * scale + offset
    return np.column_stack([rows, bias])


def _hand_over(graph: ChannelGraph, weight: Weight, heirs: Mapping[int, tuple[int, float]], kept: np.ndarray) -> None:
    """Moves the slices of one kernel that read channels which are gone to those that read their heirs."""
    values = np.array(ops.convert_to_numpy(weight.variable)).astype("float32")
    slices = np.moveaxis(values, weight.axis, 0)
    for one, (heir, factor) in heirs.items():
        lost, left = np.flatnonzero(weight.channels == one), np.flatnonzero(weight.channels == heir)
        if lost.size == left.size:
            slices[left] += factor * slices[lost]
            slices[lost] = 0
    moved = np.ones(values.shape, bool)
    for axis, channels in graph.axes[id(weight.variable)].items():
        if axis != weight.axis:
            moved &= ~np.expand_dims(kept[channels], [other for other in range(values.ndim) if other != axis])
    before = ops.convert_to_numpy(ops.cast(weight.variable, "float32"))
    weight.variable.assign(keras.ops.cast(np.where(moved, values, before), weight.variable.dtype))
