"""Names that the command line lists without loading the modules that define them."""

from __future__ import annotations

from shrinknet.cli.values import FORMATS, METHODS
from shrinknet.compression import METHODS as KNOWN_METHODS
from shrinknet.exporters import EXPORTERS


def test_names_are_those_of_the_modules() -> None:
    assert tuple(FORMATS.known) == tuple(EXPORTERS)
    assert tuple(METHODS.known) == tuple(KNOWN_METHODS)
