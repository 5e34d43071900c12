"""Tables of a user's: CSV files whose header names their columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from segrun.errors import RequestError


def rows(file: Path, columns: Sequence[str], key: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, the values of these columns) of each row of a UTF-8 file; other columns are not read.

    key: of the config that named the file.

    Raises:
        RequestError: a file or row that cannot be read, with its line.
    """
    wanted = " and ".join(columns)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines, strict=True, skipinitialspace=True)
            if not set(columns) <= set(table.fieldnames or ()):
                raise RequestError(f"{file}:1: the header is to name the columns {wanted}: {','.join(columns)}")
            for row in table:
                values = tuple((row[column] or "").strip() for column in columns)
                if not all(values) or None in row:
                    held = f"{len(table.fieldnames or ())} values, {wanted} among them"
                    raise RequestError(f"{file}:{table.line_num}: is to hold {held}. Correct it or leave it out.")
                yield table.line_num, values
    except OSError as error:
        raise RequestError(f"{key}={file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: is no UTF-8 text ({error.reason}). Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise RequestError(f"{file}:{table.reader.line_num}: {error}. Correct the line.") from error


def by_image(file: Path, column: str, key: str) -> dict[str, str]:
    """The column `column` by image, which is named as in a data set, with or without the suffix of an image file.

    Raises:
        RequestError: as `rows`, or one image with two values.
    """
    found: dict[str, str] = {}
    for line, (image, value) in rows(file, ("image", column), key):
        name = without_suffix(image)
        if found.setdefault(name, value) != value:
            raise RequestError(f"{file}:{line}: {name} is {value!r} here and {found[name]!r} above.")
    return found


def without_suffix(image: str) -> str:
    from PIL import Image

    path = PurePosixPath(image)
    known = path.suffix.lower() in Image.registered_extensions()  # in `slide.2` nothing is a suffix
    return str(path.with_suffix("")) if known else image


def row_of(name: str, known: Mapping[str, str]) -> str | None:
    """The key of `known` that means this image: its name in the data set, or the last part of it alone."""
    return next((row for row in (name, PurePosixPath(name).name) if row in known), None)
