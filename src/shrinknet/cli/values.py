"""Option types that click does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import click

# Repeated here because the modules that define them are slow to load; tests compare.
PACES = ("one", "adaptive", "bisect", "rounds", "auto")
UNITS = ("filters", "parameters", "multiply_adds", "bytes", "latency", "latency_ms")


class Pace(click.ParamType[str | int]):
    """One of PACES, or a number of filters."""

    name = f"{'|'.join(PACES)}|N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str | int:
        """Numbers become int, words stay unchanged."""
        if value in PACES or isinstance(value, int):
            return value
        if str(value).isdigit() and int(value) >= 1:
            return int(value)
        self.fail(f"expected {', '.join(PACES)} or a number of 1 or more; received {value!r}.", param, context)


class Target(click.ParamType[Any]):
    """A number of filters (int), a share of them (float between 0 and 1, or percent), or amounts in several units."""

    name = "UNIT=AMOUNT,..."

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """`8` is eight filters, `0.5` and `50%` are half of them, `multiply-adds=0.5` is half of the multiply-adds."""
        if not isinstance(value, str):
            return value
        if "=" not in value:
            return self._amount(value, value, param, context)
        found = {}
        for part in value.split(","):
            unit, _, text = part.partition("=")
            if (unit := unit.strip().replace("-", "_")) not in UNITS:
                self.fail(f"expected units {', '.join(UNITS).replace('_', '-')}; received {part!r}.", param, context)
            found[unit] = self._amount(text.strip(), value, param, context)
        return found

    def _amount(
        self, text: str, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> int | float:
        with contextlib.suppress(ValueError):
            if text.isdigit() and int(text) >= 1:
                return int(text)
            number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
            if ("." in text or "%" in text) and (0 < number < 1 or (number >= 1 and "latency" in value)):
                return number
        self.fail(
            f"expected amounts such as 8, or shares such as 0.5 or 50%, as multiply-adds=0.5; received {value!r}.",
            param,
            context,
        )


class Numbers(click.ParamType[tuple[int, ...] | None]):
    """Whole numbers from 1, separated by commas.

    Args:
        what: a description with an example, for the error message.
        count: how many there must be; None: one or more.
        optional: whether the word "none" is accepted, too, and gives None.
    """

    name = "N,N,..."

    def __init__(self, what: str, count: int | None = None, optional: bool = False) -> None:
        self.what, self.count, self.optional = what, count, optional

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, ...] | None:
        """`5,5,1` is three of them."""
        if isinstance(value, tuple):
            return value
        if self.optional and value == "none":
            return None
        parts = [part.strip() for part in str(value).split(",")]
        right = all(part.isdigit() and int(part) >= 1 for part in parts)
        if not right or self.count not in (None, len(parts)):
            self.fail(f"expected {self.what}; received {value!r}.", param, context)
        return tuple(map(int, parts))


class Box(click.ParamType[tuple[int, int, int, int]]):
    """Left, top, right and bottom in pixels, the last two exclusive."""

    name = "LEFT,TOP,RIGHT,BOTTOM"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> tuple[int, int, int, int]:
        """`10,20,200,180` is a box of 190 x 160 pixels."""
        try:
            left, top, right, bottom = value if isinstance(value, tuple) else map(int, str(value).split(","))
        except ValueError:
            self.fail(
                f"expected four whole numbers of pixels, such as 10,20,200,180; received {value!r}.", param, context
            )
        return left, top, right, bottom


class Names(click.ParamType[tuple[str, ...]]):
    """Words, separated by commas.

    Args:
        known: the accepted words.
    """

    name = "NAME,NAME,..."

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, ...]:
        """`keras,litert` is two of them."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(",") if part.strip())
        for name in names:
            if name not in self.known:
                self.fail(f"expected {', '.join(self.known)}, separated by commas; received {name!r}.", param, context)
        return names


class Parameter(click.ParamType[tuple[str, Any]]):
    """A name and a value: true, false, none, a number, or text."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, Any]:
        """`patience=10` is ("patience", 10)."""
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not sign or not name.isidentifier():
            self.fail(f"expected a name and a value, such as patience=10; received {value!r}.", param, context)
        words = {"true": True, "false": False, "none": None}
        if text.lower() in words:
            return name, words[text.lower()]
        return name, _number(text)


class Rate(click.ParamType[str | float]):
    """The name of an optimizer, or a learning rate."""

    name = "NAME|RATE"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str | float:
        """`adam` is a name, `1e-3` a rate."""
        return _number(value) if isinstance(value, str) else value


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


# The names that `export` and `compress` accept, repeated here because their modules are slow to load.
FORMATS = Names(("keras", "savedmodel", "litert", "litert-float16", "litert-dynamic", "litert-int8", "onnx"))
METHODS = Names(("quantization-aware", "clustering", "pruning", "pruning-2-4"))
BOX, PACE, TARGET, PARAMETER, RATE = Box(), Pace(), Target(), Parameter(), Rate()
WIDTHS = Numbers("numbers of filters separated by commas, such as 5,5,1")
SIZES = Numbers("sizes of one sample separated by commas, such as 128,128,1")
SIZE = Numbers("height and width separated by a comma, such as 64,400", 2)
CROP = Numbers("height and width separated by a comma, such as 64,128, or none", 2, optional=True)
