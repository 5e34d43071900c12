"""Whether one way of training is better than another: over its seeds and over the test images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

Counts = NDArray[np.int64]  # (images, classes, 3) tp, fp, fn of one run
Floats = NDArray[np.floating[Any]]
DRAWS = 10_000
BLOCK = 1 << 20  # numbers of a block of draws: memory stays flat for large test sets
WIDTH = 100  # draws of one product: small ones are not shared out among threads, which cost more than they bring
LEVEL = 0.95
LEAST = 1e-15  # p values below it are 0


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; NaN ends where one seed alone says nothing of it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """p: two-sided, of no difference; NaN where one of both has one seed."""

    p: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """Runs that differ in their seed alone. scores: (seeds,) mean IoU; draws: (seeds, draws), the same on test images
    drawn with replacement; images: how many there are."""

    seeds: tuple[str, ...]
    scores: Floats
    draws: Floats
    images: int


def class_ious(counts: NDArray[np.generic]) -> Floats:
    """(…, 3) summed counts → (…) IoU; NaN where a class is neither in truth nor in predictions (see metrics.Scores)."""
    return _ratio(np.asarray(counts[..., 0], np.float64), counts.sum(-1))


def mean_iou(counts: NDArray[np.generic]) -> Floats:
    """(…, classes, 3) summed counts → (…) mean over the classes that have an IoU."""
    return _mean_iou(np.asarray(counts[..., 0], np.float64), counts.sum(-1), -1)


def _mean_iou(hit: Floats, union: Floats, classes: int) -> Floats:
    found = union > 0
    ious = np.divide(hit, union, out=np.zeros_like(hit), where=found)
    return _ratio(ious.sum(classes), found.sum(classes))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0))


def resampled(runs: Mapping[str, Counts], draws: int = DRAWS, seed: int = 0) -> Resampled:
    """runs: by seed, of the same test images. Equal `seed`s draw equal images, so that cells are compared in pairs.
    Images without a labelled pixel are not drawn: they say nothing."""
    counts = np.stack(list(runs.values()))
    counts = counts[:, counts.any((0, 2, 3))]
    seeds, images, classes, _ = counts.shape
    both = np.stack([counts[..., 0], counts.sum(-1)])  # hit and union, (2, seeds, images, classes)
    flat = np.moveaxis(both, 2, 3).reshape(-1, images).astype(np.float32)
    drawn = []
    for often in _images_drawn(images, draws, seed):
        hit, union = np.moveaxis((flat @ often).reshape(-1, 2, seeds, classes, WIDTH), 1, 0)
        drawn.append(_mean_iou(hit, union, -2))
    means = np.moveaxis(np.concatenate(drawn), 1, 0).reshape(seeds, -1)
    return Resampled(tuple(runs), mean_iou(counts.sum(1)), means[:, :draws], images)


def _images_drawn(images: int, draws: int, seed: int) -> Iterator[Floats]:
    """(n, images, WIDTH): how often each image is drawn, WIDTH times; in parts."""
    count, size = math.ceil(draws / WIDTH), max(1, BLOCK // (images * WIDTH))
    for start in range(0, count, size):
        yield _often(images, min(size, count - start), seed, start)


@lru_cache(maxsize=64)  # all cells of a comparison have the same: 256 MB at most
def _often(images: int, count: int, seed: int, start: int) -> Floats:
    rng = np.random.default_rng((seed, start))
    often = rng.multinomial(images, np.full(images, 1 / images), size=(count, WIDTH))
    return np.ascontiguousarray(often.swapaxes(1, 2), np.float32)


def estimate(cell: Resampled) -> Estimate:
    """Over the seeds, by Student's t; what other test images would do stands in `difference`."""
    mean, count = float(cell.scores.mean()), len(cell.seeds)
    if count < 2:
        return Estimate(mean, float("nan"), float("nan"))
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2) * cell.scores.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - reach, mean + reach)


def difference(one: Resampled, other: Resampled, seed: int = 0) -> Difference:
    """one - other: a bootstrap of seeds and images at once (Efron & Tibshirani, 1993), paired by image, and by seed
    where both have the same.

    Its standard error is measured against Student's t, since three seeds drawn from three are too much alike: their
    deviations are stretched by √(n/(n-1)), and the t for n seeds and that for the images are weighed by what each of
    them has of the variance (Cochran & Cox, 1950). p is that of the interval which ends at 0.
    """
    gap = float(one.scores.mean() - other.scores.mean())
    if min(len(one.seeds), len(other.seeds)) < 2:
        return Difference(gap, float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    if sorted(one.seeds) == sorted(other.seeds):
        order = [other.seeds.index(each) for each in one.seeds]
        cells: list[tuple[Floats, Floats]] = [(one.scores - other.scores[order], one.draws - other.draws[order])]
    else:
        cells = [(one.scores, one.draws), (-other.scores, -other.draws)]
    variance = float(np.var(sum(_of_seeds(draws, rng) for _, draws in cells), ddof=1, dtype=np.float64))
    if variance == 0:
        return Difference(gap, gap, gap, float(gap == 0))
    shares = [scores.var(ddof=1) / len(scores) for scores, _ in cells]
    shares.append(max(0.0, variance - sum(shares)))  # what the images have of it
    freedom = [*(len(scores) - 1 for scores, _ in cells), max(1, one.images - 1)]

    def errors(p: float) -> float:
        """How many standard errors lie between the middle and the ends of the interval of 1 - p."""
        return float(-np.dot(shares, stdtrit(freedom, p / 2)) / sum(shares))

    error = float(np.sqrt(sum(shares)))
    reach, beyond = error * errors(1 - LEVEL), abs(gap) / error
    p = brentq(lambda p: errors(p) - beyond, LEAST, 1) if errors(LEAST) > beyond else 0.0
    return Difference(gap, gap - reach, gap + reach, p)


def seed_means(cell: Resampled, seed: int = 0) -> Floats:
    """(draws,) mean scores over seeds and images drawn with replacement; in pairs where cells have as many seeds. The
    seeds' part is as wide as Student's t makes it, so that 95 % of the draws are an interval for few seeds, too."""
    wider = float(stdtrit(len(cell.seeds) - 1, (1 + LEVEL) / 2) / ndtri((1 + LEVEL) / 2))
    return _of_seeds(cell.draws, np.random.default_rng(seed), wider)


def _of_seeds(draws: Floats, rng: np.random.Generator, wider: float = 1.0) -> Floats:
    """(seeds, draws) → (draws,) means over seeds drawn with replacement."""
    count, width = draws.shape
    chosen = draws[rng.integers(count, size=(count, width)), np.arange(width)].mean(0)
    mean = draws.mean(0)
    return np.asarray(mean + (chosen - mean) * (wider * np.sqrt(count / (count - 1))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected so that below 0.05 one or more of all comparisons are called by chance with 5 % at most (Holm, 1979);
    NaN stays and counts for nothing."""
    order = sorted((p, place) for place, p in enumerate(p_values) if p == p)
    corrected, largest = [float("nan")] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[place] = largest
    return corrected
