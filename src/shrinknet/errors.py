"""The tree of errors that shrinknet raises on purpose: each message says what happened, what was expected,
what was received and how to mend it.
"""

from __future__ import annotations

from typing import Any


class ShrinknetError(Exception):
    """Base of every error raised on purpose. `exit_code` is what the command line exits with."""

    exit_code = 2


class ModelError(ShrinknetError, ValueError):
    """The model cannot be used as it is: not built, not compiled, nothing to cut, an operation without a rule."""


class DataError(ShrinknetError, ValueError):
    """The data cannot be used as they are: empty, run dry, not finite, or of a shape that would broadcast."""


class ScoreError(ShrinknetError, ValueError):
    """The score cannot decide: unknown name or direction, or a baseline that no ratio can be taken of."""


class OptionError(ShrinknetError, ValueError):
    """An option has a value outside of its range."""


class FilterError(ShrinknetError, ValueError):
    """A filter does not exist, or cannot be switched as was asked."""


class StrategyError(ShrinknetError, ValueError):
    """A strategy cannot be found or loaded, or its answer breaks the protocol."""


class OptimizerError(ShrinknetError, ValueError):
    """An optimizer that cannot be reset or frozen exactly; refused by name."""


class RunError(ShrinknetError):
    """A run folder cannot be used: missing, damaged, or of another kind."""


class StorageError(RunError):
    """The disk is full, fails or cannot be written to; what was saved before is whole."""

    exit_code = 74


class MissingExtraError(ShrinknetError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class ExportError(ShrinknetError):
    """An exported file does not compute what the model computes; the file was removed.

    `written` holds what was exported all the same.
    """

    exit_code = 70
    written: Any = ()


class NotEquivalentError(ShrinknetError):
    """The slim network differs from the switched one. This is our fault, never the user's."""

    exit_code = 70
