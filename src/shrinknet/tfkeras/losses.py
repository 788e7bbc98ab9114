"""Losses in tf_keras: its own by name, others by their module."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import tf_keras

from shrinknet.errors import ModelError


def loss_of(description: Mapping[str, Any] | None) -> Any:
    """The loss of one output, as `compile` takes it.

    Args:
        description: None: the output is not trained. Otherwise `name` of a class or function of tf_keras, with `config`
            for a class; or `module` and `name` of the user's own, with `config` for a class of Keras 3, whose losses
            work with TensorFlow tensors as well.

    Raises:
        ModelError: there is no such loss.
    """
    if description is None:
        return None
    name, config = description["name"], description.get("config")
    if "module" not in description:
        try:
            if config is None:
                return tf_keras.losses.get(name)
            return tf_keras.losses.get({"class_name": name, "config": config})
        except (TypeError, ValueError) as error:
            raise ModelError(f"The loss {name} has no counterpart in tf_keras: {error}") from error
    own = getattr(importlib.import_module(description["module"]), name)
    return own if config is None else _called(own.from_config(config))


def _called(loss: Any) -> Callable[[Any, Any], Any]:
    return lambda y_true, y_pred: loss(y_true, y_pred)
