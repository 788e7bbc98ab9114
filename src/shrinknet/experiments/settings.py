"""Settings of an experiment: a preset, changes in a TOML file, and changes on the command line."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin, get_type_hints

from shrinknet import __version__
from shrinknet.errors import OptionError

PRESETS = ("smoke", "laptop", "paper")
_LARGEST_TOML = 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every experiment.

    Attributes:
        repetitions: from 1; seed: of everything, from 0; bootstrap: samples for the 95 % intervals.
    """

    repetitions: int = 1
    seed: int = 0
    bootstrap: int = 2_000

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # No training depends on these: changing them trains nothing again.
    ANALYSIS: ClassVar[frozenset[str]] = frozenset({"repetitions", "bootstrap"})
    LEAST: ClassVar[Mapping[str, int]] = {"repetitions": 1, "seed": 0, "bootstrap": 1}

    def __post_init__(self) -> None:
        for name, bound in self.LEAST.items():
            if getattr(self, name) < bound:
                raise OptionError(f"Expected {name} of at least {bound}; received {getattr(self, name)!r}.")

    @property
    def units(self) -> int:
        """How many units of work there are, each stored when it is done: one for each repetition, or several."""
        return self.repetitions

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """The settings of a preset, with changes.

        Raises:
            OptionError: there is no such preset or setting, or a value is invalid.
        """
        if name not in PRESETS:
            raise OptionError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
        return cls().changed({**cls.PRESETS[name], **changes}, f"preset {name}")

    def changed(self, values: Mapping[str, Any], source: str) -> Self:
        """These settings with other values.

        Args:
            values: name -> value as in TOML; a list of one element may be given as the element.
            source: where they come from, for messages.

        Raises:
            OptionError: there is no such setting, or a value is invalid.
        """
        hints = get_type_hints(type(self))
        known = [item.name for item in fields(self)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
                raise OptionError(f"There is no setting {name!r} ({source}); {hint}")
        return replace(self, **{name: _value(name, value, hints[name], source) for name, value in values.items()})

    def difference(self, preset: str) -> dict[str, Any]:
        """The differences from a preset, as in TOML."""
        base = asdict(self.preset(preset))
        return {name: _plain(value) for name, value in asdict(self).items() if value != base[name]}

    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ between settings whose trainings differ."""
        trained = {name: value for name, value in asdict(self).items() if name not in self.ANALYSIS}
        return hashlib.sha256(json.dumps([__version__, trained], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class EdgeSettings(Settings):
    """The settings of experiments on edge detectors; the defaults are those of the thesis if it states them.

    Attributes:
        repetitions: number of networks, each with its own initialization; from 1.
        seed: of data, initialization, orders and bootstrap; from 0.
        images: folders of photographs, VOC2012 or any other; none: the fourteen of scikit-image.
        edges: "canny" or "sobel", the edge map that is learnt.
        crop: height and width of the crops in pixels; train_crops: crops of each training photograph, a single one
            from the centre; grid: validation and test photographs give grid x grid crops.
        shares: train, validation and test as shares or numbers of photographs, for `images`.
        pad: mirror photographs that are smaller than a crop; False: they are errors.
        on_error: "fail" at a photograph that cannot be used, or "skip" it.
        cache: folder for edge maps; "": none.
        memory: MiB; crops that take more are read from disk on demand. The results are the same.
        widths: filters of each convolution; kernel: height and width of the masks in pixels.
        learning_rate: of Adam; the thesis does not state its rate. batch: crops per step.
        warmup_steps: training steps of the first phase; steps: of the second phase, or of each trial.
    """

    repetitions: int = 100
    images: tuple[str, ...] = ()
    edges: str = "canny"
    crop: int = 256
    train_crops: int = 64
    grid: int = 4
    shares: tuple[float, ...] = (0.6, 0.2, 0.2)
    pad: bool = True
    on_error: str = "fail"
    cache: str = ""
    memory: int = 4_096
    widths: tuple[int, ...] = (5, 5, 1)
    kernel: int = 5
    learning_rate: float = 2e-3
    batch: int = 3
    warmup_steps: int = 10_000
    steps: int = 10_000

    ANALYSIS: ClassVar[frozenset[str]] = Settings.ANALYSIS | {"cache", "memory"}
    LEAST: ClassVar[Mapping[str, int]] = {
        **Settings.LEAST, "crop": 8, "train_crops": 1, "grid": 1, "kernel": 1, "batch": 1, "warmup_steps": 0,
        "steps": 1, "memory": 0,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in {"edges": ("canny", "sobel"), "on_error": ("fail", "skip")}.items():
            if getattr(self, name) not in known:
                raise OptionError(f"Expected {name} to be {' or '.join(known)}; received {getattr(self, name)!r}.")
        if len(self.shares) != 3:
            raise OptionError(f"Expected three shares: train, validation, test; received {list(self.shares)}.")


Kind = TypeVar("Kind", bound=Settings)


def load_settings(
    kind: type[Kind], preset: str | None = None, file: str | Path | None = None, sets: Sequence[str] = ()
) -> tuple[Kind, str]:
    """Settings from a preset, a TOML file and `key=value` texts, each overriding the previous one.

    Args:
        kind: the experiment's settings class.
        preset: None: the `preset` in the file, else "smoke".
        file: TOML with changes to the preset.
        sets: `key=value`; the value as in TOML, or a bare word.

    Returns:
        The settings, and the name of the preset.

    Raises:
        OptionError: the file cannot be read, or a name or value is wrong.
    """
    table = _toml(Path(file)) if file else {}
    named = table.pop("preset", None)
    name = preset or named or "smoke"
    settings = kind.preset(str(name)).changed(table, str(file))
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator:
            raise OptionError(f"Expected --set key=value, such as steps=500; received {text!r}.")
        settings = settings.changed({key.strip(): _parsed(value.strip())}, "--set")
    return settings, str(name)


def as_toml(settings: Settings, preset: str) -> str:
    """The settings as a TOML file that reproduces them: the name of the preset and the changes to it."""
    lines = {"preset": preset, **settings.difference(preset)}
    # numbers, strings and lists are the same in JSON and TOML
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in lines.items())


def _toml(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST_TOML + 1)
        if len(data) > _LARGEST_TOML:
            raise OptionError(f"The settings {str(path)!r} are larger than {_LARGEST_TOML:,} bytes, the maximum.")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise OptionError(f"The settings {str(path)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise OptionError(f"The settings {str(path)!r} are not valid TOML: {error}.") from error


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a bare word


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(name: str, value: Any, hint: Any, source: str) -> Any:
    if get_origin(hint) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(name, item, get_args(hint)[0], source) for item in items)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else value
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise OptionError(f"Expected {name} as {hint.__name__} ({source}); received {value!r}.")
    return value
