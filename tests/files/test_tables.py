"""Tables and settings are read strictly, and written so that a spreadsheet evaluates nothing."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shrinknet.errors import DataError, OptionError
from shrinknet.experiments.correlations import Correlations
from shrinknet.experiments.settings import load_settings
from shrinknet.files.tables import csv_bytes, read_csv

FORMULAS = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "'quoted", "'=1", '=HYPERLINK("http://x","y")']
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def test_what_was_written_is_read_and_numbers_keep_every_digit(folder: Path) -> None:
    frame = pd.DataFrame({
        "whole": [1, -2, 10**15], "number": [0.1, math.pi * 1e-300, math.nan], "yes": [True, False, True],
        "text": ["conv[1]", "Größe, \"2\"", "two\nlines"],
    })  # fmt: skip
    (folder / "a.csv").write_bytes(csv_bytes(frame))
    pd.testing.assert_frame_equal(read_csv(folder / "a.csv"), frame, check_exact=True)


def test_a_spreadsheet_evaluates_nothing(folder: Path) -> None:
    frame = pd.DataFrame({"=name": FORMULAS, "number": -np.arange(float(len(FORMULAS)))})
    data = csv_bytes(frame)
    (folder / "b.csv").write_bytes(data)
    cells = pd.read_csv(folder / "b.csv", keep_default_na=False)
    assert [*cells.columns] == ["'=name", "number"]
    assert all(cell.startswith("'") for cell in cells["'=name"])
    assert csv_bytes(pd.DataFrame({"a": ["x\r=1", "\r\n=1"]})) == b'a\n"x\n=1"\n"\n=1"\n'
    assert [*cells["number"]] == [*frame["number"]]  # a negative number stays one
    pd.testing.assert_frame_equal(read_csv(folder / "b.csv"), frame)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
@example([("=", "'"), ("-", "''=")])
def test_any_text_comes_back(folder: Path, rows: list[tuple[str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b"]).map(lambda text: f"{text}x")  # x: neither a number nor empty
    (folder / "c.csv").write_bytes(csv_bytes(frame))
    pd.testing.assert_frame_equal(read_csv(folder / "c.csv"), frame)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "needs a header line of distinct names"),
        (b"a,,b\n1,2,3\n", "needs a header line of distinct names"),
        (b"a,a\n1,2\n", "distinct names"),
        (b"a,b\n1,2\n3\n", "Row 3 of the table .* has 1 cells, expected 2"),
        (b"a,b\n1,2,3\n", "Row 2 of the table .* has 3 cells"),
        (b'a,b\n1,"2"x\n', "not valid CSV in UTF-8"),
        (b'a,b\n1,"2\n', "not valid CSV in UTF-8"),
        (b"a,b\n1,\xff\n", "not valid CSV in UTF-8"),
        (b"a,b\n1,\x00\n", "it contains a null character"),
        (b'a\n"' + b"x" * 200_000 + b'"\n', "field larger than field limit"),
    ],
)
def test_invalid_tables_are_refused_in_a_sentence(data: bytes, message: str, folder: Path) -> None:
    (folder / "bad.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_csv(folder / "bad.csv")


def test_what_python_would_take_for_a_number_is_text(folder: Path) -> None:
    (folder / "d.csv").write_text("a,b,c,d\n1_000, 1,0x1,99999999999999999999\n")
    read = read_csv(folder / "d.csv")
    assert read.loc[0].tolist() == ["1_000", " 1", "0x1", 1e20]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text("a1,\"\n\r='-. \0é", max_size=60).map(str.encode)))
@example(b"a\n" + b"9" * 5000)
def test_any_bytes_are_a_table_or_a_typed_error(folder: Path, data: bytes) -> None:
    (folder / "fuzz.csv").write_bytes(data)
    try:
        read = read_csv(folder / "fuzz.csv")
    except DataError:
        return
    (folder / "again.csv").write_bytes(csv_bytes(read))
    assert read_csv(folder / "again.csv").shape == read.shape


def test_a_missing_table(folder: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_csv(folder / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_csv(folder)


# -- settings

TOML = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5).map(repr)).map(str),
    lambda values: st.lists(values, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=6,
)
NAMES = st.sampled_from(["repetitions", "seed", "images", "shares", "widths", "learning_rate", "points", "preset", "x"])


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(st.tuples(NAMES, TOML), max_size=3).map(
            lambda lines: "\n".join(f"{name} = {value}" for name, value in lines).encode("utf-8", "replace")
        ),
    )
)
@example(b"images = " + b"[" * 10_000)
@example(b"seed = 1" + b"0" * 5000)
@example(b"learning_rate = nan")
@example(b"shares = [inf, 0.1, 0.1]")
@example(b"learning_rate = 1" + b"0" * 400)
def test_any_bytes_are_settings_or_a_typed_error(folder: Path, data: bytes) -> None:
    (folder / "fuzz.toml").write_bytes(data)
    try:
        read, _ = load_settings(Correlations, file=folder / "fuzz.toml")
    except OptionError:
        return
    assert math.isfinite(read.learning_rate) and all(map(math.isfinite, read.shares))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
@example("images=" + "[" * 10_000)
@example("learning_rate=inf")
def test_any_setting_of_the_command_line_is_taken_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(OptionError):
        load_settings(Correlations, sets=[text])
