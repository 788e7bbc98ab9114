"""Option types: names that are listed without loading the modules that define them, and sizes."""

from __future__ import annotations

import click
import pytest

from shrinknet.cli.values import CROP, FORMATS, METHODS, SIZE
from shrinknet.compression import METHODS as KNOWN_METHODS
from shrinknet.exporters import EXPORTERS


def test_names_are_those_of_the_modules() -> None:
    assert tuple(FORMATS.known) == tuple(EXPORTERS)
    assert tuple(METHODS.known) == tuple(KNOWN_METHODS)


def test_a_size_has_two_numbers() -> None:
    assert SIZE.convert("64, 400", None, None) == (64, 400)
    for wrong in ("64", "64,400,1", "64,x", "0,4"):
        with pytest.raises(click.BadParameter, match=r"height and width .* such as 64,400; received"):
            SIZE.convert(wrong, None, None)


def test_a_crop_may_be_none() -> None:
    assert CROP.convert("32,64", None, None) == (32, 64)
    assert CROP.convert("none", None, None) is None
    with pytest.raises(click.BadParameter, match=r"such as 64,128, or none; received '64'"):
        CROP.convert("64", None, None)
    with pytest.raises(click.BadParameter, match="received 'none'"):
        SIZE.convert("none", None, None)
