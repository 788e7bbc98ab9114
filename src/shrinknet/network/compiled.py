"""Compile settings and optimizer state, carried from one model to another."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import keras
from keras import tree

from shrinknet.internals import compile_config
from shrinknet.network.optimizers import carry_exclusions, fresh_copy, state_variables


def carry_compilation(source: Any, target: Any, optimizer: Any = None) -> None:
    """Compiles `target` as `source` is: the same losses and weights, metrics and optimizer copied.

    The optimizer is a fresh copy with the source's learning rate or schedule object, or the one given; a model that is
    not compiled leaves `target` so.
    """
    if not source.compiled or source.optimizer is None:
        return
    config = dict(compile_config(source))
    config["optimizer"] = fresh_copy(source.optimizer) if optimizer is None else optimizer
    for key in ("metrics", "weighted_metrics"):
        config[key] = tree.map_structure(_copy_metric, config[key]) if config[key] else config[key]
    carry_exclusions(source.optimizer, config["optimizer"], source.trainable_variables, target.trainable_variables)
    target.compile(**config)
    target.optimizer = config["optimizer"]  # `compile` may have wrapped it: to scale or not was decided before
    target.optimizer.build(target.trainable_variables)  # Keras cannot load what was saved with an unbuilt optimizer


def _copy_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    try:
        return type(metric).from_config(metric.get_config())
    except Exception:
        return copy.deepcopy(metric)  # a metric of the user's own without a config


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """While the block lasts the model saves without loss and optimizer: it then loads where these are unknown."""
    state = model.compiled, getattr(model, "optimizer", None)
    model.compiled, model.optimizer = False, None
    try:
        yield
    finally:
        model.compiled, model.optimizer = state


def carry_optimizer(source: Any, target: Any, fates: dict[int, Any] | None = None) -> None:
    """Copies the values of the optimizer's variables; the two models have corresponding trainable variables, in order.

    Args:
        fates: id of a trainable variable of `source` -> a function from an array of its shape to one of the shape of
            the variable that corresponds to it; None: the shapes are the same.
    """
    if not source.compiled or source.optimizer is None or not source.optimizer.built:
        return
    owners = {variable.path.replace("/", "_"): variable for variable in source.trainable_variables}
    olds, news = state_variables(source.optimizer), state_variables(target.optimizer)
    if len(olds) != len(news):  # whole layers are gone: Keras names a slot after its variable
        by_name = {variable.name: variable for variable in olds}
        olds = [by_name.get(variable.name, variable) for variable in news]
    for old, new in zip(olds, news, strict=True):
        if old.shape == new.shape:
            new.assign(keras.ops.copy(old.value))  # JAX gives buffers away: two variables must not share one
            continue
        name = max((path for path in owners if old.name.startswith(path)), key=len, default=None)  # Keras names so
        if name is not None and owners[name].shape == old.shape:
            new.assign((fates or {})[id(owners[name])](keras.ops.convert_to_numpy(old)))
