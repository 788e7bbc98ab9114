"""Compile settings and optimizer state, copied from one model to another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops, tree

from shrinknet.internals import compile_config
from shrinknet.network.copying import copy_metric
from shrinknet.network.optimizers import carry_exclusions, fresh_copy, state_variables

Pairs = Sequence[tuple[Any, Any]]  # variables of one network, each with its counterpart in another


def carry_compilation(source: Any, target: Any, optimizer: Any = None, pairs: Pairs | None = None) -> None:
    """Compiles `target` like `source`: with the same losses and loss weights, and copies of the metrics and optimizer.

    The optimizer is the one given, or a fresh copy with the source's learning rate or schedule object. If `source` is
    not compiled, `target` is not compiled either. A `compile` method of the user's own is not called again: its effects
    are in the compile configuration and in the model's attributes.

    Args:
        pairs: each variable of `source` with its counterpart in `target`; None: the trainable variables of the two
            correspond in order.
    """
    if not source.compiled or source.optimizer is None:
        return
    config = dict(compile_config(source))
    config["optimizer"] = fresh_copy(source.optimizer) if optimizer is None else optimizer
    for key in ("metrics", "weighted_metrics"):
        config[key] = tree.map_structure(copy_metric, config[key]) if config[key] else config[key]
    olds, news = _trainable(source, target, pairs)
    carry_exclusions(source.optimizer, config["optimizer"], olds, news)
    keras.Model.compile(target, **config)
    target.optimizer = config["optimizer"]  # `compile` may have wrapped it; loss scaling was already decided
    target.optimizer.build(target.trainable_variables)  # Keras cannot load a model saved with an unbuilt optimizer


@contextlib.contextmanager
def uncompiled(model: Any) -> Iterator[None]:
    """Within the block, the model is saved without loss and optimizer, so that it loads where these are unknown."""
    state = model.compiled, getattr(model, "optimizer", None)
    model.compiled, model.optimizer = False, None
    try:
        yield
    finally:
        model.compiled, model.optimizer = state


def carry_optimizer(
    source: Any, target: Any, fates: Mapping[int, Any] | None = None, pairs: Pairs | None = None
) -> None:
    """Copies the values of the optimizer's variables.

    Args:
        fates: id of a trainable variable of `source` -> a function that turns an array of its shape into one of its
            counterpart's shape; None: the shapes are the same.
        pairs: as in `carry_compilation`.
    """
    if not source.compiled or source.optimizer is None or not source.optimizer.built:
        return
    olds, news = _trainable(source, target, pairs)
    counterpart = {id(new): old for old, new in zip(olds, news, strict=True)}
    given = _by_owner(source.optimizer, source.trainable_variables)
    for (owner, name), new in _by_owner(target.optimizer, target.trainable_variables).items():
        reference = counterpart.get(owner) if owner else None
        old = given.get((id(reference) if reference is not None else 0, name))
        if old is None:
            continue
        if old.shape == new.shape:
            new.assign(ops.copy(old.value))  # JAX donates buffers: two variables must not share one
        elif reference is not None and old.shape == reference.shape and fates:
            new.assign(fates[id(reference)](ops.convert_to_numpy(old)))


def _trainable(source: Any, target: Any, pairs: Pairs | None) -> tuple[list[Any], list[Any]]:
    """The trainable variables of the two models that correspond to each other, in the same order."""
    if pairs is None:
        return list(source.trainable_variables), list(target.trainable_variables)
    theirs = {id(variable) for variable in target.trainable_variables}
    ours = {id(variable) for variable in source.trainable_variables}
    both = [(old, new) for old, new in pairs if id(old) in ours and id(new) in theirs]
    return [old for old, _ in both], [new for _, new in both]


def _by_owner(optimizer: Any, variables: Sequence[Any]) -> dict[tuple[int, str], Any]:
    """(id of the model variable, name) -> the optimizer's variable for it; id 0 for those of no model variable.

    Keras names a slot after the path of its variable. If several variables have the same path, their slots are in the
    order of the variables.
    """
    owners: dict[str, list[Any]] = {}
    for variable in variables:
        owners.setdefault(variable.path.replace("/", "_") + "_", []).append(variable)
    found: dict[tuple[int, str], Any] = {}
    for slot in state_variables(optimizer):
        prefix = max((path for path in owners if slot.name.startswith(path)), key=len, default=None)
        name = slot.name.removeprefix(prefix or "")
        same = owners[prefix] if prefix else []
        owner = next((id(variable) for variable in same if (id(variable), name) not in found), 0)
        number = 0
        while (owner, f"{name}{number or ''}") in found:
            number += 1
        found[owner, f"{name}{number or ''}"] = slot
    return found
