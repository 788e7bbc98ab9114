"""Slim: cut what is disabled out for good. plan (plain data, printable) -> apply (no decisions) -> verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.costs import graph_cost
from shrinknet.errors import NotEquivalentError
from shrinknet.filters import Group
from shrinknet.graph.channels import functional_of
from shrinknet.moves import Movements
from shrinknet.rebuild import carry_compilation, clone_layer, rebuild
from shrinknet.records import Cost, table
from shrinknet.switches import Switches

TOLERANCE = 1e-5  # of the output's scale, float32; float32 sums in another order differ by about 1e-6


@dataclass(frozen=True)
class LayerCut:
    """What becomes of one layer.

    Attributes:
        config: entries of its configuration that change, as `{"filters": 3}`.
        keep: for each of its variables, axis -> the positions that stay; an axis that is not named stays whole.
    """

    config: dict[str, int]
    keep: tuple[dict[int, np.ndarray], ...]


@dataclass(frozen=True)
class Plan:
    """What would be cut, as plain data; prints as a table.

    Attributes:
        removed: the groups that go.
        cuts: path of a layer -> what becomes of it; a layer that is not named stays as it is.
        gone: which channels of the graph go, bool.
        before, after: the cost with all filters, and without the disabled ones.
        unswitchable: layer -> why its filters cannot be cut.
    """

    removed: tuple[Group, ...]
    cuts: dict[str, LayerCut]
    gone: np.ndarray
    before: Cost | None
    after: Cost | None
    unswitchable: dict[str, str]

    def __str__(self) -> str:
        together = [str(group) for group in self.removed if len(group.filters) > 1]
        lines = [f"{len(self.removed)} filters go."]
        if self.before is not None and self.after is not None:
            rows = [
                {
                    "layer": old.layer,
                    "filters": old.filters,
                    "left": new.filters,
                    "parameters": old.parameters,
                    "parameters left": new.parameters,
                    "multiply-adds": old.multiply_adds,
                    "multiply-adds left": new.multiply_adds,
                }
                for old, new in zip(self.before.layers, self.after.layers, strict=True)
                if old.parameters
            ]
            lines.insert(0, table(rows))
        lines += [f"Only together: {names}" for names in together[:20]]
        lines += [f"... and {len(together) - 20} more groups"] if len(together) > 20 else []
        lines += [f"Never cut: {layer}: {reason}" for layer, reason in self.unswitchable.items()]
        return "\n".join(lines)


def plan(net: Any, input_shape: tuple[int, ...] | None = None) -> Plan:
    """What `slim(net)` would cut, before it does.

    Args:
        net: a switched network; input_shape: shape of one sample where the network leaves sizes open; it is only
            needed for the costs.

    Raises:
        ModelError: the network has no switches.
    """
    return plan_of(Switches(net, input_shape))


def plan_of(switches: Switches) -> Plan:
    """The plan for a network whose switches are at hand."""
    graph, gone = switches.graph, switches.read("disabled")
    cuts = {}
    for path, layer in graph.layers.items():
        config = {entry: int((~gone[channels]).sum()) for entry, channels in graph.counts.get(path, {}).items()}
        keep = tuple(graph.kept(variable, gone) for variable in getattr(layer, "variables", ()))
        if any(keep):
            cuts[path] = LayerCut(config, keep)
    known = all(times is not None for _, _, times in graph.products)
    return Plan(
        removed=tuple(group for channel, group in graph.cuttable.items() if gone[channel]),
        cuts=cuts,
        gone=gone,
        before=graph_cost(graph, np.zeros_like(gone)) if known else None,
        after=graph_cost(graph, gone) if known else None,
        unswitchable=graph.unswitchable,
    )


def slim(net: Any, sample: Any = None) -> Any:
    """The small network that is left: a plain Keras model without switches, proven to compute the same.

    Args:
        net: a switched network; it is not changed.
        sample: inputs to prove it on, as the model takes them; None: random numbers.

    Returns:
        A model of the user's own class, compiled as before, with a fresh optimizer. It loads where shrinknet is not
        installed.

    Raises:
        ModelError: the network has no switches.
        NotEquivalentError: its outputs differ from the switched network's by more than 1e-5 of their scale.
    """
    switches = Switches(net)
    small = apply(switches, plan_of(switches))
    verify(net, small, sample)
    carry_compilation(net, small)
    return small


def apply(switches: Switches, plan: Plan) -> Any:
    """The network with the cuts of a plan made; not compiled, not verified."""
    copies: list[tuple[Any, Any, LayerCut]] = []

    def make(path: str, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        cut = plan.cuts.get(path, LayerCut({}, ()))
        plain = getattr(type(operation), "plain_class", type(operation))
        copies.append((operation, clone_layer(operation, plain, **cut.config), cut))
        return copies[-1][1]

    small = rebuild(switches.net, make, Movements(switches.graph, plan.gone).perform)
    for old, new, cut in copies:
        keeps = cut.keep or ({},) * len(new.variables)
        for source, target, keep in zip(old.variables, new.variables, keeps, strict=False):  # switches come last
            value = ops.convert_to_numpy(source)
            for axis, positions in keep.items():
                value = np.take(value, positions, axis)
            target.assign(value)
    return small


def verify(net: Any, small: Any, sample: Any = None) -> float:
    """The largest difference between the outputs of two networks, as a share of the outputs' scale.

    Raises:
        NotEquivalentError: it is more than 1e-5 (1e-2 for half precision), or not a number.
    """
    sample = random_inputs(net) if sample is None else sample
    worst = 0.0
    half = any("float16" in str(layer.compute_dtype) for layer in net._flatten_layers())  # or bfloat16
    outputs = (keras.tree.flatten(model(sample, training=False)) for model in (net, small))
    for expected, received in zip(*outputs, strict=True):
        expected, received = (np.asarray(ops.convert_to_numpy(ops.cast(x, "float32"))) for x in (expected, received))
        if expected.shape != received.shape:
            raise NotEquivalentError(_report(f"its output has shape {received.shape}, not {expected.shape}"))
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
        error = float(np.abs(expected - received).max(initial=0.0)) / scale
        if not error <= (1e-2 if half else TOLERANCE):
            raise NotEquivalentError(_report(f"its output differs by {error:.1e} of its scale"))
        worst = max(worst, error)
    return worst


def _report(what: str) -> str:
    return (
        f"The slim network is not the same function as the switched one: {what}. Nothing was returned; this is a fault "
        "of shrinknet. Please report it with print(shrinknet.plan(net)) and the model's get_config()."
    )


def random_inputs(model: Any, batch: int = 2, open_size: int = 64, seed: int = 0) -> Any:
    """Inputs for a model: standard normal numbers, small integers for integer inputs, in the structure it takes."""
    generator = np.random.default_rng(seed)

    def draw(tensor: Any) -> np.ndarray:
        shape = (batch, *(open_size if size is None else size for size in tensor.shape[1:]))
        if "int" in tensor.dtype:
            return generator.integers(0, 2, shape).astype(tensor.dtype)
        return generator.normal(size=shape).astype("float32")

    return keras.tree.map_structure(draw, functional_of(model)._inputs_struct)
