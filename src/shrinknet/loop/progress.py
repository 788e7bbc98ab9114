"""Progress: a bar on a terminal, and a line now and then where there is none, as in logs and notebooks."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import Any, TextIO

_BAR = 24  # characters
_PAUSE = 0.1  # seconds between two drawings: a terminal is slower than a training step
_FIRST_LINE, _LINES = 10.0, 60.0  # seconds before the first line where there is no terminal, and between two


class Progress:
    """How far a run is: one line on a terminal that is drawn anew; elsewhere a line of its own once a minute.

    Args:
        stream: where to write; stderr by default.
        hidden: write nothing at all.

    Example:
        >>> line("trial 3", 500, 2000, 0.4321, 8, 75.0)
        'trial 3  [######------------------]  500/2,000  1:15 left  score 0.4321  filters left 8'
    """

    def __init__(self, stream: TextIO | None = None, hidden: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._hidden = hidden
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._phase = ""
        self._since = time.monotonic()
        self._state: tuple[float | None, int | None] = (None, None)
        self._drawn = ("", -1.0)  # phase and time of the last drawing
        self._next_line = self._since + _FIRST_LINE

    def begin(self, phase: str) -> None:
        """Something else is going on now, such as `warm-up` or `trial 3`."""
        self._phase = phase
        self._since = time.monotonic()

    def state(self, score: float | None, filters_left: int | None) -> None:
        """The latest score, and the enabled filters that can be cut; None while unknown."""
        self._state = (score, filters_left)

    def step(self, step: int, steps: int) -> None:
        """So many of so many training steps of this phase are done.

        On a terminal the line is drawn at most ten times a second but for the first and the last step of a phase.
        """
        if self._hidden:
            return
        now = time.monotonic()
        if not self._terminal:
            if now >= self._next_line:
                self._next_line = now + _LINES
                self._stream.write(self._line(step, steps, now) + "\n")
                self._stream.flush()
            return
        last_phase, last_time = self._drawn
        if self._phase == last_phase and step < steps and now - last_time < _PAUSE:
            return
        self._drawn = (self._phase, now)
        columns = shutil.get_terminal_size().columns
        self._draw(self._line(step, steps, now)[: columns - 1])

    def _line(self, step: int, steps: int, now: float) -> str:
        left = (now - self._since) * (steps - step) / step if 0 < step < steps else None
        return line(self._phase, step, steps, *self._state, left)

    def close(self) -> None:
        """Takes the line away; may be called twice."""
        if self._terminal and not self._hidden and self._drawn[0]:
            self._draw("")
        self._drawn = ("", -1.0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self, text: str) -> None:
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


def line(
    phase: str, step: int, steps: int, score: float | None, filters_left: int | None, seconds_left: float | None = None
) -> str:
    """The progress line as plain text; see `Progress.step`."""
    done = min(_BAR, _BAR * step // steps) if steps > 0 else _BAR
    parts = [phase, f"[{'#' * done}{'-' * (_BAR - done)}]", f"{step:,}/{steps:,}"]
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    if score is not None:
        parts.append(f"score {score:.4f}")
    if filters_left is not None:
        parts.append(f"filters left {filters_left:,}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds.

    Example:
        >>> duration(75), duration(7384)
        ('1:15', '2:03:04')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
