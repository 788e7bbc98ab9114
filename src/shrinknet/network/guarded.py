"""The classes of switched models: compiling, loading or training them must not silently unfreeze anything."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.saving import object_registration

from shrinknet.internals import Functional, layers_of
from shrinknet.layers import Switchboard, Switched
from shrinknet.layers.holding import refuse_foreign_training, training
from shrinknet.network.assembling import is_remade
from shrinknet.network.optimizers import is_freezing, own_buffers
from shrinknet.network.switches import Switches


def keep_frozen(net: Any) -> None:
    """Makes the optimizer freeze what the switches say is frozen; a newly compiled one does not know about it yet."""
    optimizer = getattr(net, "optimizer", None)
    if optimizer is not None and not is_freezing(optimizer) and any_frozen(net):
        Switches(net).refresh()


class _Guarded:
    """Mixin for the class of a switched model: compiling or loading must not silently unfreeze anything."""

    plain_class: type

    def make_train_function(self: Any, force: bool = False) -> Any:
        keep_frozen(self)
        own_buffers(self.optimizer)
        return super().make_train_function(force)  # type: ignore[misc]

    def train_step(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with training(self):
            return super().train_step(*arguments, **keywords)  # type: ignore[misc]

    def __call__(self: Any, *arguments: Any, **keywords: Any) -> Any:
        refuse_foreign_training(self, keywords)
        return super().__call__(*arguments, **keywords)  # type: ignore[misc]

    def load_weights(self: Any, *arguments: Any, **keywords: Any) -> None:
        super().load_weights(*arguments, **keywords)  # type: ignore[misc]
        Switches(self).refresh()

    def _get_regularization_losses(self: Any) -> list[Any]:
        regularized = [variable for variable in self.trainable_weights if variable.regularizer is not None]
        masks = live_masks(self) if regularized else {}
        return [variable.regularizer(_live(variable, masks.get(id(variable)))) for variable in regularized]


def live_masks(net: Any) -> dict[int, Any]:
    """Id of a variable of a switched network -> which of its numbers are live, broadcastable to it.

    A number is not live if its slice belongs to a disabled filter or reads one: it counts as cut out.
    """
    graph = Switches(net).graph
    places = {path: each for path, each in graph.producers.items() if isinstance(graph.layers[path], Switched)}
    if not places:
        return {}
    disabled = ops.concatenate([graph.layers[path].switchboard.disabled.value for path in places])
    first = np.full(graph.size, -1)
    for place, channel in reversed([*enumerate(np.concatenate([*places.values()]).tolist())]):
        first[channel] = place
    masks: dict[int, Any] = {}
    for weight in graph.weights:
        known = first[weight.channels] >= 0
        if not known.any():
            continue
        live = ops.logical_or(ops.logical_not(ops.take(disabled, np.maximum(first[weight.channels], 0))), ~known)
        shape = [1] * len(weight.variable.shape)
        shape[weight.axis] = -1
        mask = ops.reshape(live, shape)
        other = masks.get(id(weight.variable))
        masks[id(weight.variable)] = mask if other is None else ops.logical_and(mask, other)
    return masks


def _live(variable: Any, mask: Any) -> Any:
    return variable if mask is None else ops.where(mask, variable.value, ops.zeros((), variable.dtype))


def any_frozen(net: Any) -> bool:
    """Whether any filter of the network is frozen, or any layer bypassed."""
    boards = (layer for layer in layers_of(net) if isinstance(layer, Switchboard))
    switches = (switch for board in boards if hasattr(board, "frozen") for switch in (board.frozen, board.bypassed))
    return any(bool(keras.ops.convert_to_numpy(switch).any()) for switch in switches)


@keras.saving.register_keras_serializable("shrinknet")
class SwitchedFunctional(_Guarded, Functional):
    """A Functional model with switches."""

    plain_class = Functional


@keras.saving.register_keras_serializable("shrinknet")
class SwitchedSequential(_Guarded, keras.Sequential):
    """A Sequential model with switches."""

    plain_class = keras.Sequential


_GUARDED: dict[type, type] = {Functional: SwitchedFunctional, keras.Sequential: SwitchedSequential}


def guarded(kind: type) -> type:
    """The guarded subclass of a model's class.

    A user's class is saved and loaded under its own name if Keras creates its models from inputs and outputs;
    otherwise as a Functional model with switches.
    """
    if issubclass(kind, _Guarded):
        return kind
    if kind not in _GUARDED:
        names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "plain_class": kind}
        known = object_registration.GLOBAL_CUSTOM_NAMES
        if is_remade(kind) or issubclass(kind, keras.Sequential):
            _GUARDED[kind] = type(kind.__name__, (_Guarded, kind), names)
            if kind in known:
                known[_GUARDED[kind]] = known[kind]
        else:
            recorded = {name: getattr(Functional, name) for name in _RECORDED}
            bases = (_Guarded, kind) if issubclass(kind, Functional) else (_Guarded, Functional, kind)
            _GUARDED[kind] = type(kind.__name__, bases, {**names, **recorded})
            known[_GUARDED[kind]] = known[SwitchedFunctional]
    return _GUARDED[kind]


# What a model of a user's class takes from Functional, so that it computes and saves the recorded graph.
_RECORDED = ("__init__", "call", "build", "compute_output_spec", "compute_output_shape", "get_config", "layers",
             "input_shape", "output_shape", "_obj_type", "get_build_config", "build_from_config")  # fmt: skip
