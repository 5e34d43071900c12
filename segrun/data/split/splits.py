"""Which image is in which split: as the publisher defines it, from a file, or drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from segrun.data.dataset import Dataset, Splits
from segrun.data.split.draw import DrawnSplits, draw_splits
from segrun.data.split.groups import check_groups_intact, image_groups, linked_groups
from segrun.data.split.settings import SplitSettings
from segrun.data.split.split_files import read_split
from segrun.errors import RequestError, join_names


def make_splits(
    data: Dataset,
    names: Sequence[str],
    settings: SplitSettings,
    present: Tensor,
    digests: Sequence[bytes],
    official: Splits | None = None,
) -> tuple[DrawnSplits, list[str]]:
    """Choose or draw the splits of a data set.

    An official split is kept; if it has no val, val is drawn from its train. `settings.file` and `settings.folds` take
    precedence over it, but its test stays the test. What is drawn keeps identical images together, and parts of one
    volume or scene.

    Args:
        data: The data set.
        names: Its images that can be read.
        settings: See `SplitSettings`.
        present: (N, classes) bool, whether an image shows a class.
        digests: One per image; equal for images that are identical pixel for pixel.
        official: The official split, if it is another than the data set's own.

    Returns:
        The splits, and notes for the user.

    Raises:
        RequestError: The settings contradict each other or the data, or a group has images in two splits.
    """
    official = data.splits if official is None else official
    rule = settings.groups
    groups = [data.group(name) for name in names] if rule is None else image_groups(names, rule)
    notes: list[str] = []
    if settings.file is not None:
        splits = read_split(Path(settings.file).expanduser(), names)
    elif settings.folds is None and official.get("train") and official.get("val"):
        splits = {split: tuple(members) for split, members in official.items()}
    else:
        splits = draw_splits(names, official, settings, linked_groups(groups, digests), present)
        notes = _notes_on_draw(names, digests, splits)
    check_disjoint(splits)
    check_groups_intact(splits, dict(zip(names, groups, strict=True)))
    return splits, notes


def _notes_on_draw(names: Sequence[str], digests: Sequence[bytes], splits: Splits) -> list[str]:
    notes = []
    copies = len(names) - len(set(digests))
    if copies:
        notes.append(f"{copies} images are copies of another and stay in its split")
    left_out = len(names) - sum(map(len, splits.values()))
    if left_out:
        notes.append(f"{left_out} images are in no split: split.train, val and test add up to less than 1")
    return notes


def check_disjoint(splits: Splits) -> None:
    """Refuse splits that share images: their scores would be worthless.

    Raises:
        RequestError: An image is in two splits.
    """
    split_of: dict[str, str] = {}
    for split, names in splits.items():
        shared = [name for name in names if split_of.setdefault(name, split) != split]
        if shared:
            raise RequestError(
                f"{len(shared)} images are in both {split_of[shared[0]]} and {split}: {join_names(shared)}."
            )


def check_names_exist(splits: Splits, names: Iterable[str]) -> None:
    """Refuse a stored split whose images are not in the data set.

    Args:
        splits: The split that a run or checkpoint stores.
        names: Names of the data set's images.

    Raises:
        RequestError: Some images are not in the data set.
    """
    known = set(names)
    missing = [name for members in splits.values() for name in members if name not in known]
    if missing:
        raise RequestError(
            f"{len(missing)} images of the run's stored split are not in this data set: {join_names(missing)}. "
            "Name the data with dataset=… dataset.root=…."
        )
