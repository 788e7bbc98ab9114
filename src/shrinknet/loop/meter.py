"""Meter: what the network costs, now and without some filters, and how far it is from the goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shrinknet.costs.counting import graph_cost
from shrinknet.filters import Filter
from shrinknet.loop.goals import Goal, unit_of
from shrinknet.loop.workbench import Workbench

WORDS = {"filters": "filters", "parameters": "parameters", "multiply_adds": "multiply-adds", "bytes": "bytes",
         "latency": "latency"}  # fmt: skip


class Meter:
    """Counts costs in the units of the goals.

    Args:
        bench: of the network, which must still be uncut.
        goals: what it may cost; empty: as little as possible.
        latency: milliseconds of the uncut network, where a goal is about latency.

    Attributes:
        latency: milliseconds of the network as it was last measured. What it will be with fewer filters is estimated
            from the multiply-adds; whether a goal is reached is decided by a measurement.
    """

    def __init__(self, bench: Workbench, goals: Sequence[Goal], latency: float | None = None) -> None:
        self.bench = bench
        self.goals = tuple(goals)
        self.unit = unit_of(self.goals)
        self.latency = latency
        self._at_latency = 1.0  # multiply-adds of the network whose latency was measured
        self.uncut = {unit: self.value(unit) for unit in {self.unit, *(goal.unit for goal in goals)} - {"latency"}}
        if latency is not None:
            self.uncut["latency"] = latency
            self.measured(latency)

    def measured(self, latency: float) -> None:
        """Notes the measured latency, in milliseconds, of the network as it is now."""
        self.latency, self._at_latency = latency, self.value("multiply_adds")

    def value(self, unit: str, without: Sequence[Filter] = ()) -> float:
        """What the network costs without these filters as well."""
        if unit == "latency":
            return (self.latency or 0.0) * self.value("multiply_adds", without) / self._at_latency
        switches = self.bench.switches
        if self.bench.whole_layers:
            cost = self.bench.cost()
            return self.bench.filters_left() if unit == "filters" else float(getattr(cost, unit))
        gone = switches.read("disabled")
        for filter in without:
            gone[switches.graph.channel(filter)] = True
        if unit == "filters":
            return float(sum(not gone[channel] for channel in switches.graph.cuttable))
        return float(getattr(graph_cost(switches.graph, gone), unit))

    def limit(self, goal: Goal) -> float:
        """The most that may be left."""
        if goal.unit == "filters" and goal.share:
            return float(np.ceil(goal.amount * self.uncut["filters"]))
        return goal.amount * self.uncut[goal.unit] if goal.share else goal.amount

    def reached(self, without: Sequence[Filter] = ()) -> bool:
        """Whether all goals are reached without these filters; never where there are none."""
        return bool(self.goals) and all(
            self.value(goal.unit, without) <= self.limit(goal) * (1 + 1e-9) for goal in self.goals
        )

    def towards(self, part: float) -> Callable[[Sequence[Filter]], bool]:
        """A test: does removing these filters bring the network this part of the way, in (0, 1], to every goal?"""
        now = {goal.unit: self.value(goal.unit) for goal in self.goals}
        limits = {goal: now[goal.unit] + part * min(0.0, self.limit(goal) - now[goal.unit]) for goal in self.goals}
        return lambda filters: all(self.value(goal.unit, filters) <= most + 1e-9 for goal, most in limits.items())

    def saving(self, share: float) -> Callable[[Sequence[Filter]], bool]:
        """A test: does removing these filters save this share of the network's present cost?"""
        most = (1 - share) * self.value(self.unit)
        return lambda filters: self.value(self.unit, filters) <= most

    def told(self) -> str:
        """How much is left in the units of the goals, in words."""
        parts = []
        for goal in self.goals:
            value = self.value(goal.unit)
            if goal.unit == "filters":
                parts.append(f"{value:.0f} filters")
            elif goal.unit == "latency" and not goal.share:
                parts.append(f"{value:.3g} ms")
            else:
                parts.append(f"{value / self.uncut[goal.unit]:.1%} of the {WORDS[goal.unit]}")
        return " and ".join(parts)
