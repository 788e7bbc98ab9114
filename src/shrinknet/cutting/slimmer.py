"""Slim: removes disabled filters for good. plan (plain data, printable) -> apply (no decisions) -> verify."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from shrinknet.checks import at_least, one_of
from shrinknet.comparing import Mismatch
from shrinknet.costs.counting import known_cost
from shrinknet.cutting.branches import without_idle
from shrinknet.cutting.moves import Movements
from shrinknet.errors import DataError, NotEquivalentError, ShrinknetError, first_line
from shrinknet.filters import Group
from shrinknet.graph import ChannelGraph
from shrinknet.graph.calls import is_users, registered
from shrinknet.internals import layers_of
from shrinknet.layers.counting import Counting
from shrinknet.layers.reductions import Reduction
from shrinknet.network.assembling import plain_class
from shrinknet.network.compiled import carry_compilation, carry_optimizer
from shrinknet.network.copying import carry_state, clone_layer, copy_layer
from shrinknet.network.proving import prove
from shrinknet.network.rebuild import Rebuilder
from shrinknet.network.switches import Switches
from shrinknet.records import Cost, table

_LOG = logging.getLogger("shrinknet")
Fate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LayerCut:
    """How one layer is cut.

    Attributes:
        config: entries of its configuration that change, such as `{"filters": 3}`.
        keep: for each of its variables, axis -> the indices that are left; an axis that is not listed is not cut.
        silent: for each of its variables, axis -> the indices whose numbers become 0: they read channels that are
            disabled but stay, for example to round a width up.
    """

    config: dict[str, int]
    keep: tuple[dict[int, np.ndarray], ...]
    silent: tuple[dict[int, np.ndarray], ...] = ()


@dataclass(frozen=True)
class Plan:
    """What would be cut, as plain data; prints as a table.

    Attributes:
        cuts: path of a layer -> how it is cut; a layer that is not listed does not change.
        gone: which channels of the graph are removed, bool.
        graph: the channel graph that the plan was made for.
        disabled: number of disabled groups; larger than the number of removed ones if widths are rounded up.
        emptied: the layers without any enabled filter. `slim` removes the branch that such a layer is in if it ends in
            an addition, which the costs here do not show; otherwise one filter stays, and nothing reads it.
    """

    cuts: dict[str, LayerCut]
    gone: np.ndarray
    graph: ChannelGraph
    disabled: int = 0
    emptied: tuple[str, ...] = ()

    @cached_property
    def removed(self) -> tuple[Group, ...]:
        """The groups that are removed."""
        return tuple(group for channel, group in self.graph.cuttable.items() if self.gone[channel])

    @cached_property
    def before(self) -> Cost | None:
        """The cost with all filters; None if the network leaves sizes open."""
        return known_cost(self.graph, np.zeros_like(self.gone))

    @cached_property
    def after(self) -> Cost | None:
        """The cost of what is left."""
        return known_cost(self.graph, self.gone)

    @property
    def unswitchable(self) -> dict[str, str]:
        """Layer -> why its filters cannot be cut."""
        return self.graph.unswitchable

    def __str__(self) -> str:
        together = [str(group) for group in self.removed if len(group.filters) > 1]
        lines = [f"{len(self.removed)} filters will be removed."]
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
        lines += [f"Cut together: {names}" for names in together[:20]]
        lines += [f"... and {len(together) - 20} more groups"] if len(together) > 20 else []
        if self.emptied:
            lines.append(
                f"No filter is enabled in {', '.join(self.emptied)}: slim removes a branch that becomes constant and "
                "ends in an addition, so less may be left than is shown; elsewhere one filter stays that nothing reads."
            )
        lines += [f"Never cut: {layer}: {reason}" for layer, reason in self.unswitchable.items()]
        return "\n".join(lines)


def plan(net: Any, input_shape: tuple[int, ...] | None = None, round_to: int = 1) -> Plan:
    """What `slim(net)` would remove, without removing it.

    Args:
        net: a switched network; input_shape: shape of one sample if the network leaves sizes open; it is only needed
            for the costs.
        round_to: see `slim`.

    Raises:
        ModelError: the network has no switches.
    """
    return plan_of(Switches(net, input_shape), round_to)


def plan_of(switches: Switches, round_to: int = 1) -> Plan:
    """The plan for a network, given its switches."""
    graph, disabled = switches.graph, switches.read("disabled")
    gone = disabled & ~_kept_for_width(graph, disabled, round_to)
    mute = disabled & ~gone
    cuts = {}
    for path, layer in graph.layers.items():
        config = {entry: int((~gone[channels]).sum()) for entry, channels in graph.counts.get(path, {}).items()}
        keep = tuple(graph.kept(variable, gone) for variable in getattr(layer, "variables", ()))
        silent = tuple(graph.read_by(variable, mute) for variable in getattr(layer, "variables", ()))
        if any(keep):
            cuts[path] = LayerCut(config, keep, silent)
    emptied = tuple(path for path, channels in graph.producers.items() if disabled[channels].all())
    return Plan(cuts, gone, graph, sum(bool(disabled[channel]) for channel in graph.cuttable), emptied)


def _kept_for_width(graph: ChannelGraph, disabled: np.ndarray, round_to: int) -> np.ndarray:
    """Which disabled channels stay: a placeholder for each tensor that lost all, and those that round widths up.

    Widths become multiples of `round_to`, or keep their old value. Channels that a normalisation averages over would
    change its result if they stayed, so they are always removed.
    """
    at_least("round_to", round_to, 1)
    stays = graph.placeholders(disabled)
    averaged = np.zeros_like(disabled)
    for _, channels, _ in graph.averages:
        averaged[channels] = True
    changed = round_to > 1
    while changed:
        changed = False
        for channels in graph.producers.values():
            out = disabled[channels] & ~stays[channels]
            left = int((~out).sum())
            missing = min(-left % round_to, channels.size - left)
            chosen = channels[out & ~averaged[channels]][:missing]
            stays[chosen] = True
            changed |= chosen.size > 0
    return stays


def slim(net: Any, sample: Any = None, *, round_to: int = 1, optimizer: Literal["sliced", "fresh"] = "sliced") -> Any:
    """The small network that is left: a plain Keras model without switches, verified to compute the same.

    Args:
        net: a switched network; it is not changed.
        sample: inputs to verify it on, as the model takes them; None: random inputs.
        round_to: the new widths are multiples of this number, or the old widths: some disabled filters stay, with
            zeros in everything that reads them, so that the function is the same. 8 suits most hardware.
        optimizer: "sliced": its slots are those of the switched network, without what was cut, so that training
            continues (factored slots, such as Adafactor's, start new); "fresh": a newly built optimizer.

    Returns:
        A plain Keras model, compiled as before, that loads where shrinknet is not installed. It has the user's own
        class if Keras creates models of that class from inputs and outputs; otherwise it is a Functional model, and a
        warning says so. A composite layer that lost filters becomes a nested model.

    Raises:
        ModelError: the network has no switches.
        DataError: the sample is not what the network takes.
        NotEquivalentError: its outputs differ from the switched network's by more than 1e-5 of their scale, and more
            than rounding explains.
    """
    one_of("optimizer", optimizer, ("sliced", "fresh"))
    small, _ = cut_out(Switches(net), sample, round_to=round_to, optimizer=optimizer)
    say_if_another_class(net, small)
    return small


def cut_out(
    switches: Switches, sample: Any = None, *, round_to: int = 1, optimizer: Literal["sliced", "fresh"] = "sliced"
) -> tuple[Any, list[tuple[Any, Any, Fate]]]:
    """Like `slim`, for a network whose switches are given; also returns how each variable that is left was cut.

    See `apply`. Says nothing about the class of the small network.
    """
    net, made = switches.net, plan_of(switches, round_to)
    if made.disabled and not made.removed:
        _LOG.warning(
            "Nothing is removed: round_to=%d keeps all %d disabled filters. Disable more filters of a layer, or use a "
            "smaller number.", round_to, made.disabled,
        )  # fmt: skip
    small, cuts = apply(switches, made)
    bypassed = switches.bypassed
    if bypassed or made.emptied:
        small, later = without_idle(small, bypassed)
        left = {id(old): new for old, new in later}
        cuts = [(source, left[id(target)], fate) for source, target, fate in cuts if id(target) in left]
    pairs = [(source, target) for source, target, _ in cuts]
    verify(net, small, sample)
    carry_compilation(net, small, pairs=pairs)
    if optimizer == "sliced":
        carry_optimizer(net, small, {id(source): fate for source, _, fate in cuts}, pairs)
    return small, cuts


def say_if_another_class(net: Any, small: Any) -> None:
    """Warns if the slim network does not have the user's own class, and so not its training."""
    kind = plain_class(type(net))
    if not isinstance(small, kind) and not isinstance(net, keras.Sequential):
        _LOG.warning(
            "%s has a constructor or a call of its own, so the slim network is a plain Functional model: it computes "
            "the same, but trains with Keras's own train_step.", kind.__name__
        )  # fmt: skip


def apply(switches: Switches, plan: Plan) -> tuple[Any, list[tuple[Any, Any, Fate]]]:
    """The network with the cuts of a plan applied; not compiled, not verified.

    Also returns for each variable: the old one, the new one, and a function that turns the old value into the new one.
    """
    copies: list[tuple[Any, Any, LayerCut]] = []

    def make(path: str, operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if isinstance(operation, Reduction):
            return operation.plain()
        operation = operation.layer if isinstance(operation, Counting) else operation
        cut = plan.cuts.get(path, LayerCut({}, ()))
        plain = getattr(type(operation), "plain_class", type(operation))
        if path in plan.cuts:
            new = clone_layer(operation, plain, resized=True, **cut.config)
        else:
            new = copy_layer(operation, plain)
        copies.append((operation, new, cut))
        return new

    builder = Rebuilder(make, Movements(switches.graph, plan.gone).perform)
    small = builder.model(switches.net, "")
    cuts: list[tuple[Any, Any, Fate]] = [(source, target, _whole) for source, target in builder.pairs]
    for old, new, cut in copies:
        if not cut.keep:
            cuts += [(source, target, _whole) for source, target in carry_state(old, new)]
            continue
        nothing: tuple[dict[int, np.ndarray], ...] = ({},) * len(new.variables)
        parts = zip(old.variables, new.variables, cut.keep, cut.silent or nothing, strict=False)
        for source, target, keep, silent in parts:  # the old layer's switches come last and have no counterpart
            cuts.append((source, target, functools.partial(_cut, keep=keep, silent=silent)))
            target.assign(cuts[-1][2](ops.convert_to_numpy(source)))
            target.trainable = source.trainable
    return small, cuts


def _whole(value: np.ndarray) -> np.ndarray:
    return value


def _cut(value: np.ndarray, keep: dict[int, np.ndarray], silent: dict[int, np.ndarray]) -> np.ndarray:
    for axis, positions in silent.items():
        value = value.copy()
        value[(slice(None),) * axis + (positions,)] = 0
    for axis, positions in keep.items():
        value = np.take(value, positions, axis)
    return value


def verify(net: Any, small: Any, sample: Any = None) -> float:
    """The largest difference between the outputs of two networks, as a share of the outputs' scale.

    Raises:
        DataError: the network cannot be called with the sample.
        NotEquivalentError: the difference is larger than `prove` allows, or not a number.
    """
    try:
        return prove(net, small, sample)
    except Mismatch as mismatch:
        raise NotEquivalentError(_report(str(mismatch), net)) from None
    except ShrinknetError:
        raise
    except Exception as error:
        if sample is None:
            raise
        raise DataError(
            f"The network {net.name} cannot be called with the sample ({first_line(error)}). Pass inputs as it takes "
            "them, of sizes that fit each other."
        ) from error


def _report(what: str, net: Any) -> str:
    own = {type(layer) for layer in layers_of(net) if (known := registered(type(layer))) and is_users(known)}
    names = ", ".join(sorted(getattr(kind, "plain_class", kind).__name__ for kind in own))
    blame = (
        f"Check the rule that you registered for {names}: it may not describe what the layer does."
        if names
        else "This is a bug in shrinknet. Please report it with print(shrinknet.plan(net)) and the model's config."
    )
    return f"The slim network is not the same function as the switched one: {what}. Nothing was returned. {blame}"
