"""Images that must stay in one split: parts of one volume or scene, and copies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from segrun.csv_tables import find_row, read_column
from segrun.data.dataset import Splits
from segrun.data.split.stratified import Unit
from segrun.errors import RequestError, join_names


def image_groups(names: Sequence[str], rule: str) -> list[str]:
    """The group of each image.

    Args:
        names: The images.
        rule: As `SplitSettings.groups`.

    Raises:
        RequestError: The expression or table cannot be read, or some images have no group.
    """
    if rule == "folder":
        return [str(PurePosixPath(name).parent) for name in names]
    groups = _groups_from_table(names, rule) if rule.lower().endswith(".csv") else _groups_from_pattern(names, rule)
    without_group = [name for name, group in zip(names, groups, strict=True) if not group]
    if without_group:
        raise RequestError(
            f"split.groups={rule}: gives {len(without_group)} of {len(names)} images no group: "
            f"{join_names(without_group)}."
        )
    return [str(group) for group in groups]


def _groups_from_table(names: Sequence[str], file: str) -> list[str | None]:
    table = read_column(Path(file).expanduser(), "group", "split.groups")
    rows = [find_row(name, table) for name in names]
    return [None if row is None else table[row] for row in rows]


def _groups_from_pattern(names: Sequence[str], expression: str) -> list[str | None]:
    """The first group of the expression, or the whole match if it has none."""
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise RequestError(f"split.groups={expression}: is no regular expression ({error}).") from error
    matches = [pattern.search(name) for name in names]
    return [None if match is None else match[1 if pattern.groups else 0] for match in matches]


def linked_groups(groups: Sequence[str], digests: Sequence[bytes]) -> list[int]:
    """A number per image, the same for images that share a group or a digest, or are linked through others."""
    parent = list(range(len(groups)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for keys in (groups, digests):
        first: dict[object, int] = {}
        for index, key in enumerate(keys):
            parent[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(groups))]


def group_units(indices: Sequence[int], linked: Sequence[int]) -> list[Unit]:
    """The indices, in their order, gathered into units.

    Args:
        indices: Images.
        linked: A number per image, see `linked_groups`.
    """
    units: dict[int, list[int]] = {}
    for index in indices:
        units.setdefault(linked[index], []).append(index)
    return [tuple(unit) for unit in units.values()]


def check_groups_intact(splits: Splits, group_of: Mapping[str, str]) -> None:
    """Refuse splits that tear a group apart.

    Raises:
        RequestError: A group has images in two splits.
    """
    split_of: dict[str, str] = {}
    for split, names in splits.items():
        groups = [group_of.get(name, name) for name in names]
        torn = [group for group in groups if split_of.setdefault(group, split) != split]
        if torn:
            raise RequestError(
                f"{join_names(dict.fromkeys(torn))}: of one group, with images in both {split_of[torn[0]]} and "
                f"{split}. Keep each group in one split: correct split.file or split.groups."
            )
