"""Switched: what all switched layers have in common.

Only readers are gated. A disabled channel is still computed and still passes through normalisation, activation and
pooling, but every layer that multiplies it by a kernel uses zeros there, which gives the same result as cutting the
channel. The gate is a select, not a product, so that no gradient flows back, not even from NaN. The select is applied
to a kernel, never to a feature map.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from keras.src.backend.common.stateless_scope import in_stateless_scope

from shrinknet.errors import ModelError
from shrinknet.graph.calls import Registered, listen, registered
from shrinknet.layers.holding import refuse_foreign_training
from shrinknet.layers.live import LiveActivity, watch

_SWITCHED: dict[type, type] = {}


def switched_class(layer: Any) -> type | None:
    """The class of a layer's switched counterpart; None if it needs none (it has no filters and reads none)."""
    if isinstance(layer, Switched):
        return type(layer)
    if type(layer) not in _SWITCHED and (known := registered(type(layer))) is not None:
        _counterpart(type(layer), known)  # for a subclass that computes the same as its parent
    kind: Any = _SWITCHED.get(type(layer))
    return kind if kind is not None and kind.suits(layer) else None


@keras.saving.register_keras_serializable("shrinknet")
class Switchboard(keras.layers.Layer):
    """The switches of one layer, as variables: they are saved and restored with it, and changing them retraces nothing.

    It is a layer inside the switched layer, so that the switched layer itself has the same weights as its plain class.

    Attributes:
        disabled: bool, shape (filters,): every layer that reads this filter sees 0. Layers without filters of their
            own, such as normalisations, have neither this nor the next two.
        frozen: bool, shape (filters,): the weights of this filter do not change.
        bypassed: bool, shape (): the layer passes its input on; its kernel is the identity, its bias is 0, and neither
            changes.
        live: for each kernel that reads channels, a bool variable that broadcasts to it; False where the channel that
            is read is disabled.
    """

    def __init__(self, filters: int | None, kernels: dict[str, tuple[int, ...]], **arguments: Any) -> None:
        super().__init__(trainable=False, **arguments)
        if filters is not None:
            self.disabled = self._switch("disabled", (filters,), on=False)
            self.frozen = self._switch("frozen", (filters,), on=False)
            self.bypassed = self._switch("bypassed", (), on=False)
        self.live = {name: self._switch(f"live_{name}", shape, on=True) for name, shape in kernels.items()}
        self.built = True

    def _switch(self, name: str, shape: tuple[int, ...], on: bool) -> Any:
        initializer = "ones" if on else "zeros"
        return self.add_weight(name=name, shape=shape, dtype="bool", initializer=initializer, trainable=False)


