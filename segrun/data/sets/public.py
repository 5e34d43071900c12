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
from segrun.data.read.images import mask_values, read_image
from segrun.data.sets.files import Pair, Pairs, existing
from segrun.errors import DataError, RequestError, join_names
from segrun.types import VOID

SECONDS = 30  # how long a silent host may cost


class Public(Pairs):
    """A subclass says what its folder `holds`, `below` which folders of root that may lie besides root itself, where it
    is `had`, and what the values of its masks mean (`codes`: class or VOID); and takes its splits.

    download: fetch what is not there; only where the subclass has a `host` and overrides `fetch`.

    Raises:
        RequestError: root does not hold it, or it cannot be fetched.
    """

    title: str
    holds: tuple[str, ...]
    below: tuple[str, ...] = ()
    had: str
    host: str
    codes: Mapping[int, int]

    def __init__(self, root: str | None, download: bool = False) -> None:
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.pairs: dict[str, Pair] = {}
        self.splits: Splits = {}
        try:
            top = made(root) if download and root else existing(root)
        except RequestError as error:
            raise RequestError(f"{error} {self.had}") from error
        self.root, missing = self._lies(top)
        if missing and download:
            self._download(top)
            self.root, missing = self._lies(top)
        if missing:
            raise RequestError(f"{self.root}: {self.title} lacks {join_names(missing)} there. {self.had}")

    def _lies(self, top: Path) -> tuple[Path, list[str]]:
        """Where it lies, and what is missing there."""
        places = (*(top / folder for folder in self.below), top)
        gaps = [(place, [part for part in self.holds if not (place / part).exists()]) for place in places]
        return min(gaps, key=lambda gap: len(gap[1]))

    def _download(self, top: Path) -> None:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SECONDS)  # torchvision waits for ever otherwise
        try:
            self.fetch(top)
        except (OSError, RuntimeError, http.client.HTTPException) as error:  # torchvision's for a wrong checksum
            reason = getattr(error, "reason", error)
            raise RequestError(
                f"{self.host}: {self.title} cannot be fetched ({reason}). "
                f"Put {join_names(self.holds)} into {self._lies(top)[0]} yourself."
            ) from error
        finally:
            socket.setdefaulttimeout(before)

    def fetch(self, top: Path) -> None:
        """Bring the publisher's files, and check them, by torchvision."""
        raise NotImplementedError

    def take(self, split: str, pairs: Mapping[str, Pair]) -> None:
        """Add a split. Images of which a file is missing are told in `problems`."""
        gone = {path for pair in pairs.values() for path in pair if not path.is_file()}
        whole = {name: pair for name, pair in pairs.items() if gone.isdisjoint(pair)}
        if gone:
            shown = join_names(sorted(gone), 3)
            self.problems.append(f"{split}: {len(gone)} files are missing: {shown}. Unpack the archive anew.")
        elif not whole:
            self.problems.append(f"{self.root}: {self.title} has no image for {split} there.")
        self.pairs.update(whole)
        self.splits = {**self.splits, split: tuple(whole)}

    def image(self, name: str) -> Tensor:
        """As stored: publishers drew their masks on that, whatever an EXIF orientation says."""
        return read_image(self.pairs[name][0], self.channels, turn=False)

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return recoded(self.values(path), path, self.codes)

    def values(self, path: Path) -> NDArray[np.int64]:
        """The raw values of a mask's file."""
        return mask_values(path)


def made(root: str) -> Path:
    """The folder, made where it is not there."""
    try:
        path = Path(root).expanduser()
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise RequestError(f"dataset.root={root}: cannot be made ({getattr(error, 'strerror', error)}).") from error
    return path


def lines(path: Path) -> list[list[str]]:
    """The words of each line of an official list. Raises RequestError where it cannot be read."""
    try:
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: this list cannot be read ({error}).") from error


def ending(folder: Path, end: str) -> dict[str, Path]:
    """The files of a folder and its subfolders whose names end so, by their path without it."""
    found = (path for path in sorted(folder.rglob(f"*{end}")) if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix().removesuffix(end): path for path in found}


def recoded(values: NDArray[np.int64], path: Path, codes: Mapping[int, int]) -> Tensor:
    """A mask's values → (H, W) uint8 class indices and VOID, as `codes` says.

    Raises:
        DataError: a mask in colours, or a value that `codes` lacks, with its count.
    """
    if values.ndim != 2:
        raise DataError(f"{path}: a mask in colours; the published one holds a number a pixel. Unpack it anew.")
    most = max(codes)
    table = np.full(most + 1, -1, np.int16)
    table[list(codes)] = list(codes.values())
    found = np.where((values >= 0) & (values <= most), table[values.clip(0, most)], -1)
    if (found < 0).any():
        strange, count = np.unique(values[found < 0], return_counts=True)
        shown = join_names(f"{value} ({n} pixels)" for value, n in zip(strange, count, strict=True))
        known = f"{min(codes)} to {max(c for c in codes if c != VOID)}"
        raise DataError(f"{path}: values that its publisher does not know: {shown}; {known} are. Unpack it anew.")
    return torch.from_numpy(found.astype(np.uint8))
