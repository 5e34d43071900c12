"""Comparing runs: the scores and cost of each cell, and its difference from the baseline."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from segrun.comparison.bootstrap import DRAWS, BootstrapSample
from segrun.comparison.budgets import budget_notes, check_equal_budgets
from segrun.comparison.cells import Cell, complete_blocks, distinguishing_keys, make_blocks, make_cells
from segrun.comparison.comparison import Comparison
from segrun.comparison.refusals import check_known_keys, check_one_split, no_finished_run
from segrun.comparison.runs import Run
from segrun.comparison.scoring import CellResult, CellScorer
from segrun.comparison.selection import select_by_val
from segrun.comparison.significance import difference, holm_correction
from segrun.errors import RequestError, join_names

DEFAULT_BASELINE = "finetune"  # if none is named and there is one


def compare(
    runs: Sequence[Run],
    by: Sequence[str] = (),
    baseline: str | None = None,
    choose: Sequence[str] = (),
    num_draws: int = DRAWS,
) -> Comparison:
    """Compare runs.

    Args:
        runs: Finished and failed runs.
        by: The keys that name cells; empty for the fewest keys that tell the runs apart.
        baseline: The value that the others are compared with; None for finetune, or else the first.
        choose: Keys whose values are chosen by val.
        num_draws: Number of bootstrap draws.

    Raises:
        RequestError: The runs cannot be compared (other test images, masks, classes or budgets), or a key or the
            baseline is unknown.
    """
    if not any(run.result and run.settings for run in runs):
        raise no_finished_run(runs)
    notes = [f"left out, because it has no config: {run.folder} ({run.error})" for run in runs if not run.settings]
    runs = [run for run in runs if run.settings]
    check_one_split(runs)
    check_known_keys(runs, by, choose)
    if choose:
        by = by or [key for key in distinguishing_keys(runs) if key not in choose]
        runs, selection_notes = select_by_val(runs, by, choose)
        notes += selection_notes
    by = by or distinguishing_keys(runs)
    cells, cell_notes = make_cells(runs, by)
    compared_key, baseline = _find_baseline(cells, by, baseline)
    position = by.index(compared_key)
    check_equal_budgets(cells, by, position)
    scorer = CellScorer(num_draws, with_mean_draws="labels" in by)
    results = _score_cells(scorer, complete_blocks(cells, by, position), position, baseline)
    if scorer.reference is None:
        raise no_finished_run([run for result in results for run in result.cell.failed])
    return Comparison(
        by=tuple(by),
        compared_key=compared_key,
        baseline=baseline,
        evaluation_set=scorer.evaluation_set,
        split=scorer.reference.scored_split,
        results=tuple(results),
        missing=tuple(_missing_runs(results)),
        notes=(*notes, *cell_notes, *budget_notes(cells, by)),
    )


def _find_baseline(cells: Sequence[Cell], by: Sequence[str], requested: str | None) -> tuple[str, str]:
    """The key that the baseline is a value of, and the baseline."""
    values_by_key = {key: [cell.key[position] for cell in cells] for position, key in enumerate(by)}
    baseline = DEFAULT_BASELINE if requested is None else requested
    for key, values in values_by_key.items():
        if baseline in values:
            return key, baseline
    if requested is None:
        return by[0], cells[0].key[0]
    known = dict.fromkeys(value for values in values_by_key.values() for value in values)
    raise RequestError(f"baseline={requested}: must be one of the compared values: {join_names(known)}.")


def _score_cells(scorer: CellScorer, cells: Sequence[Cell], position: int, baseline: str) -> list[CellResult]:
    """The results of all cells, block by block, with p-values that are corrected over all of them."""
    results: list[CellResult] = []
    for block in make_blocks(cells, position).values():
        results += _compare_block([scorer.score(cell) for cell in block], position, baseline)
    p_values = [result.difference.p_value if result.difference else math.nan for result in results]
    corrected = holm_correction(p_values)
    return [replace(result, corrected_p=p) for result, p in zip(results, corrected, strict=True)]


def _compare_block(
    scored: Sequence[tuple[CellResult, BootstrapSample | None]], position: int, baseline: str
) -> list[CellResult]:
    """The results of a block with differences, ranks and wins."""
    results = [result for result, _ in scored]
    baseline_sample = next((sample for result, sample in scored if result.key[position] == baseline), None)
    means = [result.score.mean if result.score else -1.0 for result in results]
    wins = _count_wins(results)
    compared = []
    for index, (result, sample) in enumerate(scored):
        from_baseline = None
        if sample is not None and baseline_sample is not None and sample is not baseline_sample:
            from_baseline = difference(sample, baseline_sample)
        rank = 1 + sum(other > means[index] for other in means)
        compared.append(replace(result, difference=from_baseline, rank=rank, wins=wins[index]))
    return compared


def _count_wins(results: Sequence[CellResult]) -> Counter[int]:
    """By index of the result, the number of seeds in which it has the highest score; of equal scores the first wins."""
    scores_by_seed: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, result in enumerate(results):
        scores = result.point.scores if result.point else ()
        for seed, score in zip(result.cell.runs, scores, strict=True):
            scores_by_seed[seed].append((score, -index))
    return Counter(-max(scores)[1] for scores in scores_by_seed.values())


def _missing_runs(results: Sequence[CellResult]) -> list[tuple[Cell, str]]:
    """The seeds that a cell lacks and another one has."""
    all_seeds = dict.fromkeys(seed for result in results for seed in result.cell.runs)
    missing = []
    for result in results:
        existing = {*result.cell.runs, *(run.seed for run in result.cell.failed)}
        missing += [(result.cell, seed) for seed in all_seeds if seed not in existing]
    return missing
