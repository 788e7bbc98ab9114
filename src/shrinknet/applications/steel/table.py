"""The table of defects: `train.csv` read strictly, in the new layout and the old one, and the master table."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from shrinknet.applications.steel.layout import CLASSES, COLUMNS, IMAGES, SHAPE, TABLE
from shrinknet.applications.steel.runlengths import rle2mask, runs
from shrinknet.errors import DataError
from shrinknet.imaging.files import SUFFIXES, read_grey

LARGEST = 512 * 2**20  # bytes of a table; that of the competition has some twenty million
_OLD = "ImageId_ClassId"


@dataclass(frozen=True)
class Plates:
    """A folder of plates and what is known about their defects.

    Attributes:
        folder: holds `train.csv` and `train_images`.
        table: a row for each image and class of defect: ImageId, ClassId, EncodedPixels.
        images: names of all images, sorted; those without rows are clean.
        lines: image -> the line of `train.csv` that names it first, for messages.
        shape: height and width of every image in pixels.
    """

    folder: Path
    table: pd.DataFrame
    images: tuple[str, ...]
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    shape: tuple[int, int] = SHAPE

    def image(self, name: str) -> np.ndarray:
        """One plate as luminance, shape (height, width), float32 in [0, 1]; colour and 16 bits are read, too.

        Raises:
            DataError: the image is missing, damaged, or of another size.
        """
        path = self.folder / IMAGES / name
        where = f" ({TABLE}, line {self.lines[name]})" if name in self.lines else ""
        try:
            image = read_grey(path)
        except DataError as error:
            raise DataError(f"{str(error).rstrip('.')}{where}.") from error
        if image.shape != self.shape:
            raise DataError(
                f"The image {str(path)!r}{where} has {image.shape[0]} x {image.shape[1]} pixels (height x width); "
                f"expected {self.shape[0]} x {self.shape[1]}: its run lengths would mark other pixels."
            )
        return image

    def masks(self, name: str) -> np.ndarray:
        """The masks of one plate, shape (height, width, classes), uint8, 0 or 1."""
        mask = np.zeros((*self.shape, len(CLASSES)), np.uint8)
        for number, text in self._rows.get(name, ()):
            mask[..., number - 1] = rle2mask(text, self.shape)
        return mask

    def classes(self, name: str) -> tuple[int, ...]:
        """The classes of defects on one plate, in order; none for a clean plate."""
        return tuple(sorted(number for number, _ in self._rows.get(name, ())))

    @functools.cached_property
    def _rows(self) -> dict[str, list[tuple[int, str]]]:
        """Image -> its classes and run lengths; made once, because a table of 7,000 rows is slow to search."""
        found: dict[str, list[tuple[int, str]]] = {}
        for name, number, text in self.table[list(COLUMNS)].itertuples(index=False):
            found.setdefault(name, []).append((number, text))
        return found


def read(folder: str | os.PathLike[str], shape: tuple[int, int] = SHAPE) -> Plates:
    """The plates in a folder that is laid out like the competition's.

    `train.csv` has the columns ImageId, ClassId and EncodedPixels, or those of the old layout, ImageId_ClassId and
    EncodedPixels; rows without pixels say that there is no such defect. A byte order mark and the line ends of Windows
    are accepted. Images are listed, not decoded: see `Plates.image` and `check_images`.

    Args:
        folder: holds `train.csv` and `train_images`.
        shape: height and width of every image in pixels.

    Raises:
        DataError: a file is missing or malformed; the sentence names the line.
    """
    folder = Path(folder)
    images = _listed(folder / IMAGES)
    rows = list(read_rows(folder / TABLE, shape))
    lines: dict[str, int] = {}
    for line, name, _, _ in rows:
        lines.setdefault(name, line)
    known = set(images)
    for name, line in lines.items():
        if name not in known:
            raise DataError(
                f"{folder / TABLE}, line {line}: the image {name!r} is not in {str(folder / IMAGES)!r}; add it, or "
                "remove its rows."
            )
    table = pd.DataFrame(
        {
            "ImageId": pd.Series([name for _, name, _, text in rows if text], dtype="str"),
            "ClassId": pd.Series([number for _, _, number, text in rows if text], dtype="int64"),
            "EncodedPixels": pd.Series([text for _, _, _, text in rows if text], dtype="str"),
        }
    )
    return Plates(folder, table, images, lines, shape)


def read_rows(path: str | os.PathLike[str], shape: tuple[int, int] = SHAPE) -> Iterator[tuple[int, str, int, str]]:
    """The rows of a table, checked: line, image, class, and run lengths, which may be empty.

    Raises:
        DataError: as `read`.
    """
    seen: dict[tuple[str, int], int] = {}
    for line, name, number, text in list(_cells(Path(path))):  # read to its end before anybody else reads a CSV
        where = f"{os.fspath(path)}, line {line}"
        if not name or name != Path(name).name or name.startswith("."):
            raise DataError(f"{where}: expected the name of an image, such as 0002cc93b.jpg; received {name!r}.")
        if number not in map(str, CLASSES):
            raise DataError(f"{where}: expected a class of 1, 2, 3 or 4; received {number!r}.")
        key = (name, int(number))
        if key in seen:
            raise DataError(
                f"{where}: image {name!r} and class {number} were listed in line {seen[key]} before; expected one row "
                "for each image and class, with all its runs."
            )
        seen[key] = line
        text = text.strip()
        try:
            runs(text, shape)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        yield line, name, int(number), text


def master_table(
    table: pd.DataFrame | str | os.PathLike[str],
    images: Sequence[str] | str | os.PathLike[str],
    shape: tuple[int, int] = SHAPE,
) -> pd.DataFrame:
    """A row for every image, clean ones too: the report's `df_master`.

    Args:
        table: `train.csv`, or the table of `read`.
        images: the folder of images, or their names.
        shape: height and width of every image in pixels, for the checks of `train.csv`.

    Returns:
        ImageId; Defect, "yes" or "no"; Defect_no, the number of classes; ClassId, their list, [0] for a clean plate;
        EncodedPixels, the list of run lengths in the same order, NaN for a clean plate. Sorted by ImageId.

    Raises:
        DataError: the table is malformed, or names an image that is not there.
    """
    names = list(_listed(Path(images))) if isinstance(images, str | os.PathLike) else list(images)
    rows: Iterable[tuple[str, int, str]]
    if isinstance(table, pd.DataFrame):
        rows = table[list(COLUMNS)].itertuples(index=False)
    else:
        rows = ((name, number, text) for _, name, number, text in read_rows(table, shape) if text)
    found: dict[str, list[tuple[int, str]]] = {name: [] for name in names}
    for name, number, text in rows:
        if name not in found:
            raise DataError(f"The table names the image {name!r}, which is not among the {len(names):,} images.")
        found[name].append((number, text))
    ordered = {name: sorted(found[name]) for name in sorted(found)}
    return pd.DataFrame(
        {
            "ImageId": pd.Series(list(ordered), dtype="str"),
            "Defect": pd.Series(["yes" if defects else "no" for defects in ordered.values()], dtype="str"),
            "Defect_no": pd.Series([len(defects) for defects in ordered.values()], dtype="int64"),
            "ClassId": pd.Series(
                [[number for number, _ in defects] or [0] for defects in ordered.values()], dtype=object
            ),
            "EncodedPixels": pd.Series(
                [[text for _, text in defects] or np.nan for defects in ordered.values()], dtype=object
            ),
        }
    )


def _listed(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"Expected a folder of plates at {str(folder)!r}, which is not a folder.")
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    found = tuple(sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES))
    if not found:
        raise DataError(f"Expected images in {str(folder)!r}; found none.")
    return found


def _cells(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line, image, class and run lengths of each row, as text, in either layout."""
    with _long_cells():
        reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            old = _OLD in header
            wanted = (_OLD, "EncodedPixels") if old else COLUMNS
            missing = [name for name in wanted if name not in header]
            if missing:
                raise DataError(
                    f"{path}, line 1: the column {missing[0]} is missing; expected {', '.join(COLUMNS)}, or {_OLD} and "
                    f"EncodedPixels; received {', '.join(header)[:100] or 'nothing'}."
                )
            places = [header.index(name) for name in wanted]
            for cells in reader:
                if not cells:
                    continue  # an empty line
                if len(cells) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: expected {len(header)} cells; received {len(cells)}."
                    )
                picked = [cells[place].strip() for place in places]
                name, number = picked[0].rpartition("_")[::2] if old else picked[:2]
                yield reader.line_num, name, number, picked[-1]
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: this is no CSV ({error}).") from error


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"The table {path} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST:
        raise DataError(f"The table {path} is larger than {LARGEST:,} bytes, which no table of plates is.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: expected text in UTF-8 ({error.reason}); save it as UTF-8.") from error


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Lifts the limit of 131,072 characters a cell while a table is read: a ragged mask has more."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
