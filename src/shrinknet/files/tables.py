"""Tables: CSV that is read strictly, and written so that a spreadsheet evaluates nothing when it opens it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from typing import Any

import pandas as pd

from shrinknet.errors import DataError

LARGEST = 8 * 2**20  # bytes; our tables have thousands, and in memory cells take about ten times their size
_FORMULA = ("=", "+", "-", "@", "\t", "'")  # a spreadsheet would evaluate text that begins with these


def read_csv(path: str | os.PathLike[str], largest: int = LARGEST) -> pd.DataFrame:
    """A table with a header of names and cells of booleans, numbers or text; empty cells are missing numbers.

    A column has the first of these types that fits all of its cells; numbers keep every digit. The apostrophe that
    `csv_bytes` puts before some texts is removed.

    Args:
        path: the file, in UTF-8; largest: its maximum size in bytes.

    Raises:
        DataError: the file is missing, too large, or not such a table.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise DataError(f"The table {name} cannot be read: {error.strerror}.") from error
    if len(data) > largest:
        raise DataError(f"The table {name} is larger than {largest:,} bytes, more than any table of shrinknet.")
    try:
        if b"\0" in data:
            raise csv.Error("it contains a null character")
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The table {name} is not valid CSV in UTF-8: {error}. Write it again.") from error
    header = [_plain(cell) for cell in rows[0]] if rows else []
    if not header or not all(header) or len(set(header)) != len(header):
        raise DataError(f"The table {name} needs a header line of distinct names; received {header[:20]}.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"Row {number} of the table {name} has {len(row)} cells, expected {len(header)}.")
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else ((),) * len(header)
    return pd.DataFrame({label: _column(cells) for label, cells in zip(header, columns, strict=True)})


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The table as CSV, without its index; missing numbers are empty cells.

    Text that a spreadsheet would take for a formula, because it begins with = + - @ or a tab, is prefixed with an
    apostrophe, which `read_csv` removes. Line endings within text become those of Unix.
    """
    safe = frame.rename(columns=_quoted)
    for name in safe.select_dtypes(exclude="number"):
        safe[name] = safe[name].map(_quoted)
    return safe.to_csv(index=False, lineterminator="\n").encode()


def _quoted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")  # pandas would not quote it
    return f"'{value}" if value.startswith(_FORMULA) else value


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _column(cells: tuple[str, ...]) -> pd.Series[Any]:
    kinds: tuple[tuple[Callable[[str], Any], str], ...] = ((_truth, "bool"), (_whole, "int64"), (_number, "float64"))
    for read, dtype in kinds:
        try:
            return pd.Series([read(cell) for cell in cells], dtype=dtype)
        except (ValueError, OverflowError):
            continue
    return pd.Series([_plain(cell) for cell in cells])


def _truth(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError(cell)
    return cell == "True"


def _whole(cell: str) -> int:
    if not cell.lstrip("-").isdecimal():  # Python would also accept 1_000 and spaces
        raise ValueError(cell)
    return int(cell)


def _number(cell: str) -> float:
    if "_" in cell or cell != cell.strip():
        raise ValueError(cell)
    return float(cell) if cell else float("nan")
