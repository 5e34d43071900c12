"""Records of earlier scans, kept in a file and found again by the size and modification time of the images' files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from segrun.data.dataset import Dataset
from segrun.data.scan.fingerprint import reading_fingerprint
from segrun.data.scan.record import STRIDES, ImageRecord

FILE = "scan.sqlite"
BATCH = 500  # records written at a time
TIMEOUT = 10.0  # seconds to wait for another process that writes
CREATE = """CREATE TABLE IF NOT EXISTS records
    (reading TEXT, files TEXT, stamp TEXT, scalars TEXT, class_counts BLOB, PRIMARY KEY (reading, files))"""
SELECT = "SELECT files, stamp, scalars, class_counts FROM records WHERE reading = ?"
INSERT = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)"
SCALARS = tuple(field.name for field in dataclasses.fields(ImageRecord) if field.name != "class_counts")


@dataclasses.dataclass(frozen=True)
class FileState:
    """The files of an image, as they are now.

    Attributes:
        files: The image's name and the paths of its files.
        stamp: Their sizes and modification times.
    """

    files: str
    stamp: str


class ScanCache:
    """The records of one data set in the cache file. Use it as a context manager.

    A cache file that cannot be read or written does not stop a run.

    Attributes:
        note: What is wrong with the cache file; empty if nothing is.
    """

    def __init__(self, data: Dataset) -> None:
        self.note = ""
        self._data = data
        self._reading = reading_fingerprint(data)
        self._states: dict[str, FileState] = {}
        self._unwritten: list[tuple[str, str, str, str, bytes]] = []
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> ScanCache:
        path = cache_folder() / FILE
        with self._errors_noted():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=TIMEOUT)
            self._connection.execute(CREATE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        if self._connection is not None:
            self._connection.close()

    def load(self, names: Sequence[str]) -> dict[str, ImageRecord]:
        """The records of those images whose files have not changed since they were inspected."""
        self._states = {}
        for name in names:
            state = file_state(self._data, name)
            if state is not None:
                self._states[name] = state
        names_by_files = {state.files: name for name, state in self._states.items()}
        records: dict[str, ImageRecord] = {}
        with self._errors_noted():
            if self._connection is not None and names_by_files:
                for files, stamp, scalars, class_counts in self._connection.execute(SELECT, (self._reading,)):
                    known = names_by_files.get(files)
                    if known is not None and self._states[known].stamp == stamp:
                        records[known] = deserialize(scalars, class_counts)
        return records

    def store(self, name: str, record: ImageRecord) -> None:
        """Store the record of an image that `load` was called with.

        It counts for the files as they were at that call, before the image was inspected.
        """
        state = self._states.get(name)
        if state is None:
            return
        self._unwritten.append((self._reading, state.files, state.stamp, *serialize(record)))
        if len(self._unwritten) >= BATCH:
            self._write()

    def _write(self) -> None:
        with self._errors_noted():
            if self._connection is not None and self._unwritten:
                with self._connection:
                    self._connection.executemany(INSERT, self._unwritten)
        self._unwritten.clear()

    @contextlib.contextmanager
    def _errors_noted(self) -> Iterator[None]:
        """An error inside ends the use of the cache file, not the run."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self.note = f"{cache_folder()}: the scan is not cached there ({error}). Set SEGRUN_CACHE=<folder>."
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def cache_folder() -> Path:
    """$SEGRUN_CACHE, or segrun/ in the user's cache folder (XDG Base Directory Specification)."""
    chosen = os.environ.get("SEGRUN_CACHE")
    if chosen:
        return Path(chosen)
    user_cache = os.environ.get("XDG_CACHE_HOME")
    if user_cache:
        return Path(user_cache) / "segrun"
    return Path(os.path.expanduser("~")) / ".cache" / "segrun"  # noqa: PTH111 – Path.expanduser may raise


def file_state(data: Dataset, name: str) -> FileState | None:
    """The state of an image's files; None if it has no files, or one is missing."""
    paths = data.files(name)
    if not paths:
        return None
    try:
        stats = [os.stat(path) for path in paths]  # noqa: PTH116 – Path.stat takes twice the time
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    stamp = " ".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)
    return FileState("\n".join([name, *map(os.path.abspath, paths)]), stamp)


def serialize(record: ImageRecord) -> tuple[str, bytes]:
    """The scalars of a record as JSON, and its class counts as bytes."""
    scalars = [getattr(record, key) for key in SCALARS]
    text = json.dumps([value.hex() if isinstance(value, bytes) else value for value in scalars])
    return text, record.class_counts.tobytes()


def deserialize(scalars: str, class_counts: bytes) -> ImageRecord:
    """The record that `serialize` wrote."""
    values = dict(zip(SCALARS, json.loads(scalars), strict=True))
    values["size"] = tuple(values["size"])
    values["digest"] = bytes.fromhex(values["digest"])
    counts = np.frombuffer(class_counts, np.int64).reshape(1 + len(STRIDES), -1)
    return ImageRecord(**values, class_counts=counts)
