"""Writing files completely or not at all, and making folders."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segrun.errors import RequestError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` if the block raises nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def create_dir(path: Path) -> Path:
    """Make a new folder: `path`, or `path_2`, `path_3` and so on where it exists already.

    Returns:
        The folder that was made.

    Raises:
        RequestError: It cannot be made.
    """
    ensure_dir(path.parent)
    folder = path
    for number in itertools.count(2):
        try:
            folder.mkdir()
        except FileExistsError:
            folder = path.with_name(f"{path.name}_{number}")
        else:
            break
    return folder


def ensure_dir(path: Path) -> Path:
    """Make a folder where it is missing, and check that it can be written to.

    Raises:
        RequestError: It cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        test_file = path / f".{os.getpid()}.probe"
        test_file.touch()
        test_file.unlink()
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}). Choose another folder.") from error
    return path


def timestamped_path(output: str, command: str, label: str = "") -> Path:
    """<output>/<command>/<date>/<time>_<label>: where a command that is run now leaves its results."""
    day, clock = time.strftime("%Y-%m-%d %H-%M-%S").split()  # one reading: midnight may pass between two
    return Path(output).expanduser() / command / day / (f"{clock}_{label}" if label else clock)
