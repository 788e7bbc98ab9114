"""Distillation (arXiv:1503.02531): a network learns from the outputs of the uncut one besides the targets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops, tree

from shrinknet.internals import compile_config

_TEACHER = "_shrinknet_teacher"  # in the instance's __dict__, where Keras does not look for layers
Distance = Callable[[Any, Any], Any]


@contextlib.contextmanager
def taught(net: Any, teacher: Any, share: float) -> Iterator[None]:
    """Within the block, part of the network's training loss is its distance from the teacher.

    For outputs that are probabilities or logits, the distance is the Kullback-Leibler divergence; for others, the mean
    squared difference divided by the teacher's variance.

    Args:
        net: compiled; teacher: a model with the same inputs and outputs of the same shapes.
        share: of the loss that is the distance, in [0, 1); 0: nothing is changed.
    """
    if not share:
        yield
        return
    kind = type(net)
    distances = [_distance(net, output) for output in net.outputs]
    net.__dict__[_TEACHER] = (teacher, share, distances)
    net.__class__ = type(kind.__name__, (_Taught, kind), {"__module__": kind.__module__})
    try:
        yield
    finally:
        net.__class__ = kind
        del net.__dict__[_TEACHER]


class _Taught:
    """Mixed into the network's class while it is taught."""

    def compute_loss(
        self: Any, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)  # type: ignore[misc]
        if not training:
            return loss
        teacher, share, distances = self.__dict__[_TEACHER]
        wanted = tree.flatten(teacher(x, training=False))
        pairs = zip(distances, wanted, tree.flatten(y_pred), strict=True)
        away = sum(distance(ops.stop_gradient(target), output) for distance, target, output in pairs)
        return (1 - share) * loss + share * ops.cast(away, loss.dtype)


def _distance(net: Any, output: Any) -> Distance:
    """A scalar distance between an output and the teacher's."""
    operation = output._keras_history.operation
    activation = getattr(operation, "activation", None)
    kind = getattr(activation, "__name__", type(operation).__name__).lower()
    loss = compile_config(net).get("loss")
    logits = bool(getattr(loss, "from_logits", False)) or bool(getattr(loss, "_fn_kwargs", {}).get("from_logits"))
    if kind == "softmax":
        return _divergence
    if kind == "sigmoid":
        return lambda target, given: _divergence(_both(target), _both(given))
    if logits and output.shape[-1] == 1:
        return lambda target, given: _divergence(_both(ops.sigmoid(target)), _both(ops.sigmoid(given)))
    if logits:
        return lambda target, given: _divergence(ops.softmax(target), ops.softmax(given))
    return _relative_error


def _divergence(target: Any, given: Any) -> Any:
    target, given = (ops.clip(ops.cast(one, "float32"), keras.config.epsilon(), 1.0) for one in (target, given))
    return ops.mean(ops.sum(target * (ops.log(target) - ops.log(given)), axis=-1))


def _both(probability: Any) -> Any:
    return ops.stack([probability, 1 - probability], axis=-1)


def _relative_error(target: Any, given: Any) -> Any:
    target, given = (ops.cast(one, "float32") for one in (target, given))
    return ops.mean(ops.square(given - target)) / (ops.var(target) + keras.config.epsilon())
