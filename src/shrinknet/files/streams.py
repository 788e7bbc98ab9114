"""Streams: what libraries write straight to the descriptors of stdout and stderr goes where it belongs."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def descriptor_to(descriptor: int, other: int) -> Iterator[None]:
    """Sends what is written to a file descriptor (1 or 2) to another one while the block lasts.

    Does nothing where whoever started the process closed it.
    """
    stream = {1: sys.__stdout__, 2: sys.__stderr__}[descriptor]
    if stream is not None:
        stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:
        yield
        return
    os.dup2(other, descriptor)
    try:
        yield
    finally:
        if stream is not None:
            stream.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


@contextlib.contextmanager
def quiet(*, unless_it_fails: bool = False) -> Iterator[None]:
    """While the block lasts, warnings and what is written to stderr, by C code too, go nowhere.

    A converter says in its exception what went wrong; its log says that it exists.

    Args:
        unless_it_fails: write it all the same when the block raises.
    """
    with tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with descriptor_to(2, log.fileno()):
                yield
        except BaseException:
            if unless_it_fails:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
            raise
