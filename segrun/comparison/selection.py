"""Choosing the values of some keys by the score on val."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from segrun.comparison.cells import Key, cell_name, finished_by_seed, group_by
from segrun.comparison.runs import Run
from segrun.errors import RequestError, join_names


def select_by_val(runs: Sequence[Run], by: Sequence[str], keys: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Keep, per cell, the runs with the values of `keys` whose mean IoU on val is highest.

    Means are taken over the seeds that all values have in common.

    Args:
        runs: Finished and failed runs.
        by: The keys that name cells.
        keys: The keys whose values are chosen.

    Returns:
        The runs that are kept, and notes that name the chosen values.

    Raises:
        RequestError: The values have no seed in common.
    """
    kept: list[Run] = []
    notes: list[str] = []
    for cell_key, group in group_by(runs, by).items():
        runs_by_values = group_by(group, keys)
        seeds_by_values = {values: finished_by_seed(subgroup) for values, subgroup in runs_by_values.items()}
        finished = {values: seeds for values, seeds in seeds_by_values.items() if seeds}
        if not finished:
            kept += group
            continue
        name = cell_name(by, cell_key)
        common_seeds = sorted(set.intersection(*(set(seeds) for seeds in finished.values())))
        if not common_seeds:
            raise RequestError(f"choose={join_names(keys)}: the runs of {name} have no seed in common.")
        best = _best_values(finished, common_seeds)
        kept += runs_by_values[best]
        chosen = ", ".join(f"{key}={value}" for key, value in zip(keys, best, strict=True))
        note = f"{name}: {chosen}, the best of {len(finished)} by val (seeds {join_names(common_seeds)})"
        num_unfinished = len(runs_by_values) - len(finished)
        notes.append(f"{note}; {num_unfinished} without a finished run" if num_unfinished else note)
    return kept, notes


def _best_values(finished: Mapping[Key, Mapping[str, Sequence[Run]]], seeds: Sequence[str]) -> Key:
    """The values with the highest mean val mIoU over `seeds`; of several runs of a seed the last one counts."""
    val_scores = {values: mean(by_seed[seed][-1].val_miou for seed in seeds) for values, by_seed in finished.items()}
    return max(val_scores, key=lambda values: val_scores[values])
