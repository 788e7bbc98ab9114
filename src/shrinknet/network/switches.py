"""Switches: reads and sets the switches of a switched network."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from shrinknet.costs.counting import switch_state
from shrinknet.errors import FilterError, ModelError
from shrinknet.filters import Filter, Group
from shrinknet.graph import trace
from shrinknet.layers import Switched
from shrinknet.layers.bypass import identity_place
from shrinknet.layers.holding import hold, refuse_traced
from shrinknet.network.optimizers import install_freezing, is_freezing, set_frozen
from shrinknet.network.soundness import refuse_unsound


class Switches:
    """The switches of a switched network. Every change takes effect at once, and nothing is retraced.

    Args:
        net: a network that `switched(model)` returned, or one that was saved and loaded.
        input_shape: shape of one sample if the network leaves sizes open; only costs need it.

    Raises:
        ModelError: the network has no switched layers.

    Example:
        >>> net = switched(model)                     # doctest: +SKIP
        >>> switches = Switches(net)
        >>> switches.disable(Filter("conv1", 3))
        >>> switches.disabled
        (Filter(layer='conv1', index=3),)
    """

    def __init__(self, net: Any, input_shape: Sequence[Any] | None = None) -> None:
        self.net = net
        self.graph = trace(net, input_shape)
        switched = hasattr(type(net), "plain_class")  # perhaps without a single layer that could get switches
        if not switched and not any(isinstance(layer, Switched) for layer in self.graph.layers.values()):
            raise ModelError(f"The model {net.name} has no switches: make a copy that has them with switched(model).")

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups that can be cut, in network order."""
        return tuple(self.graph.cuttable.values())

    @cached_property
    def filters(self) -> tuple[Filter, ...]:
        """Every filter that can be cut, in network order; one filter for each group."""
        return tuple(group.name for group in self.groups)

    @property
    def unswitchable(self) -> dict[str, str]:
        """Layer -> why its filters cannot be cut."""
        return self.graph.unswitchable

    @property
    def disabled(self) -> tuple[Filter, ...]:
        """The disabled filters, in network order; one filter for each group."""
        return self._named(self.read("disabled"))

    @property
    def frozen(self) -> tuple[Filter, ...]:
        """The frozen filters, in network order; one filter for each group."""
        return self._named(self.read("frozen"))

    @property
    def enabled(self) -> tuple[Filter, ...]:
        """The filters that can be cut and are not disabled."""
        gone = set(self.disabled)
        return tuple(filter for filter in self.filters if filter not in gone)

    def group(self, filter: Filter) -> Group:
        """The group that a filter belongs to; any member of the group may be given.

        Raises:
            FilterError: there is no such filter.
        """
        return self.graph.groups[self._channel(filter)]

    def disable(self, *filters: Filter) -> None:
        """Disables these filters and their groups: every layer that reads them sees 0.

        Raises:
            FilterError: a filter does not exist or cannot be cut; nothing is changed.
        """
        self._set("disabled", filters, True)

    def enable(self, *filters: Filter) -> None:
        """The opposite of `disable`."""
        self._set("disabled", filters, False)

    def freeze(self, *filters: Filter) -> None:
        """Freezes the weights of these filters: they do not change by a single bit, whatever the optimizer.

        These are the kernel slices and biases, and the channel's slices of trainable normalisation weights. Moving
        statistics are not weights and continue to follow the data. Filters that cannot be cut can be frozen too.

        Raises:
            FilterError: a filter does not exist; nothing is changed.
        """
        self._set("frozen", filters, True)

    def thaw(self, *filters: Filter) -> None:
        """The opposite of `freeze`."""
        self._set("frozen", filters, False)

    @property
    def bypassed(self) -> tuple[str, ...]:
        """The layers that are bypassed, in network order."""
        boards = ((path, self.graph.layers[path].switchboard) for path in self._boards)
        return tuple(path for path, board in boards if bool(keras.ops.convert_to_numpy(board.bypassed)))

    @property
    def bypassable(self) -> tuple[str, ...]:
        """The layers that can be bypassed now, in network order: their output has the shape of their input.

        They have as many enabled filters as they read enabled channels, and none of their filters reaches an output.
        """
        gone = set(self.bypassed)
        return tuple(path for path in self._boards if path not in gone and self._identity(path) is not None)

    def bypass(self, *layers: str) -> None:
        """Makes these layers pass their input on to their activation function; `slim` removes them.

        Their kernels become the identity between the enabled channels, their biases 0, and neither changes any more.

        Raises:
            FilterError: a layer cannot be bypassed; nothing is changed.
        """
        found = [(path, self._identity(path) if path in self._boards else None) for path in layers]
        for path, identity in found:
            if identity is None:
                raise FilterError(f"The layer {path} cannot be bypassed; those that can: {', '.join(self.bypassable)}.")
        for path, identity in found:
            layer = self.graph.layers[path]
            layer.kernel.assign(identity)
            if layer.bias is not None:
                layer.bias.assign(keras.ops.zeros_like(layer.bias.value))
            layer.switchboard.bypassed.assign(True)
        self._guard(self.read("frozen"))

    @cached_property
    def _boards(self) -> tuple[str, ...]:
        return tuple(path for path in self.graph.producers if isinstance(self.graph.layers[path], Switched))

    def _identity(self, path: str) -> np.ndarray | None:
        """The kernel with which a layer passes its input on; None if there is none."""
        layer, calls = self.graph.layers[path], [call for call in self.graph.calls if call.path == path]
        place = identity_place(layer)
        same = len(calls) == 1 and calls[0].shapes[0] == calls[0].output_shapes[0]
        reads = [weight.channels for weight in self.graph.weights if weight.path == path and not weight.owned]
        channels = self.graph.producers[path]
        if place is None or not same or len(reads) != 1 or any(one in self.graph.pins for one in channels.tolist()):
            return None
        disabled = self.read("disabled")
        sources, targets = np.flatnonzero(~disabled[reads[0]]), np.flatnonzero(~disabled[channels])
        if sources.size != targets.size or not targets.size:
            return None
        identity: Any = np.zeros(layer.kernel.shape, "float32")
        identity[(*place, sources, targets)] = 1
        return identity

    def zero(self, *filters: Filter) -> None:
        """Sets the kernel slices and biases of the filters to 0; the filters stay enabled and trainable."""
        for weight, chosen in self._own(filters):
            weight.variable.assign(np.where(chosen, 0, keras.ops.convert_to_numpy(weight.variable)))

    def reinitialize(self, *filters: Filter, seed: int | None = None) -> None:
        """Draws new kernel slices and biases for the filters from the initializers of their layers.

        Args:
            seed: the same seed gives the same values; None: different values each time.
        """
        entropy: Any = np.random.SeedSequence().entropy if seed is None else seed
        for weight, chosen in self._own(filters):
            variable = weight.variable
            initializer = getattr(weight.layer, f"{variable.name}_initializer", keras.initializers.Zeros())
            config = initializer.get_config()
            if "seed" in config:
                key = [int(entropy or 0), zlib.crc32(f"{weight.path}/{variable.name}".encode())]
                config["seed"] = int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)
            drawn = type(initializer).from_config(config)(variable.shape, dtype=variable.dtype)
            old = keras.ops.convert_to_numpy(variable)
            variable.assign(np.where(chosen, keras.ops.convert_to_numpy(drawn), old))

    def read(self, switch: str) -> np.ndarray:
        """The state of `disabled` or `frozen` for each channel of the graph, shape (channels,), bool."""
        return switch_state(self.graph, switch)

    def refresh(self) -> None:
        """Updates the gates and the optimizer's masks after the switches of the layers were loaded."""
        self._gate(self.read("disabled"))
        self._guard(self.read("frozen"))

    def _channel(self, filter: Filter) -> int:
        if not isinstance(filter, Filter):
            raise FilterError(f"Expected a filter, as in Filter('conv1', 3); received {filter!r}.")
        channel = self.graph.channel(filter)
        if channel is not None:
            return channel
        producers = self.graph.producers
        if filter.layer not in producers:
            known = ", ".join(producers)
            raise FilterError(f"There is no layer {filter.layer!r} with filters in this network; there are: {known}.")
        raise FilterError(f"There is no filter {filter}: {filter.layer} has {producers[filter.layer].size} filters.")

    def _named(self, state: np.ndarray) -> tuple[Filter, ...]:
        return tuple(group.name for channel, group in self.graph.groups.items() if state[channel])

    def _set(self, switch: str, filters: Iterable[Filter], value: bool) -> None:
        chosen = {filter: self._channel(filter) for filter in filters}
        if switch == "disabled" and value:
            for filter, channel in chosen.items():
                if channel in self.graph.pins:
                    raise FilterError(f"{filter} cannot be cut: {self.graph.pins[channel]}.")
        state = self.read(switch)
        changed = np.zeros_like(state)
        changed[list(chosen.values())] = True
        if switch == "disabled" and value:
            refuse_unsound(self.graph, state | changed, changed, getattr(self.net, "optimizer", None))
        if switch == "frozen" and value:
            own = self.graph.producers.items()
            refuse_traced(self.net, [self.graph.layers[path] for path, channels in own if changed[channels].any()])
        state[changed] = value
        for path, channels in self.graph.producers.items():
            if changed[channels].any():
                getattr(self.graph.layers[path].switchboard, switch).assign(state[channels])
        if switch == "disabled":
            self._gate(state, changed)
        else:
            self._guard(state)

    def _gate(self, disabled: np.ndarray, changed: np.ndarray | None = None) -> None:
        for weight in self.graph.weights:
            if not weight.owned and (changed is None or changed[weight.channels].any()):
                weight.layer.gate(weight.variable, weight.mask(~disabled))
        for layer, channels, _ in self.graph.averages:
            if changed is None or changed[channels].any():
                layer.gate_channels(~disabled[channels])

    def _guard(self, frozen: np.ndarray) -> None:
        """Freezes exactly what is marked; extends the optimizer when something is first frozen."""
        optimizer = getattr(self.net, "optimizer", None)
        bypassed = self.bypassed
        held: dict[Any, bool] = {}  # a layer that is called twice has two paths
        for path, channels in self.graph.producers.items():
            layer = self.graph.layers[path]
            held[layer] = held.get(layer, False) or bool(frozen[channels].any()) or path in bypassed
        hold(self.net, held)
        if optimizer is None or not (frozen.any() or bypassed or is_freezing(optimizer)):
            return
        if not is_freezing(optimizer):
            install_freezing(optimizer, self.net.trainable_variables)
            self.net.train_function = None  # it was traced with the optimizer as it was before
        masks: dict[int, tuple[Any, np.ndarray]] = {}
        for weight in self.graph.weights:
            if weight.owned:
                mask = weight.mask(frozen)
                _, other = masks.get(id(weight.variable), (None, np.zeros_like(mask)))
                mask = mask | (weight.path in bypassed)
                masks[id(weight.variable)] = (weight.variable, mask | other)
        set_frozen(optimizer, masks)

    def _own(self, filters: Iterable[Filter]) -> list[tuple[Any, np.ndarray]]:
        """The weights that belong to these filters, each with a bool mask that broadcasts to it."""
        state = np.zeros(self.graph.size, bool)
        state[[self._channel(filter) for filter in filters]] = True
        own = (weight for weight in self.graph.weights if weight.owned and weight.path in self.graph.producers)
        return [(weight, weight.mask(state)) for weight in own if state[weight.channels].any()]
