"""Holding: frozen filters stay as they are only in the training of their own network, and so are refused in any other.

The optimizer of a network knows what is frozen in it. Another model made of the same layers has another optimizer.
"""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras

from shrinknet.errors import ModelError
from shrinknet.internals import caller_of_all, is_training_call

_HOLDER = "_shrinknet_holder"  # key in the __dict__ of a network and of its layers: they have frozen filters


class Holder:
    """What a network shares with its layers that have frozen filters; a copy of the network shares a copy of it."""


_TRAINED_WITH: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
"""A network or layer -> the models in whose training it was called."""
_TRACED: weakref.WeakSet[Any] = weakref.WeakSet()
"""Networks and layers that functions other than their own train as they were when these were traced."""
_TRAINED: contextvars.ContextVar[Holder | bool | None] = contextvars.ContextVar("trained", default=None)


@contextlib.contextmanager
def training(net: Any) -> Iterator[None]:
    """Inside, the network trains itself."""
    token = _TRAINED.set(vars(net).get(_HOLDER) or True)
    try:
        yield
    finally:
        _TRAINED.reset(token)


def hold(net: Any, layers: Mapping[Any, bool]) -> None:
    """Marks a network and its layers with frozen filters.

    Args:
        layers: layers of the network -> whether they have frozen filters.
    """
    holder = Holder() if any(layers.values()) else None
    vars(net)[_HOLDER] = holder
    for layer, frozen in layers.items():
        vars(layer)[_HOLDER] = holder if frozen else None
    for part in (net, *(layer for layer, frozen in layers.items() if frozen)) if holder else ():
        for other in _TRAINED_WITH.get(part, ()):
            if other is not net and getattr(other, "train_function", None) is not None:
                other.train_function = None  # it was traced when nothing was frozen: Keras traces it again


def refuse_foreign_training(part: Any, keywords: Mapping[str, Any]) -> None:
    """Refuses to train frozen filters in anything but their own network, and notes in what a part is trained.

    Args:
        part: the network or layer that is called; keywords: of the call.

    Raises:
        ModelError: it has frozen filters, and is called for a training that would change them.
    """
    holder = vars(part).get(_HOLDER)
    if not is_training_call(keywords) and (holder is None or not _is_differentiated(part)):
        return
    outer = caller_of_all()
    if outer is not None and outer is not part:
        _TRAINED_WITH.setdefault(part, weakref.WeakSet()).add(outer)
    own = _TRAINED.get()
    if own is None and holder is None and outer in (None, part) and _is_traced(part):
        _TRACED.add(part)
    if holder is not None and holder is not own and part.trainable_weights:
        raise ModelError(
            f"{part.name} has frozen filters, which stay frozen only while their switched network trains itself, with "
            "its own fit, train_on_batch or train_step. Inside another model or a custom training loop they would "
            "change: thaw them, train that network itself, or set its trainable = False."
        )


def refuse_traced(net: Any, parts: Iterable[Any]) -> None:
    """Refuses to freeze filters that a function which was traced before would go on training.

    Args:
        parts: layers whose filters are to be frozen.

    Raises:
        ModelError: the network, or one of the layers, was trained in a `tf.function` other than its own.
    """
    if any(part in _TRACED for part in (net, *parts)):
        raise ModelError(
            f"{net.name} was trained in a tf.function of a custom training loop, which was traced when nothing was "
            "frozen and would go on changing frozen filters. Train it with its own fit, train_on_batch or train_step "
            "from the start."
        )


def _is_traced(part: Any) -> bool:
    """Whether a `tf.function` is being traced that records gradients of the weights."""
    if keras.backend.backend() != "tensorflow" or not part.trainable_weights:
        return False
    from shrinknet.layers.holding_tensorflow import is_traced

    return is_traced(part.trainable_weights)


def _is_differentiated(part: Any) -> bool:
    """Whether gradients of the weights are recorded at this moment; JAX does not tell."""
    if keras.backend.backend() != "tensorflow":
        return False
    from shrinknet.layers.holding_tensorflow import is_recorded

    return is_recorded(part.trainable_weights)
