"""How a command ends: exit codes, and one sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

import click

from shrinknet.errors import ShrinknetError

DONE, CHECK_FAILED, BAD_INPUT, OUR_FAULT, DISK, INTERRUPTED, TERMINATED = 0, 1, 2, 70, 74, 130, 143

MEANINGS = {
    DONE: "done",
    CHECK_FAILED: "a check of `doctor` failed, or the output pipe was closed",
    BAD_INPUT: "bad input: an option, a file, a model, data",
    OUR_FAULT: "a bug in shrinknet; SHRINKNET_TRACEBACK=1 shows where",
    DISK: "the disk is full, or a file cannot be read or written",
    INTERRUPTED: "stopped by Ctrl-C; the open trial was rolled back, the rest is kept",
    TERMINATED: "stopped by SIGTERM; otherwise as 130",
}

# \b keeps click from joining the lines.
EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


class Program(click.Group):
    """A group of commands whose errors end in a sentence and an exit code, never in a traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs the program; with `standalone_mode`, ends the process with the exit code."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        with _signals_as_interrupts() as received:
            code = exit_code(run)
        # An interrupted command may still have ended normally, with what was decided so far.
        sys.exit(128 + received[0] if received else code)


def exit_code(run: Callable[[], Any]) -> int:
    """Calls `run`, reports errors on stderr, and returns the exit code."""
    try:
        result = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except ShrinknetError as error:
        return _report(str(error), error.exit_code)
    except OSError as error:
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return _report(f"A file could not be read or written: {error.strerror or error}{where}.", DISK)
    except Exception as error:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = "" if _wants_traceback() else " Set SHRINKNET_TRACEBACK=1 and repeat the command to see where."
        return _report(f"Unexpected error ({what}). This is a bug in shrinknet.{hint}", OUR_FAULT)
    return result if isinstance(result, int) else DONE  # a number: the argument of `Context.exit`


def _report(sentence: str, code: int) -> int:
    if _wants_traceback():
        traceback.print_exc()
    click.echo(f"Error: {sentence}", err=True)
    return code


def _wants_traceback() -> bool:
    return os.environ.get("SHRINKNET_TRACEBACK", "0") not in ("", "0")


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[list[int]]:
    """Makes SIGTERM end a run as Ctrl-C does; yields the list of signals received."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
