"""The progress bar: how far the training is, the live score, and the number of filters left."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

_BAR = 24  # characters
_PAUSE = 0.1  # seconds between two drawings: a terminal is slower than a training step


class Progress:
    """One line on a terminal that is drawn anew; silent where nobody looks.

    Args:
        stream: where to draw; stderr by default. Nothing is written unless it is a terminal.

    Example:
        >>> line("trial 3", 500, 2000, 0.4321, 8)
        'trial 3  [######------------------]  500/2,000  score 0.4321  filters left 8'
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._visible = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = ("", -1.0)  # phase and time of the last drawing

    def update(
        self, phase: str, step: int, steps: int, score: float | None = None, filters_left: int | None = None
    ) -> None:
        """Draws the line, at most ten times a second but for the first and the last step of a phase.

        Args:
            phase: what is going on, such as `warm-up` or `trial 3`.
            step, steps: training steps done and to do in this phase.
            score: the latest score; None while there is none.
            filters_left: enabled filters that can be cut; None while unknown.
        """
        if not self._visible:
            return
        now = time.monotonic()
        last_phase, last_time = self._drawn
        if phase == last_phase and step < steps and now - last_time < _PAUSE:
            return
        self._drawn = (phase, now)
        columns = shutil.get_terminal_size().columns
        self._write(line(phase, step, steps, score, filters_left)[: columns - 1])

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


def line(phase: str, step: int, steps: int, score: float | None, filters_left: int | None) -> str:
    """The progress line as plain text; see `Progress.update`."""
    done = min(_BAR, _BAR * step // steps) if steps > 0 else _BAR
    parts = [phase, f"[{'#' * done}{'-' * (_BAR - done)}]", f"{step:,}/{steps:,}"]
    if score is not None:
        parts.append(f"score {score:.4f}")
    if filters_left is not None:
        parts.append(f"filters left {filters_left:,}")
    return "  ".join(parts)
