"""Confidence intervals and p-values of scores and of their differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from segrun.comparison.bootstrap import CONFIDENCE_LEVEL, BootstrapSample, resample_seeds
from segrun.comparison.iou import Floats

SIGNIFICANCE_LEVEL = 0.05
SMALLEST_P = 1e-15  # smaller p-values are reported as 0


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval. `low` and `high` are NaN if there is only one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference of means. `p_value` is two-sided, NaN if one of both has only one seed."""

    p_value: float


def estimate_mean(sample: BootstrapSample) -> Estimate:
    """The mean over the seeds, with Student's t interval. `difference` also accounts for the choice of test images."""
    mean, num_seeds = float(sample.scores.mean()), len(sample.seeds)
    if num_seeds < 2:
        return Estimate(mean, math.nan, math.nan)
    t = stdtrit(num_seeds - 1, (1 + CONFIDENCE_LEVEL) / 2)
    half_width = float(t * sample.scores.std(ddof=1) / np.sqrt(num_seeds))
    return Estimate(mean, mean - half_width, mean + half_width)


def difference(sample: BootstrapSample, baseline: BootstrapSample, seed: int = 0) -> Difference:
    """The difference sample - baseline, by a bootstrap of seeds and images at once (Efron & Tibshirani, 1993).

    It is paired by image, and also by seed if both have the same seeds. The standard error is compared with Student's
    t, because a bootstrap of three seeds alone is too narrow: deviations over n seeds are stretched by √(n / (n - 1)),
    and the t quantiles for the seeds and for the images are weighted by their shares of the variance (Cochran & Cox,
    1950). The p-value is that of the interval that ends at 0.
    """
    gap = float(sample.scores.mean() - baseline.scores.mean())
    if min(len(sample.seeds), len(baseline.seeds)) < 2:
        return Difference(gap, math.nan, math.nan, math.nan)
    groups = _seed_groups(sample, baseline)
    rng = np.random.default_rng(seed)
    resampled = [resample_seeds(draws, rng) for _, draws in groups]
    variance = float(np.var(sum(resampled), ddof=1, dtype=np.float64))
    if variance == 0:
        return Difference(gap, gap, gap, float(gap == 0))
    variances = [scores.var(ddof=1) / len(scores) for scores, _ in groups]
    variances.append(max(0.0, variance - sum(variances)))  # what remains comes from the choice of images
    degrees_of_freedom = [*(len(scores) - 1 for scores, _ in groups), max(1, sample.num_images - 1)]

    def critical_value(p: float) -> float:
        """The half width of the interval of level 1 - p, in standard errors."""
        return float(-np.dot(variances, stdtrit(degrees_of_freedom, p / 2)) / sum(variances))

    standard_error = float(np.sqrt(sum(variances)))
    half_width = standard_error * critical_value(1 - CONFIDENCE_LEVEL)
    statistic = abs(gap) / standard_error
    p_value = 0.0
    if critical_value(SMALLEST_P) > statistic:
        p_value = brentq(lambda p: critical_value(p) - statistic, SMALLEST_P, 1)
    return Difference(gap, gap - half_width, gap + half_width, p_value)


def _seed_groups(sample: BootstrapSample, baseline: BootstrapSample) -> list[tuple[Floats, Floats]]:
    """Scores and draws whose seeds are resampled together: the paired differences, or both samples on their own."""
    if sorted(sample.seeds) != sorted(baseline.seeds):
        return [(sample.scores, sample.draws), (-baseline.scores, -baseline.draws)]
    order = [baseline.seeds.index(seed) for seed in sample.seeds]
    return [(sample.scores - baseline.scores[order], sample.draws - baseline.draws[order])]


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple comparisons (Holm, 1979).

    If differences with a corrected p-value below 0.05 are called significant, the chance of one or more false calls is
    at most 5 %. NaN stays NaN and does not count as a comparison.
    """
    ordered = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, index) in enumerate(ordered):
        largest = max(largest, min(1.0, p * (len(ordered) - rank)))
        corrected[index] = largest
    return corrected
