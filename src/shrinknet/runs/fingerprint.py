"""Fingerprints: the data, model, strategy and machine that a run started with, as text and digests to compare."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from shrinknet.engine.data import Arrays, Feed, first_batch, why_not_repeatable
from shrinknet.internals import compile_config, layers_of
from shrinknet.strategies.memory import Memory

_LOG = logging.getLogger("shrinknet")


def identity(model: Any, feeds: Sequence[Feed], test: Feed | None) -> dict[str, dict[str, str]]:
    """The model and data of a run, as text and digests; warns of data that cannot be repeated exactly."""
    for reason in filter(None, map(why_not_repeatable, feeds)):
        _LOG.warning("If this run is interrupted, it can be resumed, but will not end in the same bits: %s.", reason)
    names = ("training data", "validation data", "test data")
    found = {name: of_data(feed) for name, feed in zip(names, (*feeds, test), strict=True) if feed is not None}
    return {"model": of_model(model), "data": found}


def of_data(feed: Feed) -> str:
    """The data as text: their sizes, and a digest of all numbers (of arrays) or of the first batch (of a stream).

    If the first batch differs each time, there is no digest.
    """
    if isinstance(feed, Arrays):
        arrays, kind = feed.arrays, f"{feed.samples:,} samples"
    else:
        arrays, kind = first_batch(feed), f"a {type(feed.source).__name__}"
        if hasattr(feed.source, "__len__"):
            kind += f" of {_length(feed.source)} batches"
    leaves = [np.asarray(keras.ops.convert_to_numpy(leaf)) for leaf in keras.tree.flatten(arrays)]
    shapes = " and ".join(f"{leaf.dtype}{[*leaf.shape[1:]]}" for leaf in leaves)
    return f"{kind}, {shapes}" + (f", sha256 {digest_of(leaves)}" if why_not_repeatable(feed) is None else "")


def _length(source: Any) -> str:
    try:
        return str(len(source))
    except TypeError:  # a tf.data.Dataset of unknown or endless length
        return "unknown many"  # stored in run folders, so it must not change


def of_model(model: Any) -> dict[str, str]:
    """The model as text and digests: its layers, their settings, its weights, and its compile settings."""
    settings: Any
    try:
        settings = _plain(json.loads(model.to_json())["config"])
    except Exception:  # a layer without a configuration: use the shapes of the weights instead
        settings = [[variable.path, [*variable.shape]] for variable in model.weights]
    return {
        # Keras numbers the names of layers in each process; only names that are part of filters' names are compared.
        "layers with filters": " ".join(layer.name for layer in layers_of(model) if hasattr(layer, "kernel")),
        "layers": digest_of(re.sub(r'_[0-9]+"', '"', json.dumps(settings, sort_keys=True)).encode()),
        "weights": digest_of([keras.ops.convert_to_numpy(weight) for weight in model.weights]),
        "optimizer": of_setting(model.optimizer),
        "loss": of_setting(compile_config(model).get("loss")),
        "metrics": of_setting(compile_config(model).get("metrics")),
    }


def of_strategy(spec: Any) -> str:
    """The requested strategy: its name, its file with a digest, or its class with its plain attributes."""
    if isinstance(spec, str | os.PathLike):
        path = Path(spec)
        return f"{path.name} sha256 {digest_of(path.read_bytes())}" if path.is_file() else os.fspath(spec)
    if isinstance(spec, tuple):
        return f"{of_strategy(spec[0])} {json.dumps(spec[1], sort_keys=True, default=str)}"
    kind = spec if isinstance(spec, type) else type(spec)
    attributes = _attributes(spec)
    return kind.__qualname__ + (f" {json.dumps(attributes)}" if attributes else "")


def _attributes(value: Any, depth: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in sorted(getattr(value, "__dict__", {}).items() if not isinstance(value, type) else ()):
        if isinstance(item, Memory):
            continue  # of how long it searches, which may change, and of what it was told, which nothing was yet
        if isinstance(item, str | int | float | bool):
            found[name.lstrip("_")] = item
        elif depth and (inner := _attributes(item, depth - 1)):
            found[name.lstrip("_")] = inner
    return found


def of_function(value: Any) -> Any:
    """The name of a function; any other value unchanged."""
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else value


def of_environment() -> dict[str, str]:
    """Versions, processor, threads, devices and oneDNN, which the last bits of a training depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("shrinknet", "keras", "tensorflow", "jax", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    backend = keras.backend.backend()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        **found,
        "python": platform.python_version(),
        "backend": backend,
        "machine": f"{platform.machine()}, {cores} cores, {platform.system()}",
        "processor": processor(),
        **(_of_tensorflow(cores) if backend == "tensorflow" else {}),
    }


def _of_tensorflow(cores: int | None) -> dict[str, str]:
    tf = sys.modules["tensorflow"]  # it is the backend, so it is loaded
    threads = (
        tf.config.threading.get_intra_op_parallelism_threads() or cores,
        tf.config.threading.get_inter_op_parallelism_threads() or cores,
    )
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for device in tf.config.list_physical_devices()
    ]
    return {
        "devices": ", ".join(names),
        "threads": f"{threads[0]} and {threads[1]}",
        "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "as TensorFlow decides"),
    }


def processor() -> str:
    """The model name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def digest_of(value: Any) -> str:
    """The first 16 digits of a SHA-256: of bytes, of a list of arrays with their types and shapes, or of JSON."""
    digest = hashlib.sha256()
    if isinstance(value, bytes):
        digest.update(value)
    elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        for array in value:
            digest.update(f"{array.dtype} {array.shape} ".encode())
            if array.dtype.hasobject:  # text
                digest.update(repr(array.tolist()).encode())
            elif array.size:
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    else:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def of_setting(value: Any) -> str:
    """A compile setting in one line: its class and its plain settings."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(of_setting, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {of_setting(item)}" for key, item in sorted(value.items())) + "}"
    if value is None or isinstance(value, str | int | float):
        return str(value)
    try:
        settings = _plain(value.get_config())
    except Exception:  # a function, or an object without a configuration
        return str(of_function(value))
    settings = {name: item for name, item in settings.items() if name != "name" and item not in (None, False)}
    return f"{type(value).__name__}{json.dumps(settings, sort_keys=True, default=of_function)}"


def _plain(value: Any) -> Any:
    """The value in JSON types, without addresses of objects and names of modules."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key not in ("build_config", "module")}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | type(None)) else str(of_function(value))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The entries that differ, each as `name: was old, now new`."""
    names = dict.fromkeys([*old, *new])
    return [
        f"{name}: was {_short(old.get(name))}, now {_short(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:250]} ... (sha256 {digest_of(text)})"
