"""Rebuild a recorded network with other layers in the same places; carry weights and compile settings over."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import tree

from shrinknet.errors import ModelError
from shrinknet.graph.channels import functional_of, nodes_of
from shrinknet.optimizers import fresh_copy, state_variables

Make = Callable[[str, Any], Any]  # (path, layer or operation) -> what stands in its place


def rebuild(model: Any, make: Make) -> Any:
    """A model of the same structure, class, names, inputs and outputs, each layer made anew by `make`.

    Layers that are shared stay shared; nested models are rebuilt too.

    Raises:
        ModelError: the model's class changes how it trains and cannot be made from inputs and outputs.
    """
    return _rebuild(model, make, "", {})


def _rebuild(model: Any, make: Make, prefix: str, done: dict[int, Any]) -> Any:
    functional = functional_of(model)
    inputs = tree.map_structure(_input_like, functional._inputs_struct)
    known = {
        id(old): new
        for old, new in zip(tree.flatten(functional._inputs_struct), tree.flatten(inputs), strict=True)
    }
    order = []
    for node in nodes_of(functional):
        operation = node.operation
        if id(operation) not in done:
            path = prefix + operation.name
            nested = isinstance(operation, keras.Model)
            done[id(operation)] = _rebuild(operation, make, path + "/", done) if nested else make(path, operation)
        order.append(done[id(operation)])
        arguments, keywords = node.arguments.fill_in(known)
        outputs = done[id(operation)](*arguments, **keywords)
        known.update({id(old): new for old, new in zip(node.outputs, tree.flatten(outputs), strict=True)})
    outputs = tree.map_structure(lambda tensor: known[id(tensor)], functional._outputs_struct)
    new = _assemble(model, inputs, outputs, [done[id(layer)] for layer in model.layers if id(layer) in done])
    new._trainable = model._trainable
    return new


def _input_like(tensor: Any) -> Any:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _assemble(model: Any, inputs: Any, outputs: Any, layers: list[Any]) -> Any:
    kind = plain_class(type(model))
    if isinstance(model, keras.Sequential):
        if kind.__init__ is keras.Sequential.__init__:
            return kind([tree.flatten(inputs)[0], *layers], name=model.name)
    else:
        from keras.src.models.functional import Functional, functional_like_constructor

        if kind is Functional or functional_like_constructor(kind):
            return kind(inputs, outputs, name=model.name)
        own = [name for name in _BEHAVIOUR if getattr(kind, name) is not getattr(keras.Model, name)]
        if not own:
            return keras.Model(inputs, outputs, name=model.name)
    raise ModelError(
        f"The class {kind.__name__} of model {model.name} cannot be made anew from inputs and outputs, and it changes "
        "how the model trains. Give its __init__ the signature (self, inputs, outputs, name=None, **kwargs)."
    )


_BEHAVIOUR = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "compile")


def plain_class(kind: type) -> type:
    """The user's own class behind a class that was generated for a switched model."""
    return getattr(kind, "plain_class", kind)


def clone_layer(layer: Any, kind: type | None = None, **changes: Any) -> Any:
    """A new layer from the configuration of this one, as `kind` and with `changes` of its configuration."""
    kind = kind or type(layer)
    return kind.from_config({**layer.get_config(), **changes})  # type: ignore[attr-defined]


def carry_compilation(source: Any, target: Any) -> None:
    """Compiles `target` as `source` is: the same losses and weights, metrics and optimizer copied.

    The optimizer is a fresh copy with the source's learning rate or schedule object; a model that is not compiled
    leaves `target` so.
    """
    if not source.compiled or source.optimizer is None:
        return
    config = dict(source._compile_config.config)
    config["optimizer"] = fresh_copy(source.optimizer)
    for key in ("metrics", "weighted_metrics"):
        config[key] = tree.map_structure(_copy_metric, config[key]) if config[key] else config[key]
    target.compile(**config)
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
    state = model.compiled, model.optimizer
    model.compiled, model.optimizer = False, None
    try:
        yield
    finally:
        model.compiled, model.optimizer = state


def carry_optimizer(source: Any, target: Any) -> None:
    """Copies the values of the optimizer's variables; the two models have the same trainable variables, in order."""
    if source.optimizer is None or not source.optimizer.built:
        return
    for old, new in zip(state_variables(source.optimizer), state_variables(target.optimizer), strict=True):
        new.assign(old)
