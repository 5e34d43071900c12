"""Splits from files: a run's split.json, or lists of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from segrun.data.dataset import SPLITS
from segrun.errors import RequestError, join_names
from segrun.schema import read_json


def read_split(path: Path, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The splits in a split.json, or in train.txt, val.txt and perhaps test.txt of a folder.

    Args:
        path: The file or folder.
        known: Names of the data set's images.

    Raises:
        RequestError: A file cannot be read, names an image that is not in the data set, or there is no train or val.
    """
    if not path.exists():
        raise RequestError(f"split.file={path}: there is no such file or folder.")
    splits = _read_lists(path, known) if path.is_dir() else _read_json(path, known)
    missing = [split for split in ("train", "val") if not splits.get(split)]
    if missing:
        raise RequestError(f"split.file={path}: has no images for {join_names(missing)}.")
    return splits


def _read_lists(folder: Path, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    files = {split: folder / f"{split}.txt" for split in SPLITS}
    if not files["test"].is_file():
        del files["test"]
    return {split: read_name_list(file, known) for split, file in files.items()}


def _read_json(path: Path, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    cure = 'split.file must hold {"train": [names], "val": [names], "test": [names]}.'
    content = read_json(path, Mapping[Literal["train", "val", "test"], Sequence[str]], cure)
    known_names = set(known)
    unknown = [name for names in content.values() for name in names if name not in known_names]
    if unknown:
        raise RequestError(
            f"split.file={path}: {len(unknown)} of its images are not in the data set: {join_names(unknown)}."
        )
    return {split: tuple(dict.fromkeys(names)) for split, names in content.items() if names}


def read_name_list(path: Path, known: Sequence[str]) -> tuple[str, ...]:
    """The names in a text file with one name per line, with or without a suffix.

    Args:
        path: The file.
        known: Names of the data set's images.

    Raises:
        RequestError: The file is missing or empty, or names an image that is not in the data set.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: this split list cannot be read ({error}).") from error
    entries = [line.strip() for line in lines if line.strip()]
    known_names = set(known)
    names = [entry if entry in known_names else entry.rpartition(".")[0] for entry in entries]
    unknown = [entry for entry, name in zip(entries, names, strict=True) if name not in known_names]
    if unknown:
        raise RequestError(f"{path}: {len(unknown)} names without a pair of image and mask: {join_names(unknown)}.")
    if not names:
        raise RequestError(f"{path}: this split list is empty.")
    return tuple(dict.fromkeys(names))
