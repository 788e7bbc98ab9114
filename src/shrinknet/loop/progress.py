"""The progress bar: how far the training is, the live score, and the number of filters left."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import Any, TextIO

_BAR = 24  # characters
_PAUSE = 0.1  # seconds between two drawings: a terminal is slower than a training step


class Progress:
    """One line on a terminal that is drawn anew; silent where nobody looks.

    Args:
        stream: where to draw; stderr by default. Nothing is written unless it is a terminal.
        hidden: draw nothing at all.

    Example:
        >>> line("trial 3", 500, 2000, 0.4321, 8)
        'trial 3  [######------------------]  500/2,000  score 0.4321  filters left 8'
    """

    def __init__(self, stream: TextIO | None = None, hidden: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._visible = not hidden and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._phase = ""
        self._state: tuple[float | None, int | None] = (None, None)
        self._drawn = ("", -1.0)  # phase and time of the last drawing

    def begin(self, phase: str) -> None:
        """Something else is going on now, such as `warm-up` or `trial 3`."""
        self._phase = phase

    def state(self, score: float | None, filters_left: int | None) -> None:
        """The latest score, and the enabled filters that can be cut; None while unknown."""
        self._state = (score, filters_left)

    def step(self, step: int, steps: int) -> None:
        """So many of so many training steps of this phase are done.

        Draws the line, at most ten times a second but for the first and the last step of a phase.
        """
        if not self._visible:
            return
        now = time.monotonic()
        last_phase, last_time = self._drawn
        if self._phase == last_phase and step < steps and now - last_time < _PAUSE:
            return
        self._drawn = (self._phase, now)
        columns = shutil.get_terminal_size().columns
        self._write(line(self._phase, step, steps, *self._state)[: columns - 1])

    def close(self) -> None:
        """Takes the line away; may be called twice."""
        if self._visible and self._drawn[0]:
            self._write("")
        self._drawn = ("", -1.0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[2K{text}")
        self._stream.flush()


class Lines:
    """A callback that prints a line for each decided trial.

    Args:
        score: name of the score.
    """

    def __init__(self, score: str) -> None:
        self.score = score

    def on_trial_end(self, trial: Any) -> None:
        """Prints the trial."""
        print(f"trial {trial.number}: {' '.join(map(str, trial.filters))} {'kept' if trial.accepted else 'back'}, "
              f"{self.score} {trial.score:.4g} = {trial.ratio:.1%} of {trial.reference:.4g}, {trial.filters_left} "
              "filters left")  # fmt: skip


def line(phase: str, step: int, steps: int, score: float | None, filters_left: int | None) -> str:
    """The progress line as plain text; see `Progress.step`."""
    done = min(_BAR, _BAR * step // steps) if steps > 0 else _BAR
    parts = [phase, f"[{'#' * done}{'-' * (_BAR - done)}]", f"{step:,}/{steps:,}"]
    if score is not None:
        parts.append(f"score {score:.4f}")
    if filters_left is not None:
        parts.append(f"filters left {filters_left:,}")
    return "  ".join(parts)
