"""What goes where: the result to stdout, everything else to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from shrinknet.files.streams import descriptor_to, quiet
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
    with contextlib.redirect_stdout(sys.stderr), descriptor_to(1, 2):
        yield


def load_keras() -> None:
    """Imports Keras and its backend without TensorFlow's lines about the machine; what fails is still told."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # not that there is no GPU, either; fatal errors stay
    if "keras" in sys.modules:
        return
    with quiet(unless_it_fails=True):  # TensorFlow writes some lines before it reads TF_CPP_MIN_LOG_LEVEL
        import keras  # noqa: F401  seconds: only here, only when a command needs it
