"""Cells of a comparison: the runs of a cell differ only in their seed, and cells differ in what is compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from segrun.comparison.result_files import RESULT_FILE
from segrun.comparison.runs import Run
from segrun.config.keys import keys_that
from segrun.config.recorded import NONE
from segrun.errors import RequestError, join_names

# what users choose between, in the order in which cells are named by it
NAMING_KEYS = tuple(keys_that("shown_by_value"))
Key = tuple[str, ...]  # the values of the keys that name cells


class Keyed(Protocol):
    @property
    def key(self) -> Key: ...


K = TypeVar("K", bound=Keyed)


@dataclass(frozen=True)
class Cell:
    """Runs that differ only in their seed.

    Attributes:
        key: The values of the keys that name cells.
        runs: The finished runs, by seed.
        failed: The runs that have not finished or whose scores cannot be read.
        name: The cell in a sentence, see `cell_name`.
    """

    key: Key
    runs: Mapping[str, Run]
    failed: tuple[Run, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        return self.name


def cell_name(by: Sequence[str], key: Key) -> str:
    """The values of a cell in a sentence: "finetune, 20 labels, optimizer.lr=0.001"."""
    words = [_value_name(name, value) for name, value in zip(by, key, strict=True)]
    return ", ".join(words) or "all"


def _value_name(key: str, value: str) -> str:
    if key == "labels":
        return f"{value} of the labels" if value.startswith("0.") else f"{value} labels"
    return value if key in NAMING_KEYS else f"{key}={value}"


def make_cells(runs: Sequence[Run], by: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """Group runs by the keys `by`.

    Returns:
        The cells, in the order of their values, and notes for the user.

    Raises:
        RequestError: Two runs of a cell have the same seed and different settings.
    """
    notes: list[str] = []
    cells = [_make_cell(key, cell_name(by, key), group, notes) for key, group in group_by(runs, by).items()]
    return sorted(cells, key=lambda cell: [_value_rank(value) for value in cell.key]), notes


def _make_cell(key: Key, name: str, group: Sequence[Run], notes: list[str]) -> Cell:
    newest: dict[str, Run] = {}
    for seed, repeated in sorted(finished_by_seed(group).items(), key=lambda item: _value_rank(item[0])):
        differing = differing_keys(repeated)
        if differing:
            raise RequestError(
                f"{len(repeated)} runs of {name} have the seed {seed} and differ in {join_names(differing, 3)}. "
                f"Compare by that key as well: by=[…,{differing[0]}]. Or choose its value by val: "
                f"choose=[{differing[0]}]."
            )
        newest[seed] = max(repeated, key=lambda run: (run.folder / RESULT_FILE).stat().st_mtime)
        if len(repeated) > 1:
            notes.append(
                f"{len(repeated)} runs of {name} have the seed {seed} and the same settings; "
                f"the newest is used: {newest[seed].folder}"
            )
    differing = differing_keys(list(newest.values()))
    if differing:
        notes.append(f"the runs of {name} differ in {join_names(differing, 3)}, not only in their seed")
    failed = tuple(run for run in group if not run.result)
    return Cell(key, newest, failed, name)


def _naming_rank(key: str) -> tuple[int, str]:
    """The sort key that puts what users choose between first, then all other keys by name.

    So cells are named by what was chosen and not by what follows from it.
    """
    return (NAMING_KEYS.index(key) if key in NAMING_KEYS else len(NAMING_KEYS), key)


def finished_by_seed(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The finished runs, by seed."""
    finished: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.result:
            finished[run.seed].append(run)
    return dict(finished)


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """The keys in which runs differ, what users choose between first."""
    if len(runs) < 2:
        return []
    differing: set[str] = set()
    first = runs[0].settings
    for run in runs[1:]:
        if run.settings == first:
            continue
        candidates = {key for key, _ in run.settings.items() ^ first.items()}
        differing |= {key for key in candidates if run.settings.get(key, NONE) != first.get(key, NONE)}
    return sorted(differing, key=_naming_rank)


def distinguishing_keys(runs: Sequence[Run]) -> list[str]:
    """The fewest keys that tell apart all runs that are not repetitions of each other."""
    keys: list[str] = []
    groups: list[list[Run]] = [list(runs)]
    for key in differing_keys(runs):
        subgroups = [subgroup for group in groups for subgroup in group_by(group, [key]).values()]
        if len(subgroups) > len(groups):
            keys.append(key)
            groups = subgroups
    return keys or ["strategy"]


def group_by(runs: Iterable[Run], by: Sequence[str]) -> dict[Key, list[Run]]:
    """Runs by their values of the keys `by`."""
    groups: defaultdict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(run.settings.get(key, NONE) for key in by)].append(run)
    return dict(groups)


def make_blocks(items: Iterable[K], position: int) -> dict[Key, list[K]]:
    """Items that differ only in the value at `position` of their key, by their other values."""
    blocks: defaultdict[Key, list[K]] = defaultdict(list)
    for item in items:
        blocks[without(item.key, position)].append(item)
    return dict(blocks)


def without(key: Key, position: int) -> Key:
    """A key without its value at `position`."""
    return key[:position] + key[position + 1 :]


def complete_blocks(cells: Sequence[Cell], by: Sequence[str], position: int) -> list[Cell]:
    """Add an empty cell to each block that lacks a value which another block has at `position`."""
    values = list(dict.fromkeys(cell.key[position] for cell in cells))
    by_key = {cell.key: cell for cell in cells}
    keys = [(*rest[:position], value, *rest[position:]) for rest in make_blocks(cells, position) for value in values]
    return [by_key.get(key) or Cell(key, {}, name=cell_name(by, key)) for key in keys]


def _value_rank(value: str) -> tuple[int, float, str]:
    """The sort key that puts numbers first, by size, and words after them."""
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value
