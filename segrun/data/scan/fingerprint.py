"""What decides how the files of a data set are read."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from segrun.data.dataset import Dataset
from segrun.data.scan.record import VERSION

LISTINGS = {
    "names",
    "pairs",
    "splits",
    "notes",
    "problems",
    "classes",
    "guessed_index",
}  # attributes that do not change what is read
CLASS_ATTRIBUTES = ("channels", "coding", "ignore_index", "exif")  # settings that may lie in the class
MAX_DEPTH = 8
MAX_ENTRIES = 1024  # of a collection of settings; longer ones list images


def reading_fingerprint(data: Dataset) -> str:
    """A hash of all that decides what is read from the same files.

    It covers the class and its source code, its settings, and the versions of Pillow and of the records.
    """
    modified = 0
    with contextlib.suppress(OSError, TypeError):  # a class of a notebook has no file
        modified = Path(inspect.getfile(type(data))).stat().st_mtime_ns
    text = f"{VERSION} {PIL.__version__} {modified} {_dataset_text(data, 0)}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _dataset_text(data: Dataset, depth: int) -> str:
    settings = {key: getattr(data, key, None) for key in CLASS_ATTRIBUTES}
    settings.update({key: value for key, value in vars(data).items() if key not in LISTINGS})
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    return f"{kind} {data.classes!r} {_text(settings, depth + 1)}"


def _text(value: Any, depth: int) -> str:
    """The values of an object and of its attributes, down to `MAX_DEPTH`."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, Dataset):
        return _dataset_text(value, depth)
    if isinstance(value, str | int | float | bool | None | Path):
        return repr(value)
    if isinstance(value, np.ndarray):
        return value.tobytes().hex() if value.size <= MAX_ENTRIES else ""
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _collection_text(value, depth)
    return f"{type(value).__qualname__} {_text(getattr(value, '__dict__', {}), depth + 1)}"


def _collection_text(value: Any, depth: int) -> str:
    if len(value) > MAX_ENTRIES:
        return ""
    items = value.items() if isinstance(value, Mapping) else value
    parts = [_text(item, depth + 1) for item in items]
    ordered = isinstance(value, list | tuple)
    return f"[{','.join(parts if ordered else sorted(parts))}]"
