"""The scores and cost of each cell. Only scores on the same images, masks and classes are put together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from segrun.comparison.bootstrap import BootstrapSample, bootstrap_images, means_over_seeds
from segrun.comparison.cells import Cell, Key
from segrun.comparison.iou import Counts, class_ious
from segrun.comparison.label_efficiency import LearningCurvePoint
from segrun.comparison.runs import EvaluationSet, Run
from segrun.comparison.significance import Difference, Estimate, estimate_mean
from segrun.errors import DataError, RequestError, join_names

COSTS = ("parameters_trained", "seconds", "peak_memory_bytes", "images_per_second", "checkpoint_bytes")


@dataclass(frozen=True)
class CellResult:
    """A cell with its scores. Those are None, NaN or empty if no run of the cell has finished.

    Attributes:
        cell: The cell.
        score: Mean IoU over the seeds.
        point: The same with the values of each seed, as a point of a learning curve.
        class_ious: Mean IoU of each class over the seeds; NaN for a class that is neither in truth nor in predictions.
        cost: Medians over the seeds, see COSTS.
        difference: From the baseline of the block; None for the baseline itself and without one.
        corrected_p: The p-value of the difference after Holm's correction.
        rank: By mean IoU among the cells of the block, from 1.
        wins: The number of seeds in which the cell has the highest score of its block.
    """

    cell: Cell
    score: Estimate | None = None
    point: LearningCurvePoint | None = None
    class_ious: tuple[float, ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    difference: Difference | None = None
    corrected_p: float = math.nan
    rank: int = 0
    wins: int = 0

    @property
    def key(self) -> Key:
        return self.cell.key


class CellScorer:
    """Scores cells one after the other. The first run decides what all others have to be scored on.

    Attributes:
        reference: The first run, None before it was read.
        evaluation_set: The images and classes of the first run.
    """

    def __init__(self, num_draws: int, with_mean_draws: bool) -> None:
        """
        Args:
            num_draws: Number of bootstrap draws.
            with_mean_draws: Whether the draws of each cell's mean are kept, for the intervals of learning curves.
        """
        self.num_draws, self.with_mean_draws = num_draws, with_mean_draws
        self.reference: Run | None = None
        self.evaluation_set = EvaluationSet((), ())
        self._labelled_pixels: Counts = np.zeros((0, 0), np.int64)

    def score(self, cell: Cell) -> tuple[CellResult, BootstrapSample | None]:
        """The result of a cell, and its bootstrap sample, which is too large to be kept for all cells.

        A run whose scores cannot be read counts as failed.

        Raises:
            RequestError: The scores cannot be compared with those of the cells before.
        """
        counts_by_seed: dict[str, Counts] = {}
        failed = list(cell.failed)
        for seed, run in cell.runs.items():
            try:
                evaluation_set, counts = run.read_scores()
            except DataError as error:
                failed.append(replace(run, result={}, error=str(error)))
                continue
            self._check_comparable(run, evaluation_set, counts)
            counts_by_seed[seed] = counts
        cell = replace(cell, runs={seed: cell.runs[seed] for seed in counts_by_seed}, failed=tuple(failed))
        if not counts_by_seed:
            return CellResult(cell), None
        sample = bootstrap_images(counts_by_seed, self.num_draws)
        has_mean_draws = self.with_mean_draws and len(counts_by_seed) > 1
        point = LearningCurvePoint(sample.scores, means_over_seeds(sample) if has_mean_draws else None)
        result = CellResult(cell, estimate_mean(sample), point, _mean_class_ious(counts_by_seed), _median_cost(cell))
        return result, sample

    def _check_comparable(self, run: Run, evaluation_set: EvaluationSet, counts: Counts) -> None:
        labelled_pixels = counts[..., 0] + counts[..., 2]
        if self.reference is None:
            if not labelled_pixels.any():
                raise RequestError(
                    f"{run.folder}: none of its {run.scored_split} images has a labelled pixel, so it has no score."
                )
            self.reference, self.evaluation_set, self._labelled_pixels = run, evaluation_set, labelled_pixels
        reference = self.reference
        _check_equal_names("images", run, reference, evaluation_set.images, self.evaluation_set.images)
        _check_equal_names("classes", run, reference, evaluation_set.classes, self.evaluation_set.classes)
        is_different = (labelled_pixels != self._labelled_pixels).any(1)
        if is_different.any():
            image = evaluation_set.images[int(is_different.argmax())]
            raise RequestError(
                f"{run.folder} and {reference.folder} were scored against different masks of {image}. Train both again "
                "on the same masks, or name runs of one dataset in runs=…"
            )


def _check_equal_names(kind: str, run: Run, reference: Run, names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if names != expected:
        only_in_one = join_names(sorted(set(names) ^ set(expected)), 3)
        raise RequestError(
            f"{run.folder} and {reference.folder} were scored on different {kind} "
            f"({only_in_one or 'the same in another order'}). Name runs with one test set in runs=…"
        )


def _mean_class_ious(counts_by_seed: Mapping[str, Counts]) -> tuple[float, ...]:
    """The mean IoU of each class over the seeds in which it has one."""
    ious = np.stack([class_ious(counts.sum(0)) for counts in counts_by_seed.values()])
    means = []
    for ious_of_class in ious.T:
        defined = ious_of_class[~np.isnan(ious_of_class)]
        means.append(float(np.mean(defined)) if len(defined) else math.nan)
    return tuple(means)


def _median_cost(cell: Cell) -> dict[str, float]:
    """The median over the runs of each cost that all of them state."""
    costs = [run.cost for run in cell.runs.values()]
    stated = [key for key in COSTS if all(cost.get(key) is not None for cost in costs)]
    return {key: float(median(cost[key] for cost in costs)) for key in stated}
