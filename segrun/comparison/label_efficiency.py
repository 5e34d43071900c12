"""How many labels of the baseline are worth as much as the labels of another cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segrun.comparison.bootstrap import CONFIDENCE_LEVEL
from segrun.comparison.iou import Floats


@dataclass(frozen=True, eq=False)
class LearningCurvePoint:
    """The scores at one number of labelled images.

    Attributes:
        scores: (seeds,) mean IoU.
        mean_draws: (draws,) mean IoU over seeds and images that are drawn with replacement; None for a single seed.
    """

    scores: Floats
    mean_draws: Floats | None


LearningCurve = Mapping[int, LearningCurvePoint]  # by the number of labelled images


@dataclass(frozen=True)
class LabelEquivalent:
    """How many labels the baseline needs for the score of another cell.

    Attributes:
        name: The cell.
        baseline: The baseline.
        labels: Number of labelled images of the cell.
        equivalent: Number of labelled images with which the baseline scores the same. -inf: its score with the fewest
            is already higher; inf: its score with the most is lower.
        low: Lower end of the 95 % interval of `equivalent`; NaN if there is only one seed.
        high: Upper end of it.
        measured: Fewest and most labelled images that the baseline was trained on.
    """

    name: str
    baseline: str
    labels: int
    equivalent: float
    low: float
    high: float
    measured: tuple[int, int]


def label_equivalents(
    name: str, curve: LearningCurve, baseline: str, baseline_curve: LearningCurve
) -> list[LabelEquivalent]:
    """For each point of `curve`, the labels with which the baseline scores the same. Nothing is extrapolated."""
    counts = sorted(baseline_curve)
    points = [baseline_curve[count] for count in counts]
    baseline_scores = np.array([[point.scores.mean()] for point in points])
    draws = [point.mean_draws for point in points if point.mean_draws is not None]
    baseline_draws = np.stack(draws) if len(draws) == len(points) else None
    equivalents = []
    for labels, point in sorted(curve.items()):
        low = high = math.nan
        if baseline_draws is not None and point.mean_draws is not None:
            low, high = _interval(labels_to_reach(point.mean_draws, counts, baseline_draws))
        equivalent = float(labels_to_reach(np.array([point.scores.mean()]), counts, baseline_scores)[0])
        equivalents.append(LabelEquivalent(name, baseline, labels, equivalent, low, high, (counts[0], counts[-1])))
    return equivalents


def _interval(draws: Floats) -> tuple[float, float]:
    """The 95 % interval of draws that may be infinite, which rules out interpolating between them."""
    tails = [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2]
    low, high = np.quantile(draws, tails, method="nearest")
    return float(low), float(high)


def labels_to_reach(scores: Floats, counts: Sequence[int], curve: Floats) -> Floats:
    """The fewest labels with which a learning curve reaches each score.

    Between neighbouring points the curve is a straight line in the logarithm of the labels.

    Args:
        scores: (draws,) the scores to reach.
        counts: The numbers of labels of the curve's points, ascending.
        curve: (points, draws) the scores of the curve.

    Returns:
        (draws,) numbers of labels. -inf if the first point lies above the score, inf if no point reaches it.
    """
    log_counts, draws = np.log(counts), np.arange(len(scores))
    is_below = curve < scores
    is_crossing = is_below[:-1] & ~is_below[1:]
    left = is_crossing.argmax(0)
    low, high = curve[left, draws], curve[left + 1, draws]
    crosses = is_crossing[left, draws]
    fraction = np.divide(scores - low, high - low, out=np.zeros_like(scores), where=crosses)
    interpolated = np.exp(log_counts[left] + fraction * (log_counts[left + 1] - log_counts[left]))
    labels = np.where(crosses, interpolated, np.inf)
    labels = np.where(curve[0] == scores, counts[0], labels)
    return np.asarray(np.where(curve[0] > scores, -np.inf, labels))
