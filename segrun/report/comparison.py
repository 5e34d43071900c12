"""A comparison in words and tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean

from segrun.comparison.bootstrap import Difference, Estimate
from segrun.comparison.compare import Comparison
from segrun.comparison.scoring import COSTS, Row
from segrun.errors import join_names
from segrun.files import atomic_write
from segrun.report.html.page import Table
from segrun.report.tables import percent

SIGNIFICANT = 0.05
COST_HEADS = ("parameters trained", "seconds", "memory", "images/s", "checkpoint")


def tables(c: Comparison) -> list[Table]:
    return [score_table(c), *([standing(c)] if len(c.blocks) > 1 else []), class_table(c), cost_table(c)]


def score_table(c: Comparison) -> Table:
    """A row a cell, the best of each block first."""
    head = (*c.by, "runs", "mIoU (95 %)", f"more than {c.baseline} (95 %)", "p", "rank", "best in")
    rows = [
        (*row.key, _runs(row), _score(row.score), _difference(row.difference), _p(row.corrected), *_place(row))
        for block in c.blocks.values()
        for row in block
    ]
    count = sum(row.corrected == row.corrected for row in c.rows)
    over = f"; p after Holm over {count} comparisons" if count else ""
    return Table(f"mIoU in % on {len(c.test[0])} {c.split} images{over}", head, rows)


def cost_table(c: Comparison) -> Table:
    rows = [(*row.key, *costs(row.cost)) for row in c.rows if row.cost]
    return Table("cost of a run, medians over the seeds", (*c.by, *COST_HEADS), rows)


def class_table(c: Comparison) -> Table:
    rows = [(*row.key, *map(percent, row.classes)) for row in c.rows if row.classes]
    return Table("IoU of each class in %, means over the seeds", (*c.by, *c.test[1]), rows)


def standing(c: Comparison) -> Table:
    """Ranks and wins of each of the compared, over all blocks."""
    place = c.by.index(c.compared)
    named: dict[str, list[Row]] = {}
    for row in c.rows:
        if row.score is not None:
            named.setdefault(row.key[place], []).append(row)
    ranked = sorted(named.items(), key=lambda item: mean(row.rank for row in item[1]))
    rows = [
        (name, f"{mean(row.rank for row in rows):.1f}", str(sum(row.wins for row in rows)), str(len(rows)))
        for name, rows in ranked
    ]
    return Table("ranks over all blocks", (c.compared, "mean rank", "best in so many seeds", "cells"), rows)


def sentences(c: Comparison) -> list[str]:
    """What can be said, and what cannot."""
    return [*answer(c), *map(str, c.worths)]


def answer(c: Comparison) -> list[str]:
    """Which is best, and whether that is sure."""
    return [*_highest(c), *_differences(c)]


def _highest(c: Comparison) -> Iterator[str]:
    """Of each block, whose mean is the highest."""
    for rows in c.blocks.values():
        best = rows[0]
        if best.score and len(rows) > 1:
            yield f"{best.cell}: the highest mean of {len(rows)}, {_score(best.score)} % mIoU."


def _differences(c: Comparison) -> Iterator[str]:
    tested = [(row, row.difference) for row in c.rows if row.difference and row.corrected == row.corrected]
    shown = [(row, found) for row, found in tested if row.corrected < SIGNIFICANT]
    for row, found in shown:
        word = "better" if found.mean > 0 else "worse"
        p = _p(row.corrected) if row.corrected < 0.001 else f"= {_p(row.corrected)}"
        yield f"{row.cell} is {word} than {c.baseline} by {_points(abs(found.mean))} points{_within(found)}, p {p}."
    if rest := len(tested) - len(shown):
        yield (
            f"In {rest} of {len(tested)} comparisons no difference from {c.baseline} is shown (p ≥ {SIGNIFICANT}); "
            "that does not show that there is none."
        )
    if tested and min(len(row.cell.runs) for row, _ in tested) == 2:
        yield "Two seeds say little of others: their intervals are three times as wide as those of three (Student's t)."
    if single := [str(row.cell) for row in c.rows if len(row.cell.runs) == 1]:
        yield f"One seed only, so no interval and no test: {join_names(single)}."
    if c.split == "val":
        yield "All are scored on val, by which their epochs were chosen: each score is better than on new images."


def write_csv(path: Path, c: Comparison) -> None:
    """The numbers behind `score_table`, unrounded; a row a cell, empty where there is none."""
    head = (*c.by, "runs", "failed", "miou", "low", "high", "difference", "difference_low", "difference_high", "p",
            "p_holm", "rank", "wins", *COSTS, *(f"iou_{name}" for name in c.test[1]))  # fmt: skip
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(head)
        for row in c.rows:
            s, d = row.score, row.difference
            numbers = (
                *((s.mean, s.low, s.high) if s else (None,) * 3),
                *((d.mean, d.low, d.high, d.p, row.corrected) if d else (None,) * 5),
                *((row.rank, row.wins) if s else (None,) * 2),
                *(row.cost.get(key) for key in COSTS),
                *(row.classes or (None,) * len(c.test[1])),
            )
            known = ("" if value is None or value != value else value for value in numbers)
            rows.writerow((*row.key, len(row.cell.runs), len(row.cell.failed), *known))


def costs(cost: Mapping[str, float]) -> list[str]:
    """In the units of COST_HEADS: parameters, seconds, GiB, images a second, MB."""
    shown: tuple[Callable[[float], str], ...] = (
        lambda v: f"{v:,.0f}", lambda v: f"{v:.0f}", lambda v: f"{v / 2**30:.1f} GiB", lambda v: f"{v:.1f}",
        lambda v: f"{v / 1e6:.1f} MB",
    )  # fmt: skip
    return [form(cost[key]) if key in cost else "–" for key, form in zip(COSTS, shown, strict=True)]


def gone(c: Comparison) -> list[str]:
    """What failed, and what is missing."""
    failed = [
        f"failed: {row.cell}: {run.error or 'has not ended'} ({run.folder})"
        for row in c.rows
        for run in row.cell.failed
    ]
    return [*failed, *(f"missing: {cell}, seed {seed}" for cell, seed in c.missing)]


def _runs(row: Row) -> str:
    failed = len(row.cell.failed)
    return f"{len(row.cell.runs)}" + (f" + {failed} failed" if failed else "")


def _score(score: Estimate | None) -> str:
    return f"{percent(score.mean)}{_within(score)}" if score else "–"


def _difference(found: Difference | None) -> str:
    return f"{100 * found.mean:+.1f}{_within(found)}" if found else ""


def _p(p: float) -> str:
    return "" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _place(row: Row) -> tuple[str, str]:
    return (str(row.rank), str(row.wins)) if row.score else ("–", "–")


def _within(one: Estimate) -> str:
    return "" if one.low != one.low else f" ({_points(one.low)} to {_points(one.high)})"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
