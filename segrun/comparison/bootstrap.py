"""The bootstrap over test images and seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit

from segrun.comparison.iou import Counts, Floats, mean_iou, mean_of_ratios

DRAWS = 10_000
CONFIDENCE_LEVEL = 0.95
BLOCK_ELEMENTS = 1 << 20  # numbers in a block of draws: memory use does not grow with the test set
DRAWS_PER_PRODUCT = 100  # a matrix product this small runs on one thread; more threads would cost more than they save


@dataclass(frozen=True, eq=False)
class BootstrapSample:
    """Scores of runs that differ only in their seed.

    Attributes:
        seeds: Names of the seeds.
        scores: (seeds,) mean IoU of each run on the test set.
        draws: (seeds, draws) mean IoU of each run on test images drawn with replacement.
        num_images: Number of test images with at least one labelled pixel.
    """

    seeds: tuple[str, ...]
    scores: Floats
    draws: Floats
    num_images: int


def bootstrap_images(counts_by_seed: Mapping[str, Counts], num_draws: int = DRAWS, seed: int = 0) -> BootstrapSample:
    """Score runs on test images drawn with replacement.

    Images without a labelled pixel are not drawn, because they do not affect any score.

    Args:
        counts_by_seed: Counts of each run, (images, classes, 3), all on the same test images.
        num_draws: Number of bootstrap draws.
        seed: Equal seeds draw equal images, so that cells can be compared in pairs.
    """
    counts = np.stack(list(counts_by_seed.values()))
    counts = counts[:, counts.any((0, 2, 3))]
    num_seeds, num_images, num_classes, _ = counts.shape
    terms = np.stack([counts[..., 0], counts.sum(-1)])  # intersection and union, (2, seeds, images, classes)
    terms = np.moveaxis(terms, 2, 3).reshape(-1, num_images).astype(np.float32)
    blocks = []
    for multiplicities in _draw_images(num_images, num_draws, seed):
        sums = (terms @ multiplicities).reshape(-1, 2, num_seeds, num_classes, DRAWS_PER_PRODUCT)
        intersection, union = np.moveaxis(sums, 1, 0)
        blocks.append(mean_of_ratios(intersection, union, -2))
    draws = np.moveaxis(np.concatenate(blocks), 1, 0).reshape(num_seeds, -1)
    return BootstrapSample(tuple(counts_by_seed), mean_iou(counts.sum(1)), draws[:, :num_draws], num_images)


def _draw_images(num_images: int, num_draws: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, in blocks of shape (products, num_images, DRAWS_PER_PRODUCT)."""
    num_products = math.ceil(num_draws / DRAWS_PER_PRODUCT)
    products_per_block = max(1, BLOCK_ELEMENTS // (num_images * DRAWS_PER_PRODUCT))
    for start in range(0, num_products, products_per_block):
        yield _multiplicities(num_images, min(products_per_block, num_products - start), seed, start)


@lru_cache(maxsize=64)  # all cells of a comparison draw the same images; 256 MB at most
def _multiplicities(num_images: int, num_products: int, seed: int, start: int) -> Floats:
    rng = np.random.default_rng((seed, start))
    probabilities = np.full(num_images, 1 / num_images)
    multiplicities = rng.multinomial(num_images, probabilities, size=(num_products, DRAWS_PER_PRODUCT))
    return np.ascontiguousarray(multiplicities.swapaxes(1, 2), np.float32)


def means_over_seeds(sample: BootstrapSample, seed: int = 0) -> Floats:
    """Mean scores over seeds and images that are both drawn with replacement.

    The part of the seeds is widened to Student's t, so that 95 % of the draws are a 95 % interval for few seeds too.
    Samples with equally many seeds draw the same seeds, so that they can be compared in pairs.

    Returns:
        (draws,) mean scores.
    """
    upper_tail = (1 + CONFIDENCE_LEVEL) / 2
    widening = float(stdtrit(len(sample.seeds) - 1, upper_tail) / ndtri(upper_tail))
    return resample_seeds(sample.draws, np.random.default_rng(seed), widening)


def resample_seeds(draws: Floats, rng: np.random.Generator, widening: float = 1.0) -> Floats:
    """Means over seeds drawn with replacement.

    Their deviations are stretched by √(n / (n - 1)), since n seeds drawn from n vary too little, and by `widening`.

    Args:
        draws: (seeds, draws).

    Returns:
        (draws,).
    """
    num_seeds, num_draws = draws.shape
    seed_indices = rng.integers(num_seeds, size=(num_seeds, num_draws))
    resampled_mean = draws[seed_indices, np.arange(num_draws)].mean(0)
    mean = draws.mean(0)
    return np.asarray(mean + (resampled_mean - mean) * (widening * np.sqrt(num_seeds / (num_seeds - 1))))
