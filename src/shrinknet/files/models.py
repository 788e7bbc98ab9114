"""Model files: opened in Keras's safe mode, written completely or not at all.

A Keras file can contain Python code, and the names of classes and functions that are not Keras's. Safe mode refuses
both, except for shrinknet's own switched layers, losses and metrics. Pass `trust=True` to load anything else.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

import shrinknet.losses  # both imports register classes that shrinknet's own files contain
import shrinknet.network.switching  # noqa: F401
from shrinknet.errors import ModelError, OptionError
from shrinknet.files.inspection import inspected
from shrinknet.files.placing import place, workplace
from shrinknet.internals import layers_of
from shrinknet.layers import Switched
from shrinknet.network.compiled import uncompiled

_LOG = logging.getLogger("shrinknet")


def open_model(path: str | os.PathLike[str], *, trust: bool = False, compiled: bool = False) -> Any:
    """The Keras model in a file.

    Args:
        path: a `.keras` or `.h5` file, also of a switched model.
        trust: True: run Python code in the file, and import classes and functions that are not Keras's from the modules
            that the file names, including modules in the current folder. Use it only for files that you trust.
        compiled: also load loss, metrics and optimizer; if these are unknown, the model is loaded without them, with a
            warning.

    Raises:
        ModelError: the file does not exist, has another format or is damaged, or contains what safe mode refuses.
    """
    path = Path(path)
    _check_kind(path)
    try:
        with inspected(path), _trusted(path, trust) as own:
            _import_ours(path)
            try:
                return keras.models.load_model(path, own, compile=compiled, safe_mode=not trust)
            except Exception as error:
                if not compiled:
                    raise
                model = keras.models.load_model(path, own, compile=False, safe_mode=not trust)
                _LOG.warning("The model %s was opened without its loss and optimizer: %s.", path, _first_words(error))
                return model
    except ModelError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ModelError(_why_not(path, error)) from error


def has_switches(model: Any) -> bool:
    """Whether a model has switched layers."""
    return any(isinstance(layer, Switched) for layer in layers_of(model))


def check_target(path: Path, source: Path) -> None:
    """Refuses a path that a model cannot or should not be written to.

    Raises:
        OptionError: the name does not end in `.keras`, or it is the file that was read.
    """
    if path.suffix != ".keras":
        raise OptionError(f"Expected a file name that ends in .keras; received {path}.")
    if path.exists() and path.samefile(source):
        raise OptionError(f"Expected a file other than {source}, which would be overwritten; received {path}.")


def write_model(model: Any, path: str | os.PathLike[str]) -> bool:
    """Writes a `.keras` file that loads with plain Keras; it is written completely or not at all.

    Returns:
        True: it contains loss, metrics and optimizer; False: it does not, because they are not Keras's own or there are
        none.

    Raises:
        OptionError: the name does not end in `.keras`.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise OptionError(f"Expected a file name that ends in .keras; received {path}.")
    complete = bool(model.compiled) and not list(_foreign(model.get_compile_config()))
    with workplace(path.parent) as scratch, contextlib.nullcontext() if complete else uncompiled(model):
        model.save(scratch / path.name)
        place(scratch / path.name, path)
    return complete


def reopened(path: str | os.PathLike[str], model: Any) -> Any:
    """The network in a file that was written from `model`, without loss and optimizer, as its owner would load it.

    In Keras's safe mode; if that fails, with the classes of the model's layers, and with its Python code.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except (TypeError, ValueError):
        own = {type(layer).__name__: type(layer) for layer in layers_of(model)}
        return keras.models.load_model(path, own, compile=False, safe_mode=False)


def _check_kind(path: Path) -> None:
    if not os.path.exists(path):
        raise ModelError(f"There is no model file {path}.")
    if path.is_dir():
        kind = "is a SavedModel" if (path / "saved_model.pb").exists() else "is a folder"
        raise ModelError(f"Expected a .keras or .h5 file, which has layers; {path} {kind}. Save the model as .keras.")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ModelError(f"Expected a .keras or .h5 file; received {path}. Save the model as .keras.")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise ModelError(f"The file {path} is not a Keras model: it is not a zip archive, or only part of one.")


def _foreign(config: Any) -> Iterator[tuple[str, str, str]]:
    """(name, module, registered name) of every class and function in a configuration that is not Keras's own."""
    if isinstance(config, dict):
        if "class_name" in config and "module" in config:
            function = config["class_name"] == "function"
            name, module = str(config["config"] if function else config["class_name"]), config["module"] or ""
            registered = config.get("registered_name") or name
            keras_own = module.split(".")[0] == "keras" or (module == "builtins" and (not function or _is_keras(name)))
            if ">" in registered or not keras_own:
                yield name, module, registered
        for value in config.values():
            yield from _foreign(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _foreign(value)


def _is_keras(function: str) -> bool:
    places = (keras.losses, keras.metrics, keras.activations, keras.initializers)
    return any(hasattr(place, function) for place in places)


def _import_ours(path: Path) -> None:
    """Imports the modules of shrinknet whose classes a file names: importing a module registers its classes."""
    for _, module, _ in _foreign(_config_of(path)):
        if re.fullmatch(r"shrinknet(\.\w+)+", module):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)


@contextlib.contextmanager
def _trusted(path: Path, trust: bool) -> Iterator[dict[str, Any]]:
    """The classes and functions that a file names, imported from its modules, by the names that Keras looks up."""
    own: dict[str, Any] = {}
    if not trust:
        yield own
        return
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        for name, module, registered in _foreign(_config_of(path)):
            if module.split(".")[0] in ("", "builtins", "shrinknet"):
                continue  # nowhere to look, or already known
            try:
                own[registered] = own[name] = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError) as error:
                raise ModelError(
                    f"The file {path} needs {name} from the module {module}, which cannot be imported ({error}). Run "
                    "the command in the folder that contains the module, or install it."
                ) from error
        yield own
    finally:
        sys.path[:] = before


def _config_of(path: Path) -> Any:
    """The configuration in a `.keras` file; empty for other formats."""
    if path.suffix != ".keras":
        return {}
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def _why_not(path: Path, error: Exception) -> str:
    text = str(error)
    if "safe_mode" in text or "unsafe_deserialization" in text:
        return (
            f"The file {path} contains Python code, for example in a Lambda layer, that would run when it is opened. "
            "If you trust its author, pass --trust (in Python: trust=True)."
        )
    if _holds_weights_only(path):
        return (
            f"The file {path} contains only weights, without the network. Build the model, load them with "
            "model.load_weights(path), and save the complete model with model.save('model.keras')."
        )
    missing = re.search(r"Could not locate (?:class|function) '([^']+)'", text)
    if missing:
        modules = {name: module for name, module, _ in _foreign(_config_of(path))}
        return (
            f"The file {path} needs {missing[1]} from the module {modules.get(missing[1]) or 'unknown'}, which is not "
            "part of Keras. If you trust its author, pass --trust (in Python: trust=True) to import it from there."
        )
    return f"The file {path} cannot be opened as a Keras model; it may be damaged ({_first_words(error)})."


def _holds_weights_only(path: Path) -> bool:
    if path.suffix not in (".h5", ".hdf5"):
        return False
    import h5py

    try:
        with h5py.File(path) as file:
            return "model_config" not in file.attrs
    except OSError:
        return False


def _first_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.') if lines else ''}".rstrip(": ")
