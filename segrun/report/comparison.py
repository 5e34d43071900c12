"""The findings of a comparison in sentences."""

from __future__ import annotations

import math

from segrun.comparison.comparison import Comparison
from segrun.comparison.label_efficiency import LabelEquivalent
from segrun.comparison.scoring import CellResult
from segrun.comparison.significance import SIGNIFICANCE_LEVEL, Difference, Estimate
from segrun.errors import join_names
from segrun.report.comparison_tables import interval_text, p_text, score_text
from segrun.report.formats import percent


def all_sentences(comparison: Comparison) -> list[str]:
    """Which cell is best, whether that is certain, and what labels are worth."""
    return [*answer_sentences(comparison), *label_sentences(comparison)]


def answer_sentences(comparison: Comparison) -> list[str]:
    """Which cell is best, and whether that is certain."""
    return [*_best_of_blocks(comparison), *_differences(comparison), *_limits(comparison)]


def label_sentences(comparison: Comparison) -> list[str]:
    """How many labels of the baseline the labels of other cells are worth."""
    return [label_sentence(equivalent) for equivalent in comparison.label_equivalents]


def failure_lines(comparison: Comparison) -> list[str]:
    """The failed runs, and the missing ones."""
    lines = []
    for result in comparison.results:
        for run in result.cell.failed:
            lines.append(f"failed: {result.cell}: {run.error or 'has not finished'} ({run.folder})")
    return [*lines, *(f"missing: {cell}, seed {seed}" for cell, seed in comparison.missing)]


def label_sentence(equivalent: LabelEquivalent) -> str:
    """For example: l2sp with 20 labels scores like finetune with 45 (38–60)."""
    fewest, most = equivalent.measured
    subject, baseline = f"{equivalent.name} with {equivalent.labels} labels", equivalent.baseline
    if equivalent.equivalent == math.inf:
        return f"{subject} scores above {baseline} with {most}, the most measured"
    if equivalent.equivalent == -math.inf:
        return f"{subject} scores below {baseline} with {fewest}, the fewest measured"
    sentence = f"{subject} scores like {baseline} with {equivalent.equivalent:.0f}"
    if math.isnan(equivalent.low):
        return sentence
    return f"{sentence} ({_label_bound(equivalent, equivalent.low)}–{_label_bound(equivalent, equivalent.high)})"


def _label_bound(equivalent: LabelEquivalent, bound: float) -> str:
    """An end of the interval: a number, or that it lies beyond what was measured."""
    fewest, most = equivalent.measured
    if bound == -math.inf:
        return f"<{fewest}"
    return f">{most}" if bound == math.inf else f"{bound:.0f}"


def _best_of_blocks(comparison: Comparison) -> list[str]:
    sentences = []
    for results in comparison.blocks.values():
        best = results[0]
        if best.score and len(results) > 1:
            sentences.append(f"{best.cell} has the highest mean of {len(results)}: {score_text(best.score)} % mIoU.")
    return sentences


def _differences(comparison: Comparison) -> list[str]:
    """The significant differences from the baseline, and the number of the others."""
    tested = _tested(comparison)
    significant = [(result, gap) for result, gap in tested if result.corrected_p < SIGNIFICANCE_LEVEL]
    sentences = [_difference_sentence(result, gap, comparison.baseline) for result, gap in significant]
    num_others = len(tested) - len(significant)
    if num_others:
        sentences.append(
            f"In {num_others} of {len(tested)} comparisons no difference from {comparison.baseline} is significant "
            f"(p ≥ {SIGNIFICANCE_LEVEL}); that does not prove that there is none."
        )
    return sentences


def _difference_sentence(result: CellResult, difference: Difference, baseline: str) -> str:
    word, amount = "better", Estimate(difference.mean, difference.low, difference.high)
    if difference.mean < 0:
        word, amount = "worse", Estimate(-difference.mean, -difference.high, -difference.low)
    p = p_text(result.corrected_p)
    relation = p if p.startswith("<") else f"= {p}"
    points = f"{percent(amount.mean)} points{interval_text(amount)}"
    return f"{result.cell} is {word} than {baseline} by {points}, p {relation}."


def _limits(comparison: Comparison) -> list[str]:
    """What the number of seeds and the scored split do not allow to conclude."""
    sentences = []
    tested = _tested(comparison)
    if tested and min(len(result.cell.runs) for result, _ in tested) == 2:
        sentences.append("Two seeds give intervals three times as wide as three seeds do (Student's t).")
    single_seed = [str(result.cell) for result in comparison.results if len(result.cell.runs) == 1]
    if single_seed:
        sentences.append(f"Only one seed, so no interval and no test: {join_names(single_seed)}.")
    if comparison.split == "val":
        sentences.append(
            "All runs are scored on val, which also chose their epochs: expect lower scores on new images."
        )
    return sentences


def _tested(comparison: Comparison) -> list[tuple[CellResult, Difference]]:
    """The cells whose difference from the baseline has a p-value, with that difference."""
    return [
        (result, result.difference)
        for result in comparison.results
        if result.difference and not math.isnan(result.corrected_p)
    ]
