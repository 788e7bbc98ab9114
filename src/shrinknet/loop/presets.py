"""Presets: what the arguments of `minimize` are where the user says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shrinknet.checks import is_number, one_of
from shrinknet.loop.options import KEYWORDS

# Parameters of `minimize` that are None in its signature, and keywords of the objects behind them.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {
        "strategy": "refit",
        "repair": "refit",
        "reference": "baseline",
        "pace": "auto",
        "warmup_steps": 0,
        "steps": None,
        "final_steps": None,
    },
    # B. Jenei, Szeged 2018, chapter 2: one filter at a time, trained for the same number of steps whatever happens.
    "thesis": {
        "strategy": "cosine-max",
        "repair": None,
        "reference": "last",
        "pace": "one",
        "threshold": 0.98,
        "warmup_steps": 10_000,
        "steps": 2_000,
        "final_steps": 0,
        "final_distill": 0.0,
        "schedule": "constant",
        "train": "always",
        "checks": 1,
        "compact": "never",
    },
}
AUTO = "auto"


class Default(str):
    """A default that a preset may replace, as if nothing had been given; everywhere else an ordinary text."""


BASELINE = Default("baseline")
THRESHOLD = 0.98
"""Share of the score to keep if neither a threshold nor a target is given."""


def filled(preset: str, given: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `minimize`, and the keywords of its objects, with those that the user left open filled in.

    Args:
        preset: "default" or "thesis"; given: parameters; those that are None, a `Default`, or (for `repair`) "auto"
            are left open.
        details: other keywords.

    Raises:
        OptionError: there is no such preset.
    """
    one_of("preset", preset, tuple(PRESETS))
    known = PRESETS[preset]
    values = {
        name: known.get(name) if _is_open(name, value) else value
        for name, value in given.items()
    }  # fmt: skip
    if given.get("repair", AUTO) is None:
        values["repair"] = None
    if values["max_drop"] is not None:
        values["threshold"] = given["threshold"]  # it replaces a preset's
    if values["threshold"] is None and values["max_drop"] is None and values["target"] is None:
        values["threshold"] = THRESHOLD
    keywords = {
        name: value
        for name, value in known.items()
        if name in KEYWORDS and is_plain(given.get(KEYWORDS[name][0]))  # an object replaces the preset
    }
    return values, {**keywords, **details}


def _is_open(name: str, value: Any) -> bool:
    return (
        value is None or isinstance(value, Default) or (name == "repair" and isinstance(value, str) and value == AUTO)
    )


def is_plain(value: Any) -> bool:
    """Whether a parameter was given as a plain value, not as an object with settings of its own."""
    return value is None or is_number(value) or isinstance(value, str)
