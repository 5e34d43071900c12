"""Writing files completely or not at all, and making folders."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segrun.errors import RequestError, ResourceError, SegrunError
from segrun.names import PATH_BYTES, visible

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FULL = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "no disk quota left",
    errno.EFBIG: "the limit on file sizes is reached",
}


@contextlib.contextmanager
def atomic_write(path: Path, size: int = 0) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` if the block raises nothing.

    The temporary path is always the same, so that the next writer uses again what a killed process has left. Only while
    another process writes to it, this one has a path of its own.

    Args:
        path: The file to write.
        size: The bytes that will be written, as far as they are known. They are named if the disk is full.

    Raises:
        ResourceError: The disk is full.
        SegrunError: The file cannot be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.part")
    if temporary.is_symlink():
        temporary.unlink()  # nobody but segrun makes such a file
    try:
        with _claimed(temporary) as is_free:
            if not is_free:
                temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                yield temporary
                temporary.replace(path)
            except BaseException as error:
                size = max(size, temporary.stat().st_size if temporary.is_file() else 0)
                try:
                    if isinstance(error, RuntimeError):  # torch.save does not say why it failed, the system does
                        _append(temporary)
                finally:
                    if temporary.is_file():
                        os.truncate(temporary, 0)  # a traceback may hold the file open, and with it the space
                    temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in FULL:
            where, needed = f"{FULL[error.errno]} on {path.parent}", f"{max(size, 1e5) / 1e6:,.1f} MB needed"
            raise ResourceError(f"{where}, {needed} for {path.name}. Older files are kept.") from error
        if error.filename == str(temporary):
            raise SegrunError(f"{path}: cannot be written ({error.strerror}).") from error
        raise


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether no other process writes to the file; where the system has no such locks, this is assumed."""
    if fcntl is None:
        yield True
        return
    with path.open("ab") as file:
        is_free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            is_free = error.errno != errno.EWOULDBLOCK
        yield is_free


def _append(path: Path) -> None:
    """Raises OSError where a file cannot grow."""
    with path.open("ab") as file:
        file.write(bytes(1 << 20))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    content = text.encode()
    with atomic_write(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, values: Any) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, visible(json.dumps(values, indent=2, ensure_ascii=False)) + "\n")


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
    with _refused(path):
        path.mkdir(parents=True, exist_ok=True)
        _touch(path)
    return path


def refuse_link(path: Path) -> None:
    """Refuse to write results through a link: someone else may have chosen where it leads.

    Only the path itself is checked. The folders above it may be links.

    Raises:
        RequestError: It is a link.
    """
    if path.is_symlink():
        raise RequestError(
            f"{path}: is a link to {path.readlink()}, and results are not written through it. Remove the link, or name "
            "what it leads to."
        )


def check_writable(path: Path) -> None:
    """Check, before work begins, that a folder can be made or written to; nothing is made.

    Raises:
        RequestError: It cannot, or its path leaves no room for the files in it.
    """
    with _refused(path):
        if len(os.fsencode(path)) > PATH_BYTES:
            raise OSError(errno.ENAMETOOLONG, f"its path is longer than {PATH_BYTES} bytes")
        _touch(next(folder for folder in (path, *path.parents) if folder.exists()))


def _touch(folder: Path) -> None:
    test_file = folder / f".{os.getpid()}.probe"
    test_file.touch()
    test_file.unlink()


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(f"{path}: cannot be written ({error.strerror or error}). Choose another folder.") from error


def timestamped_path(output: str, command: str, label: str = "") -> Path:
    """<output>/<command>/<date>/<time>_<label>: where a command that is run now leaves its results."""
    day, clock = time.strftime("%Y-%m-%d %H-%M-%S").split()  # one reading: midnight may pass between two
    return Path(output).expanduser() / command / day / (f"{clock}_{label}" if label else clock)
