"""Program: a recorded network as a list of steps that can be run one at a time, on all calibration data.

Repair works on one layer after the other and needs the inputs of that layer alone. A walk over the steps computes
each tensor once, hands it to whoever wants to see it, and forgets it after its last use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import ops

from shrinknet.graph.following import is_over_time
from shrinknet.internals import functional_of, given_to, nodes_of, single_call


@dataclass(frozen=True, eq=False)
class Step:
    """One call of one layer or operation.

    Attributes:
        operation: the Keras layer or operation.
        path: its name; in a nested model the path, `body/conv2`, where it is called first.
        number: how often the operation was called before: 0 but for shared layers.
        arguments: Keras's symbolic arguments of the call.
        takes, gives: numbers of the tensors that come in and go out.
    """

    operation: Any
    path: str
    number: int
    arguments: Any
    takes: tuple[int, ...]
    gives: tuple[int, ...]

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        """The outputs for these values of `takes`, as in inference."""
        known = {id(symbol): value for symbol, value in zip(self.arguments.keras_tensors, tensors, strict=True)}
        arguments, keywords = self.arguments.fill_in(known)
        if getattr(self.operation, "_call_has_training_arg", False):
            keywords = {**keywords, "training": False}
        return keras.tree.flatten(self.operation(*arguments, **keywords))


class Folded(Step):
    """The time steps of a tensor as samples of their own: the first axis holds those of each sample side by side."""

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensor without its time axis."""
        (tensor,) = tensors
        return [ops.reshape(tensor, (-1, *tensor.shape[2:]))]


class Unfolded(Step):
    """The time axis back again; takes the tensor, and the one that was folded."""

    def run(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensor with its time axis."""
        tensor, before = tensors
        return [ops.reshape(tensor, (*before.shape[:2], *tensor.shape[1:]))]


@dataclass(frozen=True)
class Program:
    """The steps of a network in an order in which each comes after what it reads.

    Attributes:
        steps: nested models are flattened into them.
        inputs, outputs: numbers of the tensors that the network takes and returns.
        functional: the Functional model that was recorded.
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    functional: Any

    @cached_property
    def by_path(self) -> Mapping[str, list[Step]]:
        """Path of an operation -> its calls, in network order."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            if type(step) is Step:
                found.setdefault(step.path, []).append(step)
        return found

    @cached_property
    def consumers(self) -> Mapping[int, tuple[Step, ...]]:
        """Number of a tensor -> the steps that take it."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            for slot in dict.fromkeys(step.takes):
                found.setdefault(slot, []).append(step)
        return {slot: tuple(steps) for slot, steps in found.items()}

    def stations(self, together: Collection[str] = ()) -> tuple[tuple[Step, ...], ...]:
        """The steps in an order of execution, with the calls of each layer in `together` side by side.

        A layer that is called several times, as in twin networks, can be repaired only when the inputs of all of its
        calls are known. Where one call feeds another no order does that: its calls then stand apart.
        """
        apart: set[str] = set()
        while True:
            station_of, stations = self._contracted(set(together) - apart)
            order, stuck = _sorted(stations, station_of, self.steps)
            if not stuck:
                return tuple(order)
            apart.add(next(station[0].path for station in stuck if len(station) > 1))

    def _contracted(self, together: set[str]) -> tuple[dict[int, int], list[list[Step]]]:
        """Id of a step -> place of its station; and the stations."""
        home: dict[str, int] = {}
        stations: list[list[Step]] = []
        station_of: dict[int, int] = {}
        for step in self.steps:
            place = home.setdefault(step.path, len(stations)) if step.path in together else len(stations)
            if place == len(stations):
                stations.append([])
            stations[place].append(step)
            station_of[id(step)] = place
        return station_of, stations


def _sorted(
    stations: list[list[Step]], station_of: dict[int, int], steps: Sequence[Step]
) -> tuple[list[tuple[Step, ...]], list[list[Step]]]:
    """The stations in an order of execution, and those that have none because they wait for themselves."""
    makers = {slot: station_of[id(step)] for step in steps for slot in step.gives}
    waits = [{makers[slot] for step in station for slot in step.takes if slot in makers} for station in stations]
    order: list[tuple[Step, ...]] = []
    done: set[int] = set()
    waiting = list(range(len(stations)))
    while waiting:
        left = []
        for place in waiting:  # in the order of the network: one pass does unless something is shared
            if waits[place] <= done:
                done.add(place)
                order.append(tuple(stations[place]))
            else:
                left.append(place)
        if len(left) == len(waiting):
            break
        waiting = left
    return order, [stations[place] for place in waiting if place not in done]


def record(model: Any) -> Program:
    """The program of a Sequential or Functional model, plain or switched, with nested models flattened.

    Raises:
        ModelError: the model is not built, or is a subclassed model whose operations are not recorded.
    """
    functional = functional_of(model)
    recorder = _Recorder()
    inputs = recorder.fresh(len(functional.inputs))
    outputs = recorder.walk(functional, inputs, "")
    return Program(tuple(recorder.steps), inputs, tuple(outputs), functional)


class _Recorder:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.size = 0
        self.times: Counter[str] = Counter()
        self.paths: dict[int, str] = {}  # id of an operation -> where it is called first, which names it

    def fresh(self, count: int) -> tuple[int, ...]:
        self.size += count
        return tuple(range(self.size - count, self.size))

    def walk(self, functional: Any, inputs: Sequence[int], prefix: str) -> list[int]:
        known = {id(tensor): slot for tensor, slot in zip(functional.inputs, inputs, strict=True)}
        for node in nodes_of(functional):
            takes = tuple(known[id(tensor)] for tensor in node.arguments.keras_tensors)
            outputs = self.visit(node, takes, prefix + node.operation.name)
            known.update({id(tensor): slot for tensor, slot in zip(node.outputs, outputs, strict=True)})
        return [known[id(tensor)] for tensor in functional.outputs]

    def visit(self, node: Any, takes: tuple[int, ...], path: str) -> Sequence[int]:
        operation = node.operation
        path = self.paths.setdefault(id(operation), path)
        if isinstance(operation, keras.Model):
            nested = functional_of(operation)
            known = dict(zip(map(id, node.arguments.keras_tensors), takes, strict=True))
            return self.walk(nested, [known[id(tensor)] for tensor in given_to(nested, node)], path + "/")
        if is_over_time(operation):
            frame = keras.KerasTensor((None, *node.arguments.keras_tensors[0].shape[2:]))
            call = single_call(operation.layer, frame, node.outputs)
            inner = self.visit(call, self.add(Folded, node, takes[:1], path), f"{path}/{operation.layer.name}")
            return self.add(Unfolded, node, (*inner, takes[0]), path)
        return self.add(Step, node, takes, path)

    def add(self, kind: type[Step], node: Any, takes: tuple[int, ...], path: str) -> tuple[int, ...]:
        gives = self.fresh(len(node.outputs))
        self.steps.append(kind(node.operation, path, self.times[path], node.arguments, takes, gives))
        self.times[path] += 1
        return gives
