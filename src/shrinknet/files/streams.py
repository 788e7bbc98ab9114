"""Streams: redirects what libraries write directly to the file descriptors of stdout and stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def descriptor_to(descriptor: int, other: int) -> Iterator[None]:
    """Within the block, redirects a file descriptor (1 or 2) to another one.

    Does nothing if the descriptor was closed by whatever started the process.
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
    """Within the block, discards warnings and everything written to stderr, also by C code.

    Converters report errors as exceptions; their logs are noise.

    Args:
        unless_it_fails: write the output to stderr after all if the block raises.
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