class Switched:
    """Mixin for a Keras layer class: `class SwitchedConv2D(Switched, keras.layers.Conv2D)`.

    Attributes:
        switchboard: the layer's switches; it exists once the layer is built.
    """

    reads: ClassVar[tuple[tuple[str, int], ...]]  # (variable, axis of the channels that it reads), from the rule
    count: ClassVar[str | None]  # the attribute that holds the number of filters
    plain_class: ClassVar[type]
    own_axis: ClassVar[int] = -1  # axis of the filters in a kernel
    switchboard: Switchboard

    def __init_subclass__(cls, abstract: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if abstract:
            return
        plain: Any = cls.__bases__[-1]
        cls.plain_class = plain
        known = registered(plain)
        cls.reads, cls.count = (known.reads, known.count) if known else ((), None)
        if "build" not in cls.__dict__:
            cls.build = _with_switches(plain.build)  # type: ignore[attr-defined]
        if "call" not in cls.__dict__:
            cls.call = _gated(plain.call)  # type: ignore[attr-defined]
        _SWITCHED[plain] = cls

    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        refuse_foreign_training(self, keywords)
        return super().__call__(*arguments, **keywords)  # type: ignore[misc]

    @classmethod
    def suits(cls, layer: Any) -> bool:
        """Whether a layer of the plain class, with its settings, can have switches."""
        return True

    def add_switches(self: Any, input_shape: Any) -> None:
        """Creates the switchboard, with all filters enabled and thawed; called once, when the layer is built."""
        kernels = {}
        for name, axis in self.reads:
            sizes = getattr(self, name).shape
            kernels[name] = tuple(size if index == axis % len(sizes) else 1 for index, size in enumerate(sizes))
        self.switchboard = Switchboard(getattr(self, self.count) if self.count else None, kernels, name="switchboard")
        watch(self)

    def get_config(self: Any) -> Any:
        """The configuration of the plain layer, with the user's own activity regularizer."""
        live = self.activity_regularizer
        if not isinstance(live, LiveActivity):
            return super().get_config()  # type: ignore[misc]
        try:
            vars(self)["activity_regularizer"] = live.regularizer
            return super().get_config()  # type: ignore[misc]
        finally:
            vars(self)["activity_regularizer"] = live

    def gate(self: Any, variable: Any, live: np.ndarray) -> None:
        """Sets which slices of a kernel are live; `live` broadcasts to it."""
        name = next(name for name, _ in self.reads if getattr(self, name) is variable)
        self.switchboard.live[name].assign(live)

    def gated_values(self: Any) -> list[tuple[Any, Any]]:
        """The kernels, each with the value that the layer's call should use.

        Inside another stateless scope, as in training on JAX, a new scope hides the values of the outer one, so all
        variables are repeated.
        """
        repeated = self.variables if in_stateless_scope() else ()
        values = {id(variable): (variable, variable.value) for variable in repeated}
        for name, live in self.switchboard.live.items():
            kernel = getattr(self, name)
            values[id(kernel)] = (kernel, ops.where(live.value, kernel.value, ops.zeros((), kernel.dtype)))
        return list(values.values())


class LiveChannels(Switched, abstract=True):
    """What layers that take statistics over channels have in common: a switch for each channel of the last axis."""

    def add_switches(self: Any, input_shape: Any) -> None:
        """Creates the switchboard, with all channels live."""
        self.switchboard = Switchboard(None, {"channels": (input_shape[-1],)}, name="switchboard")

    def gate_channels(self: Any, live: Any) -> None:
        """Sets which channels are live, shape (channels,), bool."""
        self.switchboard.live["channels"].assign(live)

    @property
    def live(self: Any) -> Any:
        """Which channels are live, bool, shape (channels,)."""
        return self.switchboard.live["channels"].value


# Keras inspects the signatures of `build` and `call`, so each is wrapped and keeps the signature of the plain layer.


def _with_switches(build: Any) -> Any:
    @functools.wraps(build)
    def build_with_switches(self: Any, *shapes: Any, **named: Any) -> None:
        build(self, *shapes, **named)
        self.add_switches(shapes[0] if shapes else next(iter(named.values())))

    return build_with_switches


def _gated(call: Any) -> Any:
    @functools.wraps(call)
    def gated_call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with keras.StatelessScope(self.gated_values()):
            return call(self, *arguments, **keywords)

    return gated_call


class ByRule(Switched, abstract=True):
    """What the switched counterparts of the user's own layers have in common: they are generated from their rules."""


def _gated_with_effects(call: Any) -> Any:
    """Like `_gated`, but keeps losses that the call adds and variables that it updates, such as statistics."""

    @functools.wraps(call)
    def gated_call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        given = self.gated_values()
        with keras.StatelessScope(given, collect_losses=True) as scope:
            outputs = call(self, *arguments, **keywords)
        kernels = {id(getattr(self, name)) for name, _ in self.reads}
        before = {id(variable): value for variable, value in given}
        for variable in self.variables:
            after = scope.get_current_value(variable)
            if after is not None and after is not before.get(id(variable)) and id(variable) not in kernels:
                variable.assign(after)
        if scope.losses:
            self.add_loss(scope.losses)
        return outputs

    return gated_call


def _counterpart(kind: Any, known: Registered) -> None:
    """Creates the switched counterpart of a class whose rule says that it reads or produces channels."""
    old = _SWITCHED.get(kind)
    if not (known.reads or known.count) or (old is not None and not issubclass(old, ByRule)):
        return
    if kind.build is keras.layers.Layer.build:
        raise ModelError(
            f"{kind.__name__} has no build() of its own, where its switches would be created. Create its weights in "
            "build(self, input_shape) instead of in __init__()."
        )
    names = {
        "__module__": kind.__module__,
        "__doc__": f"{kind.__name__} with a switch for each filter.",
        "call": _gated_with_effects(kind.call),
    }
    made = type(f"Switched{kind.__name__}", (ByRule, kind), names)
    name = keras.saving.get_registered_name(kind).replace(">", ".")
    keras.saving.register_keras_serializable("shrinknet", f"Switched{name}")(made)


def follow_rules() -> None:
    """Creates a switched counterpart for each class whose rule needs one, now and when a rule is registered later."""
    listen(_counterpart)
