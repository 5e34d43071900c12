"""The result of a comparison."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from segrun.comparison.cells import Cell, Key, cell_name, make_blocks, without
from segrun.comparison.label_efficiency import LabelEquivalent, LearningCurve, LearningCurvePoint, label_equivalents
from segrun.comparison.runs import EvaluationSet
from segrun.comparison.scoring import CellResult


@dataclass(frozen=True)
class Comparison:
    """The scores of all cells and how they differ from the baseline.

    Attributes:
        by: The keys that name cells.
        compared_key: The one of them that the baseline is a value of. Cells that agree in all others form a block.
        baseline: The value that the others are compared with.
        evaluation_set: What all runs were scored on.
        split: The split of it, test or val.
        results: The cells, block by block.
        missing: (cell, seed) of runs that other cells have.
        notes: Notes for the user.
    """

    by: tuple[str, ...]
    compared_key: str
    baseline: str
    evaluation_set: EvaluationSet
    split: str
    results: tuple[CellResult, ...]
    missing: tuple[tuple[Cell, str], ...]
    notes: tuple[str, ...]

    @cached_property
    def blocks(self) -> dict[Key, list[CellResult]]:
        """The cells of each block, the best first."""
        blocks = make_blocks(self.results, self.by.index(self.compared_key))
        return {key: sorted(results, key=lambda result: result.rank) for key, results in blocks.items()}

    @cached_property
    def learning_curves(self) -> dict[Key, LearningCurve]:
        """Scores by the number of labelled images, for all values of the other keys; none for a single number."""
        if "labels" not in self.by:
            return {}
        curves: defaultdict[Key, dict[int, LearningCurvePoint]] = defaultdict(dict)
        position = self.by.index("labels")
        for result in self.results:
            if result.point:
                first_run = next(iter(result.cell.runs.values()))
                curves[without(result.key, position)][first_run.num_images("train")] = result.point
        return {key: curve for key, curve in curves.items() if len(curve) > 1}

    @cached_property
    def label_equivalents(self) -> list[LabelEquivalent]:
        """How many labels of the baseline the labels of each learning curve are worth."""
        if self.compared_key == "labels":
            return []
        equivalents: list[LabelEquivalent] = []
        by = [key for key in self.by if key != "labels"]
        position = by.index(self.compared_key)
        for key, curve in self.learning_curves.items():
            baseline_key = (*key[:position], self.baseline, *key[position + 1 :])
            if key != baseline_key and baseline_key in self.learning_curves:
                baseline_curve = self.learning_curves[baseline_key]
                equivalents += label_equivalents(cell_name(by, key), curve, cell_name(by, baseline_key), baseline_curve)
        return equivalents
