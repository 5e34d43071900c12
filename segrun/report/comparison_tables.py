"""The tables of a comparison, and its CSV file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean

from segrun.comparison.comparison import Comparison
from segrun.comparison.scoring import COSTS, CellResult
from segrun.comparison.significance import Difference, Estimate
from segrun.csv_tables import write_table
from segrun.report.formats import percent
from segrun.report.table import Table

COST_HEADS = ("trained parameters", "seconds", "peak memory", "images/s", "checkpoint")
COST_FORMATS: Mapping[str, Callable[[float], str]] = {
    "parameters_trained": lambda value: f"{value:,.0f}",
    "seconds": lambda value: f"{value:.0f}",
    "peak_memory_bytes": lambda value: f"{value / 2**30:.1f} GiB",
    "images_per_second": lambda value: f"{value:.1f}",
    "checkpoint_bytes": lambda value: f"{value / 1e6:.1f} MB",
}


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables, the most important first."""
    tables = [score_table(comparison)]
    if len(comparison.blocks) > 1:
        tables.append(rank_table(comparison))
    return [*tables, class_table(comparison), cost_table(comparison)]


def score_table(comparison: Comparison) -> Table:
    """Scores and differences from the baseline: one row per cell, block by block, the best of each block first."""
    head = (
        *comparison.by, "runs", "mIoU (95 % CI)", f"difference from {comparison.baseline} (95 % CI)", "p", "rank",
        "wins",
    )  # fmt: skip
    rows = [_score_row(result) for block in comparison.blocks.values() for result in block]
    title = f"mIoU in % on {len(comparison.evaluation_set.images)} {comparison.split} images"
    num_tests = sum(not math.isnan(result.corrected_p) for result in comparison.results)
    if num_tests:
        title += f"; p after Holm's correction for {num_tests} comparisons"
    return Table(title, head, rows)


def _score_row(result: CellResult) -> tuple[str, ...]:
    runs = str(len(result.cell.runs))
    if result.cell.failed:
        runs += f" + {len(result.cell.failed)} failed"
    rank_and_wins = (str(result.rank), str(result.wins)) if result.score else ("–", "–")
    score, gap = score_text(result.score), _difference_text(result.difference)
    return (*result.key, runs, score, gap, p_text(result.corrected_p), *rank_and_wins)


def cost_table(comparison: Comparison) -> Table:
    """The cost of a run in each cell."""
    rows = [(*result.key, *_cost_texts(result.cost)) for result in comparison.results if result.cost]
    return Table("cost per run, medians over the seeds", (*comparison.by, *COST_HEADS), rows)


def _cost_texts(cost: Mapping[str, float]) -> list[str]:
    return [COST_FORMATS[key](cost[key]) if key in cost else "–" for key in COSTS]


def class_table(comparison: Comparison) -> Table:
    """The IoU of each class in each cell."""
    rows = [
        (*result.key, *(percent(iou) for iou in result.class_ious))
        for result in comparison.results
        if result.class_ious
    ]
    head = (*comparison.by, *comparison.evaluation_set.classes)
    return Table("IoU per class in %, means over the seeds", head, rows)


def rank_table(comparison: Comparison) -> Table:
    """Mean rank and number of wins of each compared value, over all blocks."""
    position = comparison.by.index(comparison.compared_key)
    results_by_value: dict[str, list[CellResult]] = {}
    for result in comparison.results:
        if result.score is not None:
            results_by_value.setdefault(result.key[position], []).append(result)
    mean_ranks = {value: mean(result.rank for result in results) for value, results in results_by_value.items()}
    rows = []
    for value in sorted(mean_ranks, key=lambda value: mean_ranks[value]):
        results = results_by_value[value]
        num_wins = sum(result.wins for result in results)
        rows.append((value, f"{mean_ranks[value]:.1f}", str(num_wins), str(len(results))))
    return Table("ranks over all blocks", (comparison.compared_key, "mean rank", "wins", "cells"), rows)


def write_csv(path: Path, comparison: Comparison) -> None:
    """Write the numbers behind all tables, unrounded: one row per cell, empty where there is no number."""
    head = (
        *comparison.by, "runs", "failed", "miou", "low", "high", "difference", "difference_low", "difference_high",
        "p", "p_holm", "rank", "wins", *COSTS, *(f"iou_{name}" for name in comparison.evaluation_set.classes),
    )  # fmt: skip
    num_classes = len(comparison.evaluation_set.classes)
    rows = (
        (*result.key, len(result.cell.runs), len(result.cell.failed), *_csv_numbers(result, num_classes))
        for result in comparison.results
    )
    write_table(path, head, rows)


def _csv_numbers(result: CellResult, num_classes: int) -> Iterator[float | str]:
    """The numbers of a cell in the order of the CSV's columns, from miou on; empty where there is none."""
    score, gap = result.score, result.difference
    numbers = [
        *((score.mean, score.low, score.high) if score else (None,) * 3),
        *((gap.mean, gap.low, gap.high, gap.p_value, result.corrected_p) if gap else (None,) * 5),
        *((result.rank, result.wins) if score else (None,) * 2),
        *(result.cost.get(key) for key in COSTS),
        *(result.class_ious or (None,) * num_classes),
    ]
    return ("" if number is None or math.isnan(number) else number for number in numbers)


def score_text(score: Estimate | None) -> str:
    """A score in percent with its interval: 79.4 (78.0 to 80.7)"""
    return f"{percent(score.mean)}{interval_text(score)}" if score else "–"


def interval_text(estimate: Estimate) -> str:
    """An interval in percent, empty if there is none."""
    if math.isnan(estimate.low):
        return ""
    return f" ({percent(estimate.low)} to {percent(estimate.high)})"


def p_text(p_value: float) -> str:
    """A p-value, empty if there is none."""
    if math.isnan(p_value):
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _difference_text(difference: Difference | None) -> str:
    return f"{100 * difference.mean:+.1f}{interval_text(difference)}" if difference else ""
