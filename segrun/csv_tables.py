"""CSV files: those that segrun writes, and those of the user.

A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@`. An apostrophe is written before such a text, as
OWASP recommends ("CSV injection"), and removed when the file is read. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from segrun.errors import RequestError
from segrun.files import atomic_write

NAME_ERRORS = "surrogateescape"  # a file name that is not UTF-8 keeps its bytes
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file atomically. No cell is a formula to a spreadsheet, whatever images and classes are named."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=NAME_ERRORS) as file,
    ):
        csv.writer(file).writerows([_neutralised(cell) for cell in row] for row in (header, *rows))


def parse_table(content: bytes) -> list[list[str]]:
    """The rows of a CSV file that `write_table` or an older version wrote, the header first.

    Raises:
        csv.Error: It is not CSV.
    """
    text = content.decode(errors=NAME_ERRORS)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    return [[_original(cell) for cell in row] for row in rows] if "'" in text else rows


def _neutralised(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell) else cell


def _original(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_rows(file: Path, columns: Sequence[str], key: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read some columns of a UTF-8 CSV file.

    Args:
        file: The file. Other columns are ignored.
        columns: Names of the columns to read.
        key: The config key that names the file, for messages.

    Yields:
        Line number, and one value per column.

    Raises:
        RequestError: The file or one of its rows cannot be read. The message names the line.
    """
    names = " and ".join(columns)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, strict=True, skipinitialspace=True)
            header = table.fieldnames or ()
            if not set(columns) <= set(header):
                raise RequestError(f"{file}:1: the header must name the columns {names}: {','.join(columns)}")
            for row in table:
                values = tuple(_original((row[column] or "").strip()) for column in columns)
                too_long = None in row  # where csv puts values beyond the last column
                if too_long or not all(values):
                    raise RequestError(
                        f"{file}:{table.line_num}: a row must have {len(header)} values, including {names}. "
                        "Correct the row or remove it."
                    )
                yield table.line_num, values
    except OSError as error:
        raise RequestError(f"{key}={file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: not UTF-8 text ({error.reason}). Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise RequestError(f"{file}:{table.reader.line_num}: {error}. Correct the line.") from error


def read_column(file: Path, column: str, key: str) -> dict[str, str]:
    """Read one value per image from a file with the columns `image` and `column`.

    Args:
        file: The file. Images are named as in the dataset, with or without the suffix of an image file.
        column: Name of the column with the values.
        key: The config key that names the file, for messages.

    Returns:
        The values by image name without suffix.

    Raises:
        RequestError: See `read_rows`; or one image has two values.
    """
    values: dict[str, str] = {}
    for line, (image, value) in read_rows(file, ("image", column), key):
        name = _without_image_suffix(image)
        first = values.setdefault(name, value)
        if first != value:
            raise RequestError(f"{file}:{line}: {name} is {value!r} here and {first!r} above. Keep one of them.")
    return values


def find_row(name: str, rows: Mapping[str, str]) -> str | None:
    """The key of `rows` for an image: its name in the dataset, or else the last part of its name; None if neither."""
    for candidate in (name, PurePosixPath(name).name):
        if candidate in rows:
            return candidate
    return None


def _without_image_suffix(image: str) -> str:
    from PIL import Image  # imported here, since Pillow looks for all its formats

    path = PurePosixPath(image)
    is_image_suffix = path.suffix.lower() in Image.registered_extensions()  # `slide.2` has no suffix
    return str(path.with_suffix("")) if is_image_suffix else image
