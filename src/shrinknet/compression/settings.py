"""Settings: loss and optimizer of a compiled model as plain data, for a process with another version of Keras."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from shrinknet.errors import ModelError
from shrinknet.internals import functional_of


def job_losses(model: Any, loss: Any = None) -> list[dict[str, Any] | None]:
    """The loss of each output; see `shrinknet.tfkeras.losses.loss_of` for what describes one.

    Args:
        loss: as in `compile`; None: the compiled loss.

    Raises:
        ModelError: there is no loss, or another process cannot import it.
    """
    count = len(functional_of(model).outputs)
    loss = loss if loss is not None else getattr(model, "loss", None)
    if loss is None:
        raise ModelError(
            f"The model {model.name} is not compiled, so there is no loss to train with. Pass loss=..., for example "
            '"mse", or compile it.'
        )
    if isinstance(loss, dict):
        loss = [loss.get(name) for name in model.output_names]
    losses = list(loss) if isinstance(loss, list | tuple) else [loss] * count
    if len(losses) != count:
        raise ModelError(f"Expected a loss for each of {count} outputs; received {len(losses)}.")
    return [_described(each) for each in losses]


def _described(loss: Any) -> dict[str, Any] | None:
    if loss is None or isinstance(loss, str):
        return None if loss is None else {"name": loss}
    if isinstance(loss, keras.losses.Loss):
        config = {key: value for key, value in loss.get_config().items() if key != "dtype"}
        return {**_named(loss, type(loss)), "config": {**_forgotten(loss), **config}}
    return _named(loss, loss)


def _forgotten(loss: Any) -> dict[str, Any]:
    """Arguments of a Keras loss that its get_config() leaves out, such as Huber's delta."""
    defaults = {name: taken.default for name, taken in inspect.signature(type(loss).__init__).parameters.items()}
    kept = getattr(loss, "_fn_kwargs", {})
    return {key: value for key, value in kept.items() if key in defaults and value != defaults[key]}


def _named(loss: Any, owner: Any) -> dict[str, str]:
    """The loss by its name, in Keras or in the module from which another process can import it."""
    module, name = getattr(owner, "__module__", ""), getattr(owner, "__qualname__", "")
    if module.split(".")[0] == "keras":
        return {"name": name}
    if module in ("", "__main__") or not name.isidentifier():
        raise ModelError(
            f"The loss {name or loss!r} cannot be imported by another process: expected a function or class at the top "
            'level of an importable module. Move it there, or pass loss=..., for example "mse".'
        )
    return {"name": name, "module": module}


_KEPT = ("learning_rate", "momentum", "nesterov", "beta_1", "beta_2", "epsilon", "amsgrad", "rho", "weight_decay",
         "clipnorm", "clipvalue", "global_clipnorm")  # fmt: skip
_SAME = ("SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "Nadam")  # in both versions of Keras


def job_optimizer(model: Any, learning_rate: float | None = None) -> dict[str, Any]:
    """The optimizer as `tf_keras.optimizers.get` takes it: of the model's own kind at its current rate, else Adam.

    Args:
        learning_rate: another rate; None: the optimizer's, or 1e-3 if there is no optimizer.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    name = type(optimizer).__name__
    if name not in _SAME:
        return {"class_name": "Adam", "config": {"learning_rate": learning_rate or _rate(optimizer)}}
    config = optimizer.get_config()
    kept = {key: config[key] for key in _KEPT if config.get(key) is not None}
    return {"class_name": name, "config": {**kept, "learning_rate": learning_rate or _rate(optimizer)}}


def _rate(optimizer: Any) -> float:
    return 1e-3 if optimizer is None else float(keras.ops.convert_to_numpy(optimizer.learning_rate))
