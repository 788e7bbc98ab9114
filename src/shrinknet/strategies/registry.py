"""Finds strategies by name, file or entry point, and builds them; built-in ones are registered the same way."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from shrinknet.errors import ShrinknetError, StrategyError
from shrinknet.strategies.protocol import Strategy

ENTRY_POINTS = "shrinknet.strategies"
"""The entry-point group for strategies in installed packages: name = "module:class"."""

FOLDER = "SHRINKNET_STRATEGIES"
"""The environment variable for a folder of plug-in files; `my_own.py` in it has the name `my-own`."""

BUILT_IN = {
    "ablation": "shrinknet.strategies.ablation:Ablation",
    "activation": "shrinknet.strategies.activation:Activation",
    "bn-scale": "shrinknet.strategies.bn_scale:BatchNormScale",
    "cosine-max": "shrinknet.strategies.cosine:CosineMax",
    "cosine-max-abs": "shrinknet.strategies.cosine:CosineMaxAbsolute",
    "cosine-mean": "shrinknet.strategies.cosine:CosineMean",
    "cosine-mean-abs": "shrinknet.strategies.cosine:CosineMeanAbsolute",
    "geometric-median": "shrinknet.strategies.geometric_median:GeometricMedian",
    "learned": "shrinknet.strategies.learned:Learned",
    "norm-l1": "shrinknet.strategies.norm:NormL1",
    "norm-l2": "shrinknet.strategies.norm:NormL2",
    "random": "shrinknet.strategies.random:Random",
    "rebuildable": "shrinknet.strategies.rebuildable:Rebuildable",
    "refit": "shrinknet.strategies.refit:Refit",
    "sequential": "shrinknet.strategies.sequential:Sequential",
    "taylor": "shrinknet.strategies.taylor:Taylor",
    "zeros": "shrinknet.strategies.zeros:Zeros",
}
"""The entry points of this package, repeated here so that they also work if the package is not installed."""


class Listed(NamedTuple):
    """A strategy as `strategies()` lists it.

    Attributes:
        factory: the class or function that builds the strategy; None if it cannot be loaded.
        summary: the first line of its docstring; if it cannot be loaded, the reason.
    """

    factory: Callable[..., Any] | None
    summary: str


def load_strategy(
    spec: str | os.PathLike[str] | Strategy | tuple[str, Mapping[str, Any]], seed: int | None = None, **parameters: Any
) -> Strategy:
    """The strategy that `spec` describes.

    Args:
        spec: a name (`strategies()` lists them), a path to a single .py file, a class, or a strategy, which is returned
            unchanged; or a name with its parameters, ("norm-l1", {"relative": True}).
        seed: passed to strategies that have a parameter `seed`.
        **parameters: those of the strategy.

    Raises:
        StrategyError: there is no such name or file, the file contains no strategy or cannot be imported, or the
            strategy does not have these parameters.
        OptionError: a parameter is out of range.

    Example:
        >>> load_strategy("cosine-max", patience=3)  # doctest: +ELLIPSIS
        <shrinknet.strategies.cosine.CosineMax object at ...>
    """
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[1], Mapping):
        return load_strategy(spec[0], seed, **{**spec[1], **parameters})
    if isinstance(spec, str | os.PathLike):
        text = os.fspath(spec)
        is_path = not isinstance(spec, str) or text.endswith(".py") or Path(text).name != text
        label, found = (text, _from_file(Path(text))) if is_path else (text, _from_name(text))
    else:
        label, found = getattr(spec, "__name__", type(spec).__name__), spec
    if not isinstance(found, type) and isinstance(found, Strategy):
        if parameters:
            raise StrategyError(
                f"The strategy {label} is already built and takes no parameters; received {', '.join(parameters)}. "
                f"Pass them to its constructor."
            )
        return found
    if not callable(found):
        raise StrategyError(
            f"Expected a strategy: a name, a path to a .py file, or an object with the methods ask and tell; "
            f"received {found!r}."
        )
    return _build(label, found, seed, parameters)


def strategies() -> dict[str, Listed]:
    """All named strategies, by name: class and first line of the docstring.

    Those that cannot be loaded are listed too, with the reason.

    Raises:
        StrategyError: SHRINKNET_STRATEGIES is not a folder.
    """
    listed: dict[str, Listed] = {}
    for name in sorted(_sources()):
        try:
            factory = _from_name(name)
        except StrategyError as error:
            listed[name] = Listed(None, str(error))
        else:
            text = inspect.getdoc(factory if callable(factory) else type(factory)) or "(no description)"
            listed[name] = Listed(factory if callable(factory) else type(factory), text.splitlines()[0])
    return listed


def _sources() -> dict[str, list[importlib.metadata.EntryPoint | Path]]:
    """The sources of each known name; `_from_name` refuses more than one."""
    entries = dict.fromkeys((name, value) for name, value in BUILT_IN.items())
    entries |= dict.fromkeys((entry.name, entry.value) for entry in importlib.metadata.entry_points(group=ENTRY_POINTS))
    sources: dict[str, list[importlib.metadata.EntryPoint | Path]] = {}
    for name, value in entries:
        sources.setdefault(name, []).append(importlib.metadata.EntryPoint(name, value, ENTRY_POINTS))
    for path in _plugin_files():
        sources.setdefault(path.stem.replace("_", "-"), []).append(path)
    return sources


def _plugin_files() -> Iterable[Path]:
    setting = os.environ.get(FOLDER)
    if not setting:
        return ()
    folder = Path(setting).expanduser()
    if not folder.is_dir():
        raise StrategyError(f"{FOLDER} is set to {setting}, which is not a folder; set it to a folder or unset it.")
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def _from_name(name: str) -> Any:
    sources = _sources()
    if name not in sources:
        near = difflib.get_close_matches(name, sources, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise StrategyError(
            f"Unknown strategy {name!r}. {hint}Known: {', '.join(sorted(sources))}. "
            f"For a plug-in file, pass its path, ending in .py."
        )
    if len(sources[name]) > 1:
        places = ", ".join(str(source) if isinstance(source, Path) else source.value for source in sources[name])
        raise StrategyError(
            f"More than one strategy is called {name!r}: {places}. Rename one, or pass the path of the file."
        )
    (source,) = sources[name]
    if isinstance(source, Path):
        return _from_file(source)
    try:
        return source.load()
    except Exception as error:
        raise StrategyError(
            f"The strategy {name!r} of the entry point {source.value} could not be imported: "
            f"{type(error).__name__}: {error}. Repair or uninstall the package that provides it."
        ) from error


def _from_file(path: Path) -> Any:
    """The object called `strategy` in a plug-in file, otherwise its one class that has ask and tell."""
    path = path.expanduser()
    if not os.path.isfile(path):
        what = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
        raise StrategyError(f"The plug-in file {path} {what}; expected the path of a single .py file.")
    module = _import(path)
    named = getattr(module, "strategy", None)
    if named is not None:
        if not callable(named) and not isinstance(named, Strategy):
            raise StrategyError(f"In the plug-in file {path}, `strategy` is {named!r}; expected a class or a strategy.")
        return named
    classes = {
        name: item
        for name, item in vars(module).items()
        if isinstance(item, type) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    found = {name: item for name, item in classes.items() if issubclass(item, Strategy)}
    if not found:
        near = f"; its classes are {', '.join(classes)}" if classes else ""
        raise StrategyError(f"The plug-in file {path} contains no class with the methods ask and tell{near}.")
    if len(found) > 1:
        raise StrategyError(
            f"The plug-in file {path} contains {len(found)} strategies, {', '.join(found)}; "
            f"expected one, or a line such as `strategy = {next(iter(found))}`."
        )
    return next(iter(found.values()))


def _import(path: Path) -> ModuleType:
    """Imports a plug-in file as a module with a unique name, which cannot hide any other module."""
    name = f"shrinknet_plugin_{path.stem}_{zlib.crc32(bytes(path.resolve())):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"The plug-in file {path} is not a Python file; expected a path ending in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up the module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f" in line {lines[-1]}" if lines else ""
        raise StrategyError(
            f"The plug-in file {path} could not be imported: {type(error).__name__}{place}: {error}."
        ) from error
    return module


def _build(label: str, factory: Callable[..., Any], seed: int | None, parameters: dict[str, Any]) -> Strategy:
    try:
        known = inspect.signature(factory).parameters
    except ValueError:  # built in C: its parameters are unknown
        known = None
    if known is not None:
        if "seed" in known and seed is not None:
            parameters = {"seed": seed, **parameters}
        _check_parameters(label, known.values(), parameters)
    try:
        strategy = factory(**parameters)
    except ShrinknetError:
        raise
    except Exception as error:
        raise StrategyError(f"The strategy {label} could not be built: {type(error).__name__}: {error}.") from error
    if not isinstance(strategy, Strategy):
        raise StrategyError(f"The strategy {label} returned {strategy!r}, which lacks the methods ask and tell.")
    return strategy


def _check_parameters(label: str, known: Iterable[inspect.Parameter], given: dict[str, Any]) -> None:
    open_ended = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {parameter.name: parameter for parameter in known if parameter.kind not in open_ended}
    takes = f"It takes: {', '.join(named) or 'none'}."
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known):
        for name in given:
            if name not in named:
                near = difflib.get_close_matches(name, named, n=1)
                hint = f", did you mean {near[0]!r}?" if near else "."
                raise StrategyError(f"The strategy {label} has no parameter {name!r}{hint} {takes}")
    for name, parameter in named.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise StrategyError(f"The strategy {label} needs a value for its parameter {name!r}. {takes}")
