"""Data sets that lie as pairs of an image's and a mask's file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.data.read.images import decode_mask, mask_values, read_image
from segrun.errors import RequestError, join_names

Pair = tuple[Path, Path]


class Pairs(Dataset):
    """A subclass fills `pairs` by name, and says how its masks are coded (see `decode_mask`)."""

    pairs: dict[str, Pair]
    coding: str = "index"
    ignore_index: int = 255

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        return tuple(self.pairs)

    def files(self, name: str) -> tuple[Path, ...]:
        return self.pairs[name]

    def image(self, name: str) -> Tensor:
        return read_image(self.pairs[name][0], self.channels)

    def mask(self, name: str) -> Tensor:
        path = self.pairs[name][1]
        return decode_mask(mask_values(path), path, self.classes, self.coding, self.ignore_index)


def existing(root: str | None) -> Path:
    """The data set's folder. Raises RequestError where there is none."""
    if not root:
        raise RequestError("dataset.root has no value: give dataset.root=<folder>.")
    try:
        path = Path(root).expanduser()
    except RuntimeError:  # the home of nobody
        path = Path(root)
    if not path.is_dir():
        raise RequestError(f"dataset.root={root}: there is no such folder.")
    return path


def visible(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """The files of a folder and its subfolders, sorted, without hidden ones and those in hidden folders."""
    for path in sorted(folder.rglob(pattern)):
        if not path.is_dir() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def files_in(
    folder: Path, notes: list[str], problems: list[str], suffixes: Iterable[str] | None = None, wants: str = ""
) -> dict[str, Path]:
    """The files of a folder and its subfolders by their path without suffix; hidden ones are not looked at.

    suffixes: with their dot, in lower case; None: what Pillow reads. Files of others are counted in `notes`, two files
    of one name are told in `problems`. wants: what the root is to hold, for the message.

    Raises:
        RequestError: there is no such folder.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder}: there is no such folder; dataset.root is to hold {wants or folder.name}.")
    known = set(Image.registered_extensions() if suffixes is None else suffixes)
    found: dict[str, Path] = {}
    other = 0
    for path in visible(folder):
        if path.suffix.lower() not in known:
            other += 1
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            problems.append(f"{found[stem]} and {path.name} share a name: which is it? Remove or rename one.")
        found.setdefault(stem, path)
    if other:
        notes.append(f"left out: {other} files in {folder.name}/ that are no images")
    return found


def unpaired(notes: list[str], problems: list[str], allowed: bool) -> tuple[list[str], str]:
    """Where what has no partner is told, and what is said of it, with the user's dataset.allow_unpaired."""
    if allowed:
        return notes, "These are left out."
    return problems, "Complete the pairs, or leave these out with dataset.allow_unpaired=true."


def paired(
    images: Mapping[str, Path], masks: Mapping[str, Path], places: tuple[Path, Path], alone: list[str], cure: str
) -> dict[str, Pair]:
    """Images and masks of one name. What has no partner is told in `alone`, with `cure` behind it.

    places: the two folders, for the message.
    """
    for one, other, place, what in (
        (images, masks, places[0], "images without a mask"),
        (masks, images, places[1], "masks without an image"),
    ):
        if left := sorted(one.keys() - other.keys()):
            alone.append(f"{place}: {len(left)} {what}: {join_names(left)}. {cure}".rstrip())
    return {name: (images[name], masks[name]) for name in sorted(images.keys() & masks.keys())}
