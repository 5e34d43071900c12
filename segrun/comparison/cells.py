"""Runs put into cells, which differ in what is compared; the runs of a cell differ in their seed alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Protocol, TypeVar

from segrun.comparison.runs import NONE, RESULT, Run
from segrun.errors import RequestError, join_names

# what users choose by comes first, so that cells are named by it and not by what follows from it
FIRST = ("strategy", "labels", "backbone", "head", "dataset", "freeze", "regularizer", "auxiliary", "balance", "loss",
         "augment", "sizing", "optimizer", "schedule")  # fmt: skip
Key = tuple[str, ...]


class Keyed(Protocol):
    @property
    def key(self) -> Key: ...


K = TypeVar("K", bound=Keyed)


@dataclass(frozen=True)
class Cell:
    """key: the values of what is compared by; runs: by seed, those that have ended; failed: those that have not."""

    key: Key
    runs: Mapping[str, Run]
    failed: tuple[Run, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        return self.name


def called(by: Sequence[str], key: Key) -> str:
    """A cell's values in a sentence: finetune, 20 labels, optimizer.lr=0.001."""
    return ", ".join(_word(*pair) for pair in zip(by, key, strict=True)) or "all"


def _word(key: str, value: str) -> str:
    if key == "labels":
        return f"{value} of the labels" if value.startswith("0.") else f"{value} labels"
    return value if key in FIRST else f"{key}={value}"


def cells(runs: Sequence[Run], by: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """In the order of their values; and what is to be said of them.

    Raises:
        RequestError: runs of one cell and seed differ.
    """
    notes: list[str] = []
    found = [_cell(key, called(by, key), group, notes) for key, group in grouped(runs, by).items()]
    return sorted(found, key=lambda cell: [_order(value) for value in cell.key]), notes


def _cell(key: Key, name: str, group: Sequence[Run], notes: list[str]) -> Cell:
    ended: dict[str, Run] = {}
    failed = tuple(run for run in group if not run.result)
    for seed, alike in sorted(by_seed(group).items(), key=lambda item: _order(item[0])):
        if differing := varying(alike):
            raise RequestError(
                f"{len(alike)} runs of {name} have the seed {seed} and differ in {join_names(differing, 3)}. "
                f"Compare by that, too: by=[…,{differing[0]}]; or let val choose: choose=[{differing[0]}]."
            )
        ended[seed] = max(alike, key=lambda run: (run.folder / RESULT).stat().st_mtime)
        if len(alike) > 1:
            notes.append(
                f"{len(alike)} runs of {name} have the seed {seed} and the same settings; the newest is "
                f"taken: {ended[seed].folder}"
            )
    if differing := varying([*ended.values()]):
        notes.append(f"the runs of {name} differ in {join_names(differing, 3)}, and not in their seed alone")
    return Cell(key, ended, failed, name)


def by_seed(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Those that have ended."""
    found: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.result:
            found[run.seed].append(run)
    return dict(found)


def varying(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ, what users choose by first."""
    if len(runs) < 2:
        return []
    differing: set[str] = set()
    for run in runs[1:]:
        if run.settings != runs[0].settings:
            pairs = run.settings.items() ^ runs[0].settings.items()
            differing |= {key for key, value in pairs if run.settings.get(key, NONE) != runs[0].settings.get(key, NONE)}
    return sorted(differing, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key))


def telling(runs: Sequence[Run]) -> list[str]:
    """The fewest keys, what users choose by first, that tell apart all runs that are not copies of each other."""
    keys: list[str] = []
    groups: list[list[Run]] = [list(runs)]
    for key in varying(runs):
        parted = [[*grouped(group, [key]).values()] for group in groups]
        if any(len(parts) > 1 for parts in parted):
            keys.append(key)
            groups = [part for parts in parted for part in parts]
    return keys or ["strategy"]


def chosen(runs: Sequence[Run], by: Sequence[str], keys: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Of the values that `keys` take in each cell those of the best mean val mIoU, over the seeds that all of them
    have; and which.

    Raises:
        RequestError: they have no seed in common.
    """
    left: list[Run] = []
    notes: list[str] = []
    for cell, group in grouped(runs, by).items():
        every = grouped(group, keys)
        tried = {values: seeds for values, some in every.items() if (seeds := by_seed(some))}
        if not tried:
            left += group
            continue
        common = set.intersection(*(set(seeds) for seeds in tried.values()))
        if not common:
            raise RequestError(f"choose={join_names(keys)}: the runs of {called(by, cell)} have no seed in common.")
        val = {values: mean(seeds[seed][-1].val for seed in common) for values, seeds in tried.items()}
        best = max(val, key=lambda values: val[values])
        left += every[best]
        named = ", ".join(f"{key}={value}" for key, value in zip(keys, best, strict=True))
        unended = f"; {len(every) - len(tried)} have no run that has ended" if len(every) > len(tried) else ""
        notes.append(
            f"{called(by, cell)}: {named}, the best of {len(tried)} by val (seeds {join_names(sorted(common))}){unended}"
        )
    return left, notes


def grouped(runs: Iterable[Run], by: Sequence[str]) -> dict[Key, list[Run]]:
    groups: defaultdict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(run.settings.get(key, NONE) for key in by)].append(run)
    return dict(groups)


def blocks(keyed: Iterable[K], place: int) -> dict[Key, list[K]]:
    """Those that differ in the value at `place` alone, by their other values."""
    found: defaultdict[Key, list[K]] = defaultdict(list)
    for each in keyed:
        found[each.key[:place] + each.key[place + 1 :]].append(each)
    return dict(found)


def completed(table: Sequence[Cell], by: Sequence[str], place: int) -> list[Cell]:
    """With an empty cell where a block has none of a value that other blocks have at `place`."""
    values = list(dict.fromkeys(cell.key[place] for cell in table))
    there = {cell.key: cell for cell in table}
    keys = [(*rest[:place], value, *rest[place:]) for rest in blocks(table, place) for value in values]
    return [there.get(key) or Cell(key, {}, name=called(by, key)) for key in keys]


def _order(value: str) -> tuple[int, float, str]:
    """Numbers by their size, words behind them."""
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value
