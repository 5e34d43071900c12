"""Files of a data set: its root folder, listings, pairs of image and mask."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from segrun.data.dataset import SPLITS
from segrun.data.read.images import image_suffixes
from segrun.errors import RequestError, join_names

Pair = tuple[Path, Path]  # image, mask
T = TypeVar("T")

COMPLETE = "Complete the pairs."
COMPLETE_OR_ALLOW = "Complete the pairs, or leave these out with dataset.allow_unpaired=true."


@dataclass(frozen=True)
class FileReport:
    """Messages that a constructor collects while it lists files.

    Attributes:
        notes: What the user should know, such as the number of files left out.
        problems: What is wrong with the files.
    """

    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def dataset_root(root: str | None) -> Path:
    """The data set's folder.

    Raises:
        RequestError: `root` is not set, or there is no such folder.
    """
    if not root:
        raise RequestError("dataset.root has no value: give dataset.root=<folder>.")
    try:
        path = Path(root).expanduser()
    except RuntimeError:  # ~name, where no user has that name
        path = Path(root)
    if not path.is_dir():
        raise RequestError(f"dataset.root={root}: there is no such folder.")
    return path


def split_folders(root: Path, subfolder: str = "") -> list[str]:
    """Those of train, val and test that are folders in `root` and hold `subfolder`."""
    return [split for split in SPLITS if (root / split / subfolder).is_dir()]


def add_prefix(split: str, files: Mapping[str, T]) -> dict[str, T]:
    """The same files with `split/` before each name; unchanged where `split` is empty."""
    return {f"{split}/{name}" if split else name: value for name, value in files.items()}


def visible_files(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Files of a folder and its subfolders, sorted, without hidden files and hidden folders; see `all_files`."""
    for path in all_files(folder, pattern):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def all_files(folder: Path, pattern: str = "*") -> list[Path]:
    """Files of a folder and its subfolders, sorted. Links to folders are followed, except back to a folder above them.

    Raises:
        RequestError: A folder cannot be listed.
    """
    return sorted(path for path in _files_below(folder, frozenset()) if path.match(pattern))


def _files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """above: the real paths of the folders that led here."""
    real = folder.resolve()
    if real in above:
        return
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be listed ({error.strerror}).") from error
    for entry in entries:
        path = Path(entry.path)
        # asked of a link that leads to itself, only Path answers without an error
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _files_below(path, above | {real})
        else:
            yield path


def list_files(
    folder: Path, report: FileReport, suffixes: Iterable[str] | None = None, layout: str = ""
) -> dict[str, Path]:
    """Files of a folder and its subfolders, without hidden ones, by their path in the folder without suffix.

    Args:
        folder: Where to look.
        report: Takes a note with the number of files that have another suffix, and a problem for each two files that
            share a name.
        suffixes: With their dot, in lower case; None for all that are read.
        layout: What `dataset.root` must hold, for the message.

    Raises:
        RequestError: There is no such folder.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder}: there is no such folder. dataset.root must hold {layout or folder.name}.")
    known = image_suffixes() if suffixes is None else set(suffixes)
    files: dict[str, Path] = {}
    others = 0
    for path in visible_files(folder):
        if path.suffix.lower() not in known:
            others += 1
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            report.problems.append(f"{files[name]} and {path.name} share a name. Remove or rename one.")
        else:
            files[name] = path
    if others:
        report.notes.append(f"left out: {others} files in {folder.name}/ that are not images")
    return files


def pair_files(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    folders: tuple[Path, Path],
    report: FileReport,
    *,
    allow_unpaired: bool = False,
    cure: str = COMPLETE,
) -> dict[str, Pair]:
    """Pairs of an image and a mask of the same name, sorted by name.

    Args:
        images: Image files by name.
        masks: Mask files by name.
        folders: Where images and masks are, for the messages.
        report: Takes what has no partner: as a note where that is allowed, otherwise as a problem.
        allow_unpaired: Whether images without a mask and masks without an image may be left out.
        cure: What to do about files without a partner.
    """
    messages = report.notes if allow_unpaired else report.problems
    advice = "These are left out." if allow_unpaired else cure
    bare_images = sorted(images.keys() - masks.keys())
    bare_masks = sorted(masks.keys() - images.keys())
    if bare_images:
        count = f"{len(bare_images)} images without a mask"
        messages.append(f"{folders[0]}: {count}: {join_names(bare_images)}. {advice}")
    if bare_masks:
        count = f"{len(bare_masks)} masks without an image"
        messages.append(f"{folders[1]}: {count}: {join_names(bare_masks)}. {advice}")
    return {name: (images[name], masks[name]) for name in sorted(images.keys() & masks.keys())}


def list_pairs(
    image_dir: Path,
    mask_dir: Path,
    report: FileReport,
    *,
    suffixes: Iterable[str] | None = None,
    layout: str = "",
    allow_unpaired: bool = False,
    cure: str = COMPLETE,
) -> dict[str, Pair]:
    """Pairs of the files in two folders; see `list_files` and `pair_files`.

    Raises:
        RequestError: One of the folders does not exist.
    """
    images = list_files(image_dir, report, suffixes, layout)
    masks = list_files(mask_dir, report, suffixes, layout)
    return pair_files(images, masks, (image_dir, mask_dir), report, allow_unpaired=allow_unpaired, cure=cure)
