"""The errors that shrinknet raises on purpose: each message says what happened, what was expected, what was received
and how to fix it.
"""

from __future__ import annotations

from typing import Any


def first_line(error: Exception) -> str:
    """What an error says, in short; of a wrapped one, what the layer itself said."""
    lines = [line for line in str(error).replace("\033[1m", "").replace("\033[0m", "").splitlines() if line.strip()]
    wrapped = len(lines) > 1 and lines[0].startswith("Exception encountered when calling")
    line = (lines[wrapped] if lines else type(error).__name__)[:160]
    unknown = line.startswith("Attempt to convert a value (None)")
    return "it computes with a size that is open, such as that of the batch" if unknown else line


class ShrinknetError(Exception):
    """Base of every error raised on purpose. `exit_code` is what the command line exits with."""

    exit_code = 2


class ModelError(ShrinknetError, ValueError):
    """The model cannot be used as it is: not built, not compiled, nothing to cut, an operation without a rule."""


class DataError(ShrinknetError, ValueError):
    """The data cannot be used as they are: empty, exhausted, not finite, or of a shape that would broadcast."""


class ScoreError(ShrinknetError, ValueError):
    """The score cannot decide a trial: its name or direction is unknown, or it has no ratio to the baseline."""


class OptionError(ShrinknetError, ValueError):
    """An option has an invalid value."""


class FilterError(ShrinknetError, ValueError):
    """A filter does not exist, or cannot be switched as requested."""


class StrategyError(ShrinknetError, ValueError):
    """A strategy cannot be found or loaded, or its answer breaks the protocol."""


class OptimizerError(ShrinknetError, ValueError):
    """The optimizer cannot be reset or frozen exactly; it is refused by name."""


class RunError(ShrinknetError):
    """A run folder cannot be used: it is missing, damaged, or something else."""


class StorageError(RunError):
    """The disk is full, failing or read-only; what was saved before is intact."""

    exit_code = 74


class MissingExtraError(ShrinknetError, ImportError):
    """An optional dependency is not installed; the message contains the command that installs it."""


class ExportError(ShrinknetError):
    """An exported file does not compute what the model computes; the file was removed.

    `written` lists the files that were exported nevertheless.
    """

    exit_code = 70
    written: Any = ()


class NotEquivalentError(ShrinknetError):
    """The slim network differs from the switched one. This is a bug in shrinknet or a wrong rule for a layer."""

    exit_code = 70
