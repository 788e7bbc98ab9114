"""Output streams: the result goes to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from shrinknet.files.streams import descriptor_to, quiet
from shrinknet.records import finite

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")


def show(record: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Prints a command's result: `record` as one JSON object, or `text`.

    Numbers that are not finite become null, since JSON cannot represent them.
    """
    click.echo(json.dumps(finite(record), allow_nan=False, default=os.fspath) if as_json else text)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Within the block, what libraries print to stdout goes to stderr: stdout is only for the result."""
    with contextlib.redirect_stdout(sys.stderr), descriptor_to(1, 2):
        yield


@contextlib.contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """Within the block, a bar with the time left, moved by calls with the number done and the total.

    It appears with the first call, and only on a terminal.
    """
    bar: Any = click.progressbar(length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
    entered = contextlib.ExitStack()

    def tell(done: int, total: int) -> None:
        if bar.pos == 0 and not bar.finished:
            entered.enter_context(bar)
        bar.length = total
        bar.update(done - bar.pos)
        if done >= total:
            entered.close()

    with entered:
        yield tell


def load_keras() -> None:
    """Imports Keras and its backend without TensorFlow's startup messages; failures are still reported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # only fatal errors, not even that there is no GPU
    if "keras" in sys.modules:
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # warnings of retracing when several networks are run
    with quiet(unless_it_fails=True):  # TensorFlow logs some lines before it reads TF_CPP_MIN_LOG_LEVEL
        import keras  # noqa: F401  takes seconds: only here, only when a command needs it
