"""What was seen of a data set before: looks kept in a file, found again by the size and time of the images' files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import PIL

from segrun.data.dataset import Dataset
from segrun.data.scan.record import STRIDES, VERSION, ImageRecord

BATCH = 500  # looks written at a time
WAIT = 10.0  # seconds for another process that writes
TABLE = """CREATE TABLE IF NOT EXISTS looks
    (reading TEXT, files TEXT, stamp TEXT, head TEXT, counts BLOB, PRIMARY KEY (reading, files))"""
SCALARS = tuple(field.name for field in dataclasses.fields(ImageRecord) if field.name != "counts")
NOT_READING = {"names", "pairs", "splits", "notes", "problems", "classes"}
DEEPEST = 8
LONGEST = 1024  # entries of a table of values that belongs to the reading; longer ones list images


class ScanCache:
    """The looks at one data set that were kept, and those to keep. A file that cannot be read or written costs no run:
    `note` says what is wrong with it."""

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self.reading = reading(data)
        self.note = ""
        self._files: dict[str, tuple[str, str]] = {}
        self._new: list[tuple[str, str, str, str, bytes]] = []
        self._file: sqlite3.Connection | None = None

    def __enter__(self) -> ScanCache:
        path = cache_folder() / "looks.sqlite"
        with self._careful():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=WAIT)
            self._file.execute(TABLE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        if self._file is not None:
            self._file.close()

    def known(self, names: Sequence[str]) -> dict[str, ImageRecord]:
        """What was seen of images whose files have not changed since."""
        self._files = {name: place for name in names if (place := files(self.data, name)) is not None}
        wanted = {place[0]: name for name, place in self._files.items()}
        found: dict[str, ImageRecord] = {}
        with self._careful():
            if self._file is not None and wanted:
                query = "SELECT files, stamp, head, counts FROM looks WHERE reading = ?"
                for place, stamp, head, counts in self._file.execute(query, (self.reading,)):
                    name = wanted.get(place)
                    if name is not None and self._files[name][1] == stamp:
                        found[name] = unpacked(head, counts)
        return found

    def keep(self, name: str, look: ImageRecord) -> None:
        """An image that `known` was asked for; what its files were then, before it was looked at, is what counts."""
        if name in self._files:
            self._new.append((self.reading, *self._files[name], *packed(look)))
            if len(self._new) >= BATCH:
                self._write()

    def _write(self) -> None:
        with self._careful():
            if self._file is not None and self._new:
                with self._file:
                    self._file.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?)", self._new)
        self._new.clear()

    @contextlib.contextmanager
    def _careful(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self.note = f"{cache_folder()}: what was seen is not kept there ({error}). Set SEGRUN_CACHE=<folder>."
            if self._file is not None:
                self._file.close()
            self._file = None


def cache_folder() -> Path:
    """$SEGRUN_CACHE, or segrun/ in the user's cache folder (XDG Base Directory Specification)."""
    own, shared = os.environ.get("SEGRUN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(shared or Path(os.path.expanduser("~")) / ".cache") / "segrun"  # noqa: PTH111 – never raises


def files(data: Dataset, name: str) -> tuple[str, str] | None:
    """An image's name and files, and their sizes and times; None where it has no files, or one is missing."""
    paths = data.files(name)
    try:
        found = [os.stat(path) for path in paths]  # noqa: PTH116 – Path.stat costs twice as much
    except OSError:
        return None
    stamp = " ".join(f"{each.st_size}:{each.st_mtime_ns}" for each in found)
    return ("\n".join([name, *map(os.path.abspath, paths)]), stamp) if paths else None


def reading(data: Dataset) -> str:
    """All that decides what is read from the same files: the class and its code, its settings, and what reads."""
    code = 0
    with contextlib.suppress(OSError, TypeError):  # a class of a notebook has no file
        code = Path(inspect.getfile(type(data))).stat().st_mtime_ns
    text = f"{VERSION} {PIL.__version__} {code} {_settings(data)}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _settings(value: Any, depth: int = 0) -> str:
    """The values of an object's attributes, as deep as settings lie."""
    if depth > DEEPEST:
        return ""
    if isinstance(value, Dataset):
        own = {key: item for key, item in vars(value).items() if key not in NOT_READING}
        fixed = {key: getattr(value, key, None) for key in ("channels", "coding", "ignore_index")}
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"{kind} {value.classes!r} {_settings({**fixed, **own}, depth + 1)}"
    if isinstance(value, str | int | float | bool | None | Path):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.tobytes().hex() if value.size <= LONGEST else ""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if len(value) > LONGEST:
            return ""
        items = value.items() if isinstance(value, Mapping) else value
        parts = [_settings(item, depth + 1) for item in items]
        return f"[{','.join(parts if isinstance(value, list | tuple) else sorted(parts))}]"
    return f"{type(value).__qualname__} {_settings(getattr(value, '__dict__', {}), depth + 1)}"


def packed(look: ImageRecord) -> tuple[str, bytes]:
    head = [getattr(look, key) for key in SCALARS]
    return json.dumps([value.hex() if isinstance(value, bytes) else value for value in head]), look.counts.tobytes()


def unpacked(head: str, counts: bytes) -> ImageRecord:
    values = dict(zip(SCALARS, json.loads(head), strict=True))
    values["size"], values["digest"] = tuple(values["size"]), bytes.fromhex(values["digest"])
    table = np.frombuffer(counts, np.int64).reshape(1 + len(STRIDES), -1)
    return ImageRecord(**values, counts=table)
