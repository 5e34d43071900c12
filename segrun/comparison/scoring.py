"""What each cell scored and cost; only what was scored on the same images, masks and classes is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from segrun.comparison.bootstrap import (
    Counts,
    Difference,
    Estimate,
    Resampled,
    class_ious,
    estimate,
    resampled,
    seed_means,
)
from segrun.comparison.cells import Cell, Key
from segrun.comparison.efficiency import Point
from segrun.comparison.runs import Run, Test
from segrun.errors import DataError, RequestError, join_names

COSTS = ("parameters_trained", "seconds", "peak_memory_bytes", "images_per_second", "checkpoint_bytes")


@dataclass(frozen=True)
class Row:
    """A cell. score, point: mean IoU over its seeds, None where no run has ended; classes: mean IoU of each class, NaN
    where it is neither in truth nor in predictions; cost: medians over the seeds; difference, corrected: from the
    baseline, and its p after Holm, None and NaN for the baseline itself and without it; rank, wins: by mean score among
    the cells of its block, and in how many seeds it is the best of them."""

    cell: Cell
    score: Estimate | None = None
    point: Point | None = None
    classes: tuple[float, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    difference: Difference | None = None
    corrected: float = float("nan")
    rank: int = 0
    wins: int = 0

    @property
    def key(self) -> Key:
        return self.cell.key


class Scoring:
    """Reads a cell's scores; those of the first run say what all others are to be scored on."""

    def __init__(self, draws: int, curves: bool) -> None:
        """curves: whether cells are to be points of curves, which need their means' draws."""
        self.draws, self.curves = draws, curves
        self.first: Run | None = None
        self.test: Test = ((), ())
        self.truth: Counts = np.zeros((0, 0), np.int64)

    def __call__(self, cell: Cell) -> tuple[Row, Resampled | None]:
        """With its draws, which would take too much memory if all were kept. A run whose scores cannot be read counts
        for one that has failed.

        Raises:
            RequestError: scores that cannot be compared with those before.
        """
        counts: dict[str, Counts] = {}
        failed = list(cell.failed)
        for seed, run in cell.runs.items():
            try:
                test, counts[seed] = run.scores()
            except DataError as error:
                failed.append(replace(run, result={}, error=str(error)))
                continue
            self._check(run, test, counts[seed])
        cell = replace(cell, runs={seed: cell.runs[seed] for seed in counts}, failed=tuple(failed))
        if not counts:
            return Row(cell), None
        sample = resampled(counts, self.draws)
        ious = np.stack([class_ious(each.sum(0)) for each in counts.values()])
        classes = tuple(float(np.mean(seen)) if len(seen := each[~np.isnan(each)]) else np.nan for each in ious.T)
        spent = [run.cost for run in cell.runs.values()]
        cost = {key: float(median(each[key] for each in spent)) for key in COSTS if all(key in each for each in spent)}
        means = seed_means(sample) if self.curves and len(counts) > 1 else None
        return Row(cell, estimate(sample), Point(sample.scores, means), classes, cost), sample

    def _check(self, run: Run, test: Test, counts: Counts) -> None:
        truth = counts[..., 0] + counts[..., 2]
        if self.first is None:
            if not truth.any():
                raise RequestError(
                    f"{run.folder}: none of its {run.split} images has a labelled pixel: no score there."
                )
            self.first, self.test, self.truth = run, test, truth
        for what, one, other in (("images", test[0], self.test[0]), ("classes", test[1], self.test[1])):
            if one != other:
                apart = join_names(sorted({*one} ^ {*other}), 3) or "the same in another order"
                raise RequestError(
                    f"{run.folder} and {self.first.folder} were scored on different {what} ({apart}). Name "
                    "runs of one test set in runs=…"
                )
        if (truth != self.truth).any():
            image = test[0][int((truth != self.truth).any(1).argmax())]
            raise RequestError(
                f"{run.folder} and {self.first.folder} were scored against different masks of {image}. Train them anew "
                "on the same masks, or name runs of one data set in runs=…"
            )
