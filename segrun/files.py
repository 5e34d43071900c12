"""Whole files or none: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segrun.errors import RequestError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def create_dir(path: Path) -> Path:
    """Make a folder that nobody else has: `path`, or `path_2`, `path_3` … where it is taken.

    Raises:
        RequestError: it cannot be made.
    """
    ensure_dir(path.parent)
    for number in itertools.count(1):
        place = path if number == 1 else path.with_name(f"{path.name}_{number}")
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            return place
    raise AssertionError


def ensure_dir(path: Path) -> Path:
    """Make a folder to write to.

    Raises:
        RequestError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}). Choose another folder.") from error
    return path
