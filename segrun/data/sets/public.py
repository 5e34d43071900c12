"""Published data sets, read as their publishers pack them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segrun.data.dataset import Splits
from segrun.data.read.masks import read_mask_values
from segrun.data.sets.files import Pair, all_files, dataset_root
from segrun.data.sets.pairs import ImageMaskPairs
from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID

TIMEOUT = 30  # seconds to wait for a host that does not answer


class PublishedDataset(ImageMaskPairs):
    """A data set in its publisher's layout. A subclass sets the class attributes and adds its splits.

    Args:
        root: The folder that holds it.
        download: Fetch what is missing. Only for subclasses that have a `host` and override `fetch`.

    Attributes:
        title: Its name, for messages.
        required: Files and folders that it consists of.
        subfolders: Folders of `root` that may hold it, besides `root` itself.
        source: Where to get it; one sentence for messages.
        host: Where `fetch` loads it from.
        class_of_value: Class index or VOID of each value in mask files.

    Raises:
        RequestError: `root` does not hold it, or it cannot be fetched.
    """

    title: str
    required: tuple[str, ...]
    subfolders: tuple[str, ...] = ()
    source: str
    host: str
    class_of_value: Mapping[int, int]
    exif = "ignore"  # the publishers drew their masks on the stored pixels
    notes: list[str]
    problems: list[str]

    def __init__(self, root: str | None, download: bool = False) -> None:
        self.notes, self.problems = [], []
        self.pairs: dict[str, Pair] = {}
        self.splits: Splits = {}
        try:
            top = _create_root(root) if download and root else dataset_root(root)
        except RequestError as error:
            raise RequestError(f"{error} {self.source}") from error
        self.root, missing = self._locate(top)
        if missing and download:
            self._download(top)
            self.root, missing = self._locate(top)
        if missing:
            raise RequestError(f"{self.root}: {self.title} lacks {join_names(missing)} there. {self.source}")

    def _locate(self, top: Path) -> tuple[Path, list[str]]:
        """The folder that holds most of the data set, and what is missing there."""
        folders = [*(top / subfolder for subfolder in self.subfolders), top]
        missing = {folder: [part for part in self.required if not (folder / part).exists()] for folder in folders}
        best = min(folders, key=lambda folder: len(missing[folder]))
        return best, missing[best]

    def _download(self, top: Path) -> None:
        previous = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
        try:
            self.fetch(top)
        except (OSError, RuntimeError, http.client.HTTPException) as error:  # RuntimeError: a wrong checksum
            reason = getattr(error, "reason", error)
            raise RequestError(
                f"{self.host}: {self.title} cannot be fetched ({reason}). "
                f"Put {join_names(self.required)} into {self._locate(top)[0]} yourself."
            ) from error
        finally:
            socket.setdefaulttimeout(previous)

    def fetch(self, top: Path) -> None:
        """Download and check the publisher's files with torchvision.

        Args:
            top: The folder that torchvision unpacks them in.
        """
        raise NotImplementedError

    def add_split(self, split: str, pairs: Mapping[str, Pair]) -> None:
        """Add a split. Only a constructor may call it. Images without one of their files become a problem.

        Raises:
            DataError: A list names an image that is not in the data set's folders.
        """
        outside = [name for name in pairs if name.startswith("/") or ".." in name.replace("\\", "/").split("/")]
        if outside:
            raise DataError(
                f"{self.root}: {split} names {join_names(outside, 3)}, outside its folders. Correct the list."
            )
        missing = {path for pair in pairs.values() for path in pair if not path.is_file()}
        complete = {name: pair for name, pair in pairs.items() if missing.isdisjoint(pair)}
        if missing:
            examples = join_names(sorted(missing), 3)
            self.problems.append(f"{split}: {len(missing)} files are missing: {examples}. Unpack the archive again.")
        elif not complete:
            self.problems.append(f"{self.root}: {self.title} has no image for {split} there. Unpack the archive again.")
        self.pairs.update(complete)
        self.splits = {**self.splits, split: tuple(complete)}

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return map_values(self.read_values(path), path, self.class_of_value)

    def read_values(self, path: Path) -> NDArray[np.int64]:
        """The values of a mask file as stored."""
        return read_mask_values(path, self.applies_orientation)


def read_words(path: Path) -> list[list[str]]:
    """The words of each line of an official list.

    Raises:
        RequestError: It cannot be read.
    """
    try:
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: this list cannot be read ({error}).") from error


def list_by_ending(folder: Path, ending: str) -> dict[str, Path]:
    """Files of a folder and its subfolders whose names end with `ending`, by their path in the folder without it."""
    paths = (path for path in all_files(folder, f"*{ending}") if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix().removesuffix(ending): path for path in paths}


def map_values(values: NDArray[np.int64], path: Path, class_of_value: Mapping[int, int]) -> Tensor:
    """The values of a mask file to class indices.

    Args:
        values: (H, W) as stored.
        path: The file, for messages.
        class_of_value: Class index or VOID of each value.

    Returns:
        (H, W), uint8 class indices and VOID.

    Raises:
        DataError: The mask is in colours, or holds values that `class_of_value` lacks; the message holds their counts.
    """
    if values.ndim != 2:
        raise DataError(
            f"{path}: a mask in colours; the published one holds one number per pixel. Unpack the archive again."
        )
    largest = max(class_of_value)
    table = np.full(largest + 1, -1, np.int16)
    table[list(class_of_value)] = list(class_of_value.values())
    in_table = (values >= 0) & (values <= largest)
    classes = np.where(in_table, table[values.clip(0, largest)], -1)
    unknown = values[classes < 0]
    if unknown.size:
        counts = zip(*np.unique(unknown, return_counts=True), strict=True)
        examples = join_names(f"{value} ({count} pixels)" for value, count in counts)
        known = f"{min(class_of_value)} to {max(value for value in class_of_value if value != VOID)}"
        raise DataError(
            f"{path}: values that its publisher does not use: {examples}; it uses {known}. Unpack the archive again."
        )
    return torch.from_numpy(classes.astype(np.uint8))


def _create_root(root: str) -> Path:
    try:
        path = Path(root).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", error)
        raise RequestError(f"dataset.root={root}: cannot be created ({reason}). Choose another folder.") from error
    return path
