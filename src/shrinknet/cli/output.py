"""What goes where: the result to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import click

from shrinknet.records import finite

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, nothing else.")


def show(record: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Prints a command's result: `record` as one JSON object, or `text` for people.

    Numbers that are not finite become null: JSON has no others.
    """
    click.echo(json.dumps(finite(record), allow_nan=False, default=os.fspath) if as_json else text)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """While work runs, what libraries print on stdout goes to stderr: stdout is for the result alone."""
    with contextlib.redirect_stdout(sys.stderr), _descriptor_to(1, 2) if _is_real(1) else contextlib.nullcontext():
        yield


def load_keras() -> None:
    """Imports Keras and its backend without TensorFlow's lines about the machine; what fails is still told."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # not that there is no GPU, either; fatal errors stay
    if "keras" in sys.modules:
        return
    with tempfile.TemporaryFile() as chatter:
        try:
            # TensorFlow writes some lines before it reads TF_CPP_MIN_LOG_LEVEL, straight to the descriptor.
            with _descriptor_to(2, chatter.fileno()) if _is_real(2) else contextlib.nullcontext():
                import keras  # noqa: F401  seconds: only here, only when a command needs it
        except BaseException:
            chatter.seek(0)
            click.echo(chatter.read().decode(errors="replace"), err=True, nl=False)
            raise


def _is_real(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:  # closed by whoever started the process
        return False
    return True


@contextlib.contextmanager
def _descriptor_to(descriptor: int, other: int) -> Iterator[None]:
    """Sends what is written to a file descriptor to another one, for a while."""
    stream = {1: sys.__stdout__, 2: sys.__stderr__}[descriptor]
    if stream is not None:
        stream.flush()
    saved = os.dup(descriptor)
    os.dup2(other, descriptor)
    try:
        yield
    finally:
        if stream is not None:
            stream.flush()
        os.dup2(saved, descriptor)
        os.close(saved)
