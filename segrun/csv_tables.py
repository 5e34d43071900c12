"""CSV files of the user, whose header names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from segrun.errors import RequestError


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
                values = tuple((row[column] or "").strip() for column in columns)
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
