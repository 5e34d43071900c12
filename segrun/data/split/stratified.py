"""Drawing splits: stratified by class presence, and without tearing groups apart."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from torch import Tensor

from segrun.csv_tables import by_image, row_of
from segrun.errors import RequestError, join_names

Unit = tuple[int, ...]  # images, by place, that stay together


def stratified_split(
    parts: Sequence[Unit], present: Tensor, shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Iterative stratification (Sechidis et al., ECML PKDD 2011): the class in the fewest units that are left is dealt
    first, each of its units to the split that lacks it most. A class that is in every unit or in none says nothing;
    units that hold no other are dealt at last, in the order drawn, to the first split that has room.

    present: (N, classes) bool; shares: of the images, adding up to 1 or less.
    """
    order = list(parts)
    random.Random(seed).shuffle(order)
    rows = [frozenset(row.nonzero().flatten().tolist()) for row in present]
    held = [frozenset[int]().union(*(rows[place] for place in unit)) for unit in order]
    common = frozenset.intersection(*held) if held else frozenset()
    waiting = {unit: classes - common for unit, classes in enumerate(held)}
    count = Counter(c for classes in waiting.values() for c in classes)
    whole = {**shares, "": max(0.0, 1 - sum(shares.values()))}  # "" takes what belongs to no split
    room, lack, found = {}, {}, {}
    reached, end = 0.0, 0
    for key, share in whole.items():
        start, reached = end, reached + share
        end = round(reached * sum(map(len, order)))
        room[key], lack[key], found[key] = end - start, {c: share * n for c, n in count.items()}, list[int]()

    def give(unit: int, key: str) -> None:
        found[key].extend(order[unit])
        room[key] -= len(order[unit])
        for c in waiting.pop(unit):
            lack[key][c] -= 1
            count[c] -= 1

    while left := [c for c, n in count.items() if n]:
        rare = min(left, key=lambda c: (count[c], c))
        for unit in [unit for unit, classes in waiting.items() if rare in classes]:
            give(unit, max(whole, key=lambda key: (lack[key][rare], room[key])))
    for unit in list(waiting):
        fitting = (key for key in whole if room[key] >= len(order[unit]))
        give(unit, next(fitting, max(whole, key=lambda key: room[key])))
    return {key: found[key] for key in shares}


def units(places: Sequence[int], together: Sequence[int]) -> list[Unit]:
    """The places, in their order, gathered by what they belong to."""
    found: dict[int, list[int]] = {}
    for place in places:
        found.setdefault(together[place], []).append(place)
    return [tuple(unit) for unit in found.values()]


def linked_groups(groups: Sequence[str], digests: Sequence[bytes]) -> list[int]:
    """A number for each image, the same for two that share a group or a digest, or are linked through others."""
    parent = list(range(len(groups)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for keys in (groups, digests):
        first: dict[object, int] = {}
        for place, key in enumerate(keys):
            parent[root(place)] = root(first.setdefault(key, place))
    return [root(place) for place in range(len(groups))]


def grouped(names: Sequence[str], by: str) -> list[str]:
    """Each image's group. by: as `SplitSettings.groups`.

    Raises:
        RequestError: an expression or table that cannot be read, or images that it gives no group.
    """
    if by == "folder":
        return [str(PurePosixPath(name).parent) for name in names]
    if by.lower().endswith(".csv"):
        table = by_image(Path(by).expanduser(), "group", "split.groups")
        found = [table[row] if (row := row_of(name, table)) is not None else None for name in names]
    else:
        try:
            pattern = re.compile(by)
        except re.error as error:
            raise RequestError(f"split.groups={by}: no regular expression ({error}).") from error
        matches = [pattern.search(name) for name in names]
        found = [match and (match[1] if pattern.groups else match[0]) for match in matches]
    if alone := [name for name, group in zip(names, found, strict=True) if not group]:
        raise RequestError(f"split.groups={by}: gives {len(alone)} of {len(names)} images no group: {join_names(alone)}.")
    return [str(group) for group in found]
