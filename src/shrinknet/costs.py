"""Cost: parameters, multiply-adds and bytes of a network, layer by layer; and its measured latency."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from shrinknet.errors import ModelError
from shrinknet.graph import ChannelGraph, trace
from shrinknet.layers import Switched
from shrinknet.records import Cost, LayerCost


def cost(model: Any, input_shape: Sequence[Any] | None = None) -> Cost:
    """What a network costs. A switched one counts as if its disabled filters had been cut out.

    Args:
        model: a built Sequential or Functional model, plain or switched.
        input_shape: shape of one sample, without the batch axis, where the model leaves sizes open.

    Returns:
        Parameters, multiply-adds of one sample (those of convolutions and matrix products: twice their number is the
        floating-point operations) and bytes; prints as a table, layer by layer.

    Raises:
        ModelError: a size is open, and `input_shape` was not given.
    """
    graph = trace(model, input_shape)
    return graph_cost(graph, switch_state(graph, "disabled"))


def switch_state(graph: ChannelGraph, switch: str) -> np.ndarray:
    """The state of `disabled` or `frozen` for each channel, shape (channels,), bool; all False in a plain network."""
    state = np.zeros(graph.size, bool)
    for path, channels in graph.producers.items():
        layer = graph.layers[path]
        if isinstance(layer, Switched):
            state[channels[ops.convert_to_numpy(getattr(layer.switchboard, switch))]] = True
    return state


def graph_cost(graph: ChannelGraph, gone: np.ndarray) -> Cost:
    """The cost of a traced network without the channels in `gone` (one bool for each)."""

    def size(variable: Any) -> int:
        left = graph.kept(variable, gone)
        return math.prod(left[axis].size if axis in left else n for axis, n in enumerate(variable.shape))

    multiply_adds: dict[str, int] = {}
    for path, kernel, times in graph.products:
        if times is None:
            raise ModelError(
                f"The multiply-adds of {path} cannot be counted: the model leaves its input's size open. Give the "
                "shape of one sample as input_shape, for example (128, 128, 1)."
            )
        multiply_adds[path] = multiply_adds.get(path, 0) + times * size(kernel)
    rows = []
    shapes = {call.path: call.output_shapes[0][1:] for call in graph.calls}
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
                multiply_adds=multiply_adds.get(path, 0),
                bytes=sum(size(variable) * np.dtype(_numpy_type(variable)).itemsize for variable in weights),
            )
        )
    return Cost(tuple(rows))


def _numpy_type(variable: Any) -> str:
    return "float16" if variable.dtype == "bfloat16" else str(variable.dtype)


def latency(run: Callable[[], Any], seconds: float = 0.3, least: int = 10) -> tuple[float, float]:
    """Median and 95th percentile of the milliseconds that `run()` takes, after two calls that are not counted.

    Args:
        seconds: how long to go on measuring, at least; least: the fewest calls that are counted.
    """
    run()
    run()
    times: list[float] = []
    while len(times) < least or sum(times) < seconds * 1e3:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), float(np.percentile(times, 95))
