"""A comparison: what each cell scored and cost, and how it differs from the baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from segrun.comparison.bootstrap import DRAWS, Resampled, difference, holm
from segrun.comparison.budgets import refuse_budgets, uneven
from segrun.comparison.cells import Cell, Key, blocks, called, cells, chosen, completed, telling
from segrun.comparison.efficiency import Curve, Point, Worth, worth
from segrun.comparison.runs import Run, Test
from segrun.comparison.scoring import Row, Scoring
from segrun.errors import RequestError, join_names, suggest

BASELINE = "finetune"  # where none is named and there is one


@dataclass(frozen=True)
class Comparison:
    """by: the keys that name cells; compared: the first of them that the baseline is a value of; rows that agree in all
    others make a block; split: what all were scored on; missing: (cell, seed) that other cells have."""

    by: tuple[str, ...]
    compared: str
    baseline: str
    test: Test
    split: str
    rows: tuple[Row, ...]
    missing: tuple[tuple[Cell, str], ...]
    notes: tuple[str, ...]

    @cached_property
    def blocks(self) -> dict[Key, list[Row]]:
        """The best row of each first."""
        found = blocks(self.rows, self.by.index(self.compared))
        return {key: sorted(rows, key=lambda row: row.rank) for key, rows in found.items()}

    @cached_property
    def curves(self) -> dict[Key, Curve]:
        """Scores by the number of labelled images, for every value of the other keys; empty where one number is all."""
        if "labels" not in self.by:
            return {}
        found: defaultdict[Key, dict[int, Point]] = defaultdict(dict)
        place = self.by.index("labels")
        for row in self.rows:
            if row.point:
                count = next(iter(row.cell.runs.values())).count("train")
                found[row.key[:place] + row.key[place + 1 :]][count] = row.point
        return {key: curve for key, curve in found.items() if len(curve) > 1}

    @cached_property
    def worths(self) -> list[Worth]:
        """What the labels of each curve are worth in the baseline's."""
        if self.compared == "labels":
            return []
        found: list[Worth] = []
        by = [key for key in self.by if key != "labels"]
        place = by.index(self.compared)
        for key, curve in self.curves.items():
            base = (*key[:place], self.baseline, *key[place + 1 :])
            if key != base and base in self.curves:
                found += worth(called(by, key), curve, called(by, base), self.curves[base])
        return found


def compare(
    runs: Sequence[Run],
    by: Sequence[str] = (),
    baseline: str | None = None,
    choose: Sequence[str] = (),
    draws: int = DRAWS,
) -> Comparison:
    """by: none, to find the fewest keys that tell the runs apart; choose: keys whose values are chosen by val.

    Raises:
        RequestError: what is not comparable (other test images, truth, classes or budgets), or an unknown key or
            baseline.
    """
    notes = [
        f"left out, since no config tells what it is: {run.folder} ({run.error})" for run in runs if not run.settings
    ]
    if not any(run.result and run.settings for run in runs):
        raise _unended(runs)
    runs = [run for run in runs if run.settings]
    _refuse_splits(runs)
    _refuse_unknown(runs, by=by, choose=choose)
    if choose:
        by = by or [key for key in telling(runs) if key not in choose]
        runs, said = chosen(runs, by, choose)
        notes += said
    by = by or telling(runs)
    table, said = cells(runs, by)
    compared, baseline = _baseline(table, by, baseline)
    place = by.index(compared)
    refuse_budgets(table, by, place)
    scoring = Scoring(draws, curves="labels" in by)
    rows: list[Row] = []
    for block in blocks(completed(table, by, place), place).values():
        rows += _beside([scoring(cell) for cell in block], place, baseline)
    if scoring.first is None:
        raise _unended([run for row in rows for run in row.cell.failed])
    corrected = holm([row.difference.p if row.difference else float("nan") for row in rows])
    rows = [replace(row, corrected=p) for row, p in zip(rows, corrected, strict=True)]
    every = {seed: None for row in rows for seed in row.cell.runs}
    missing = [
        (row.cell, seed)
        for row in rows
        for seed in every
        if seed not in {*row.cell.runs, *(run.seed for run in row.cell.failed)}
    ]
    return Comparison(
        tuple(by), compared, baseline, scoring.test, scoring.first.split, tuple(rows), tuple(missing),
        (*notes, *said, *uneven(table, by)),
    )  # fmt: skip


def _unended(runs: Sequence[Run]) -> RequestError:
    if ended := next((run for run in runs if run.result), None):
        return RequestError(f"none of the runs that have ended tells what it was: {ended.folder} has no config.yaml")
    first = runs[0]
    return RequestError(f"none of the runs has come to an end; {first.folder}: {first.error or 'no result.json'}")


def _refuse_splits(runs: Sequence[Run]) -> None:
    of = {run.split: run for run in runs if run.result}
    if len(of) > 1:
        raise RequestError(
            f"{of['val'].folder} was scored on val alone, as the trials of a search are, and {of['test'].folder} on "
            "test. Name runs of one of both in runs=…; what a search chose is trained anew to be compared."
        )


def _refuse_unknown(runs: Sequence[Run], **asked: Sequence[str]) -> None:
    known = {key for run in runs for key in run.settings}
    for name, keys in asked.items():
        if unknown := [key for key in keys if key not in known]:
            raise RequestError(f"{name}={join_names(unknown)}: no run has such a setting. {suggest(unknown[0], known)}")
    if both := {*asked["by"]} & {*asked["choose"]}:
        raise RequestError(
            f"{join_names(both)} is in both by and choose: compare all of its values, or let val choose one."
        )


def _baseline(table: Sequence[Cell], by: Sequence[str], wanted: str | None) -> tuple[str, str]:
    """The key that the baseline is a value of, and the baseline."""
    values = {key: [cell.key[place] for cell in table] for place, key in enumerate(by)}
    for key, there in values.items():
        if (wanted or BASELINE) in there:
            return key, wanted or BASELINE
    if wanted is None:
        return by[0], table[0].key[0]
    every = join_names(dict.fromkeys(value for there in values.values() for value in there))
    raise RequestError(f"baseline={wanted}: there are {every}.")


def _beside(scored: Sequence[tuple[Row, Resampled | None]], place: int, baseline: str) -> list[Row]:
    """The rows of a block with difference, rank and wins."""
    base = next((sample for row, sample in scored if row.key[place] == baseline), None)
    means = [row.score.mean if row.score else -1.0 for row, _ in scored]
    by_seed: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, (row, _) in enumerate(scored):
        for seed, score in zip(row.cell.runs, row.point.scores if row.point else (), strict=True):
            by_seed[seed].append((score, -index))
    wins = Counter(-max(scores)[1] for scores in by_seed.values())
    return [
        replace(
            row,
            difference=difference(sample, base) if sample and base and sample is not base else None,
            rank=1 + sum(other > means[index] for other in means),
            wins=wins[index],
        )
        for index, (row, sample) in enumerate(scored)
    ]
