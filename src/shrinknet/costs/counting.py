"""Cost: parameters, multiply-adds, bytes and activation memory of a network, layer by layer; and its latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.costs.products import multiply_adds
from shrinknet.errors import ModelError
from shrinknet.graph import ChannelGraph, trace
from shrinknet.graph.calls import Tensor
from shrinknet.graph.following import is_recorded
from shrinknet.layers import Switched
from shrinknet.records import Cost, LayerCost


def cost(model: Any, input_shape: Sequence[Any] | None = None) -> Cost:
    """The cost of a network. For a switched one, the cost after its disabled filters are cut out.

    Args:
        model: a built Sequential or Functional model, plain or switched.
        input_shape: shape of one sample, without the batch axis, if the model leaves sizes undefined.

    Returns:
        Parameters, multiply-adds of one sample (those of convolutions and matrix products; floating-point operations
        are twice their number), bytes, and the peak memory of the tensors of one sample; prints as a table, layer by
        layer.

    Raises:
        ModelError: a size is undefined, and `input_shape` was not given.

    Example:
        >>> cost(model).parameters == model.count_params()
        True
    """
    try:
        graph = trace(model, input_shape)
    except ModelError as error:
        if not isinstance(model, keras.Model) or is_recorded(model) or not model.built:
            raise
        raise ModelError(f"{error} Or count its copy with switches: cost(switched(model)).") from None
    return graph_cost(graph, switch_state(graph, "disabled"))


def switch_state(graph: ChannelGraph, switch: str) -> np.ndarray:
    """The state of `disabled` or `frozen` for each channel, shape (channels,), bool; all False for a plain network."""
    state = np.zeros(graph.size, bool)
    for path, channels in graph.producers.items():
        layer = graph.layers[path]
        if isinstance(layer, Switched):
            state[channels[ops.convert_to_numpy(getattr(layer.switchboard, switch))]] = True
    return state


def graph_cost(graph: ChannelGraph, gone: np.ndarray) -> Cost:
    """The cost of a traced network without the channels in `gone` (one bool for each).

    Raises:
        ModelError: a required size is undefined.
    """
    sizes: dict[int, int] = {}

    def size(variable: Any) -> int:
        if id(variable) not in sizes:
            left = list(variable.shape)
            for axis, channels in graph.axes.get(id(variable), {}).items():
                left[axis] -= int(np.count_nonzero(gone[channels]))
            sizes[id(variable)] = math.prod(left)
        return sizes[id(variable)]

    products, notes = _multiply_adds(graph, size)
    shapes = {call.path: _shape_left(call.given[0], graph, gone) for call in graph.calls}
    rows = []
    for path, layer in graph.layers.items():
        switches = {id(variable) for variable in layer.switchboard.variables} if isinstance(layer, Switched) else set()
        weights = [variable for variable in getattr(layer, "weights", ()) if id(variable) not in switches]
        channels = graph.producers.get(path)
        rows.append(
            LayerCost(
                layer=path,
                kind=getattr(type(layer), "plain_class", type(layer)).__name__,
                shape=shapes[path],
                filters=None if channels is None else int((~gone[channels]).sum()),
                parameters=sum(map(size, weights)),
                multiply_adds=products.get(path, 0),
                bytes=sum(size(variable) * bytes_each(variable.dtype) for variable in weights),
            )
        )
    return Cost(tuple(rows), _peak_activation(graph, gone), notes)


def known_cost(graph: ChannelGraph, gone: np.ndarray) -> Cost | None:
    """The same as `graph_cost`, but None if a required size is undefined."""
    try:
        return graph_cost(graph, gone)
    except ModelError:
        return None


def _multiply_adds(graph: ChannelGraph, size: Callable[[Any], int]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Path -> multiply-adds for one sample; and one sentence for each layer whose number is unknown."""
    found: dict[str, int] = {}
    for path, kernel, times in graph.products:
        if times is None:
            raise open_size(path)
        found[path] = found.get(path, 0) + round(times * size(kernel))
    told, notes = set(found), []
    for call in graph.calls:
        alone = [] if call.path in told else [call]
        for one in alone if call.inside is None else call.inside:
            try:
                number = multiply_adds(one)
            except TypeError:  # a size is None
                raise open_size(call.path) from None
            if number is None:
                path = call.path if one is call else f"{call.path}/{one.path}"
                notes.append(
                    f"The multiply-adds of {path} ({one.kind}) are not counted: there is no formula for this layer."
                )
            found[call.path] = found.get(call.path, 0) + (number or 0)
    return found, tuple(dict.fromkeys(notes))


def open_size(path: str) -> ModelError:
    """What is raised where multiply-adds depend on a size that the model leaves open."""
    return ModelError(
        f"The multiply-adds of {path} cannot be counted: the input size of the model is undefined. Pass the shape of "
        "one sample as input_shape, for example (128, 128, 1)."
    )


def _live(tensor: Tensor, graph: ChannelGraph, gone: np.ndarray) -> np.ndarray:
    """Which labels of a tensor are left: bool, with the tensor's rank, broadcastable to it."""
    labels, spec = tensor
    return ~gone[graph.solved[labels.reshape((1,) * (len(spec.shape) - labels.ndim) + labels.shape)]]


def _shape_left(tensor: Tensor, graph: ChannelGraph, gone: np.ndarray) -> tuple[int | None, ...]:
    """The shape of a tensor for one sample, without the batch axis, after the channels are cut."""
    live = _live(tensor, graph, gone)
    shape = tuple(tensor[1].shape)
    left = [
        int(live.any(tuple(other for other in range(live.ndim) if other != axis)).sum()) if live.shape[axis] > 1 else n
        for axis, n in enumerate(shape)
    ]
    return tuple(left[1:] if live.any() else [0] * (len(shape) - 1))


def _peak_activation(graph: ChannelGraph, gone: np.ndarray) -> int | None:
    """The peak bytes of the tensors that one sample keeps alive, in execution order.

    While an operation runs, its inputs and outputs are in memory, and everything that a later operation reads or the
    model returns. Every operation writes a new tensor; weights are not counted. None if a size is undefined.
    """
    last: dict[int, int] = {id(tensor): len(graph.calls) for tensor in graph.outputs}
    sizes: dict[int, int] = {}
    for step, call in enumerate(graph.calls):
        for tensor in (*call.taken, *call.given):
            last.setdefault(id(tensor), step)
            last[id(tensor)] = max(last[id(tensor)], step)
            if id(tensor) not in sizes:
                shape, live = tensor[1].shape[1:], _live(tensor, graph, gone)
                if None in shape:
                    return None
                share = np.count_nonzero(live) / live.size
                sizes[id(tensor)] = round(math.prod(shape) * share) * bytes_each(tensor[1].dtype)
    given = {id(tensor) for call in graph.calls for tensor in call.given}
    alive = {tensor for tensor in sizes if tensor not in given}  # the model's inputs
    now = peak = sum(sizes[tensor] for tensor in alive)
    for step, call in enumerate(graph.calls):
        alive |= {id(tensor) for tensor in call.given}
        now += sum(sizes[id(tensor)] for tensor in call.given)
        peak = max(peak, now)
        over = {tensor for tensor in alive if last[tensor] <= step}
        now -= sum(sizes[tensor] for tensor in over)
        alive -= over
    return peak


def bytes_each(dtype: Any) -> int:
    """Bytes of one number of a dtype, by its name; of a text those of TensorFlow's reference to it."""
    if dtype == "string":
        return 24
    return np.dtype("float16" if dtype == "bfloat16" else str(dtype)).itemsize
