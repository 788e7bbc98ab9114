"""Quiet: what converters tell about themselves stays off the user's screen."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While the block lasts, warnings and what is written to stderr, by C code too, go nowhere.

    A converter says in its exception what went wrong; its log says that it exists.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            saved = os.dup(2)
        except OSError:  # whoever started the process closed it
            yield
            return
        with tempfile.TemporaryFile() as nowhere:
            sys.stderr.flush()
            os.dup2(nowhere.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(saved, 2)
                os.close(saved)
