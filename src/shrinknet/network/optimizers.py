"""Resetting optimizers, and exact freezing: the only module that uses Keras's private optimizer layout.

To freeze, the class of the user's optimizer instance is replaced by a generated subclass of its own class. It
overrides the two methods in which Keras writes to weights: `apply`, and `finalize_variable_values` (the exponential
moving average at the end of `fit`). Gradients of frozen slices become zero, so that they affect neither slots nor
clipping norms. After the update, the old slice is restored with a select, whatever momentum, decay or averaging did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src import api_export
from keras.src.saving import object_registration

from shrinknet.checks import is_number
from shrinknet.errors import OptimizerError

_MASKS = "_shrinknet_masks"  # key in the instance's __dict__; maps the key of a model variable to its bool mask


def reset_optimizer(optimizer: keras.optimizers.Optimizer) -> int:
    """Resets slots, step counter, accumulators and loss scale in place to those of a newly built optimizer.

    The learning rate or schedule object is not changed, and nothing is retraced. The weights of the model are not
    touched. The thesis resets Adam's accumulators and step after every change to the network (section 2.4).

    Returns:
        The number of variables that were reset.

    Raises:
        OptimizerError: the optimizer cannot be re-created from its own configuration.
    """
    current = state_variables(optimizer)
    fresh = fresh_copy(optimizer)
    if optimizer.built:
        fresh.build(_trainable(optimizer))
    initial = state_variables(fresh)
    if [tuple(variable.shape) for variable in current] != [tuple(variable.shape) for variable in initial]:
        raise OptimizerError(
            f"A newly built {type(optimizer).__name__} has {len(initial)} variables, but this one has {len(current)}: "
            "it cannot be reset. Its get_config() must return all of its settings."
        )
    for variable, value in zip(current, initial, strict=True):
        variable.assign(ops.copy(value.value))  # JAX donates buffers: two variables must not share one
    return len(current)


def state_variables(optimizer: Any) -> list[Any]:
    """All variables of the optimizer except learning rates and our masks, in the order in which they were built."""
    ours = {id(mask) for mask in frozen_masks(optimizer)}
    rates = {id(getattr(part, "_learning_rate", None)) for part in _parts(optimizer)}
    return [variable for variable in optimizer.variables if id(variable) not in ours | rates]


def frozen_masks(optimizer: Any) -> list[Any]:
    """The variables that `set_frozen` created in the optimizer; empty if nothing was ever frozen."""
    return [mask for part in _parts(optimizer) for mask in getattr(part, "__dict__", {}).get(_MASKS, {}).values()]


def fresh_copy(optimizer: Any, rate: Any = None) -> Any:
    """A new, unbuilt optimizer of the same (plain) class and settings; a schedule is shared, not copied.

    Args:
        rate: another learning rate or schedule; None: the optimizer's own.

    Raises:
        OptimizerError: the optimizer cannot be re-created from its own configuration.
    """
    kind = _plain(type(optimizer))
    own = getattr(optimizer, "_learning_rate", None)
    if rate is None and callable(own) and not isinstance(own, keras.Variable):
        rate = own
    try:
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            return kind(
                fresh_copy(optimizer.inner_optimizer, rate),
                initial_scale=optimizer.initial_scale,
                dynamic_growth_steps=optimizer.dynamic_growth_steps,
                name=optimizer.name,
            )
        if rate is None:
            return kind.from_config(_settings(optimizer))
        try:
            optimizer.__dict__["_learning_rate"] = None  # a user's schedule may have no config
            config = {**_settings(optimizer), "learning_rate": rate}  # TensorFlow cannot save one that is set later
        finally:
            optimizer.__dict__["_learning_rate"] = own
        return kind.from_config(config)
    except OptimizerError:
        raise
    except Exception as error:
        raise OptimizerError(
            f"{kind.__name__} cannot be re-created from its own get_config(): {error}. Use an optimizer whose "
            "from_config(get_config()) works."
        ) from error


def other_optimizer(spec: Any, optimizer: Any) -> Any:
    """A new optimizer: a copy, one named as in Keras, or this one with another learning rate or schedule.

    Raises:
        OptimizerError: `spec` is none of these.
    """
    if isinstance(spec, keras.optimizers.schedules.LearningRateSchedule):
        return fresh_copy(optimizer, spec)
    if is_number(spec):
        if not 0 < spec < math.inf:
            raise OptimizerError(f"Expected a learning rate above 0 for the trials; received {spec!r}.")
        return fresh_copy(optimizer, float(spec))
    try:
        made = fresh_copy(spec) if isinstance(spec, keras.optimizers.Optimizer) else keras.optimizers.get(spec)
    except OptimizerError:
        raise
    except Exception as error:
        raise OptimizerError(
            f"Expected trial_optimizer to be a Keras optimizer, its name, a learning rate or a schedule; received "
            f"{spec!r}."
        ) from error
    scaled = keras.optimizers.LossScaleOptimizer
    if isinstance(optimizer, scaled) and not isinstance(made, scaled):
        return scaled(made, optimizer.initial_scale, optimizer.dynamic_growth_steps)
    return made


def carry_exclusions(source: Any, target: Any, variables: list[Any], counterparts: list[Any]) -> None:
    """Copies what the user set with `exclude_from_weight_decay`, which is not part of the configuration.

    Args:
        variables: the trainable variables that `source` updates; counterparts: those of `target`, in the same order.
    """
    for old, new in zip(reversed([*_parts(source)]), reversed([*_parts(target)]), strict=False):  # the inner ones first
        excluded = getattr(old, "_exclude_from_weight_decay", None)
        if excluded is not None:
            pairs = zip(variables, counterparts, strict=True)
            new._exclude_from_weight_decay = {new._var_key(b) for a, b in pairs if old._var_key(a) in excluded}
            new._exclude_from_weight_decay_pattern = old._exclude_from_weight_decay_pattern


def _settings(optimizer: Any) -> dict[str, Any]:
    _refuse_several(optimizer)
    return dict(optimizer.get_config())


def _refuse_several(optimizer: Any) -> None:
    if type(optimizer).__name__ == "MultiOptimizer":
        raise OptimizerError(
            "MultiOptimizer has its variables in several optimizers and cannot be reset or frozen as one: compile "
            "the model with a single optimizer."
        )


def _parts(optimizer: Any) -> Iterator[Any]:
    """The optimizer, then the one it wraps."""
    yield optimizer
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:
        yield from _parts(inner)


def _trainable(optimizer: Any) -> list[Any]:
    return list(list(_parts(optimizer))[-1]._trainable_variables)


def own_buffers(optimizer: Any) -> None:
    """On JAX, before training: makes sure that no weight shares its buffer with its average.

    Keras lets them share one when `fit` ends, and the first step of the next `fit` would donate it twice.
    """
    if keras.backend.backend() == "jax" and optimizer.built and any(part.use_ema for part in _parts(optimizer)):
        for variable in _trainable(optimizer):
            variable.assign(ops.copy(variable.value))


def is_freezing(optimizer: Any) -> bool:
    """Whether exact freezing is installed on this optimizer."""
    return _MASKS in list(_parts(optimizer))[-1].__dict__


def install_freezing(optimizer: Any, variables: list[Any]) -> None:
    """Enables the optimizer to freeze slices of these trainable variables; none is frozen yet.

    Raises:
        OptimizerError: for MultiOptimizer.
    """
    _refuse_several(optimizer)
    if is_freezing(optimizer):
        return
    if not optimizer.built:
        optimizer.build(variables)
    *wrappers, inner = _parts(optimizer)
    inner.__dict__[_MASKS] = {}
    inner.__class__ = _generated(_Freezing, type(inner))
    for wrapper in wrappers:
        wrapper.__class__ = _generated(_SavedPlain, type(wrapper))


def set_frozen(optimizer: Any, masks: Mapping[int, tuple[Any, np.ndarray]]) -> None:
    """Sets which slices are frozen: id of a model variable -> (the variable, bool mask that broadcasts to it).

    The first call for a variable creates its mask; later calls assign to it, so nothing is retraced. Masks of variables
    that are not in `masks` are not changed.
    """
    inner = list(_parts(optimizer))[-1]
    held = inner.__dict__[_MASKS]
    known = set(inner._trainable_variables_indices)
    for variable, mask in masks.values():
        key = inner._var_key(variable)
        if key not in known:
            continue  # not trainable: the optimizer never writes to it
        if key not in held:
            with keras.name_scope("frozen"):
                held[key] = inner.add_variable(mask.shape, initializer="zeros", dtype="bool", name="frozen")
        held[key].assign(mask)


def _plain(kind: Any) -> Any:
    return kind.__bases__[1] if issubclass(kind, _SavedPlain) else kind


class _SavedPlain:
    """Saves and loads without our masks, so that files are interchangeable with those of the plain class."""

    def save_own_variables(self: Any, store: Any) -> None:
        for index, variable in enumerate(self._without_masks()):
            store[str(index)] = ops.convert_to_numpy(variable)

    def load_own_variables(self: Any, store: Any) -> None:
        kept = self._without_masks()
        if len(store.keys()) == len(kept):
            for index, variable in enumerate(kept):
                variable.assign(store[str(index)])
        else:
            super().load_own_variables(store)  # type: ignore[misc]

    def _without_masks(self: Any) -> list[Any]:
        ours = {id(mask) for mask in list(_parts(self))[-1].__dict__[_MASKS].values()}
        return [variable for variable in self.variables if id(variable) not in ours]


class _Freezing(_SavedPlain):
    """Mixin that `install_freezing` adds to the user's optimizer class."""

    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        masks = [self.__dict__[_MASKS].get(self._var_key(variable)) for variable in variables]
        grads = [
            grad if mask is None or grad is None else ops.where(mask.value, ops.zeros_like(grad), grad)
            for grad, mask in zip(grads, masks, strict=True)
        ]
        with _held(variables, masks):
            return super().apply(grads, trainable_variables)  # type: ignore[misc]

    def finalize_variable_values(self: Any, var_list: Any) -> None:
        if not getattr(self, "inner_optimizer", self).use_ema:  # nothing changes; on JAX there may be nothing to read
            super().finalize_variable_values(var_list)  # type: ignore[misc]
            return
        masks = [self.__dict__[_MASKS].get(self._var_key(variable)) for variable in var_list]
        with _held(var_list, masks):
            super().finalize_variable_values(var_list)  # type: ignore[misc]


class _held:
    """Restores the frozen slices of the variables when the block ends."""

    def __init__(self, variables: list[Any], masks: list[Any]) -> None:
        self.masked = [(variable, mask) for variable, mask in zip(variables, masks, strict=True) if mask is not None]

    def __enter__(self) -> None:
        self.old = [ops.copy(variable.value) for variable, _ in self.masked]

    def __exit__(self, *error: object) -> None:
        for (variable, mask), old in zip(self.masked, self.old, strict=True):
            variable.assign(ops.where(mask.value, old, variable.value))


def _generated(mixin: type, kind: type) -> type:
    """The subclass of an optimizer's class with one of our mixins; it is saved and loaded as the plain class."""
    if (mixin, kind) in _GENERATED:
        return _GENERATED[mixin, kind]
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    generated = _GENERATED[mixin, kind] = type(kind.__name__, (mixin, kind), names)
    for names_of in (api_export.REGISTERED_OBJS_TO_NAMES, object_registration.GLOBAL_CUSTOM_NAMES):
        if kind in names_of:  # Keras's own, or registered by the user
            names_of[generated] = names_of[kind]
    return generated


_GENERATED: dict[tuple[type, type], type] = {}
