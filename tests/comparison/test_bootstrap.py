"""Intervals, p values and their correction: against scipy, plain bootstraps, and simulated comparisons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from segrun.comparison.bootstrap import BootstrapSample, bootstrap_images
from segrun.comparison.iou import Counts, class_ious, mean_iou
from segrun.comparison.significance import difference, estimate_mean, holm_correction
from segrun.metrics import Scores
from tests.comparison.synthetic import Study


def test_ious_are_those_of_a_run() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = rng.integers(0, 5, (6, 6)) * rng.integers(0, 2, (6, 6))
        matrix[rng.integers(6)] = 0
        hit = matrix.diagonal()
        counts = np.stack([hit, matrix.sum(0) - hit, matrix.sum(1) - hit], axis=-1)
        scores = Scores.of(torch.from_numpy(matrix), [*"abcdef"])
        np.testing.assert_allclose(class_ious(counts), scores.iou, rtol=1e-12)
        np.testing.assert_allclose(mean_iou(counts), scores.miou, rtol=1e-12)


def test_nothing_counted_has_no_iou() -> None:
    nothing = np.zeros((2, 3, 3), np.int64)
    assert np.isnan(class_ious(nothing)).all() and np.isnan(mean_iou(nothing)).all()


def test_an_interval_is_student_s() -> None:
    for count in (2, 3, 8):
        sample = bootstrap_images(Study(seed=count).runs(count), 100)
        result = estimate_mean(sample)
        expected = stats.t.interval(0.95, count - 1, sample.scores.mean(), stats.sem(sample.scores))
        np.testing.assert_allclose((result.low, result.high), expected, rtol=1e-9)
        assert result.mean == pytest.approx(sample.scores.mean())


def test_one_seed_says_nothing_of_others() -> None:
    study = Study()
    one, five = (bootstrap_images(study.runs(seeds), 100) for seeds in (1, 5))
    assert (
        np.isnan([estimate_mean(one).low, estimate_mean(one).high]).all() and estimate_mean(one).mean == one.scores[0]
    )
    for pair in ((one, five), (five, one), (one, one)):
        result = difference(*pair)
        assert np.isnan([result.low, result.high, result.p_value]).all()
        assert result.mean == pytest.approx(pair[0].scores.mean() - pair[1].scores.mean())


def test_scores_are_exact_and_draws_lie_around_them() -> None:
    runs = Study(images=200).runs(2)
    sample = bootstrap_images(runs, 2000)
    for place, (seed, counts) in enumerate(runs.items()):
        assert (
            sample.scores[sample.seeds.index(seed)]
            == sample.scores[place]
            == pytest.approx(mean_iou(counts.sum(0)), rel=1e-12)
        )
    np.testing.assert_allclose(sample.draws.mean(1), sample.scores, atol=0.003)


def test_draws_are_reproduced_by_their_seed_and_are_the_same_images_for_all() -> None:
    runs = Study().runs(3)
    one, again, other = (bootstrap_images(runs, 500, seed) for seed in (1, 1, 2))
    assert (one.draws == again.draws).all() and (one.draws != other.draws).any()
    assert (one.draws[:1] == bootstrap_images({"0": runs["0"]}, 500, 1).draws).all()
    base = bootstrap_images(Study(seed=3).runs(3), 500, 1)
    assert difference(one, base, 5) == difference(again, base, 5) != difference(one, base, 6)


def test_large_test_sets_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segrun.comparison.bootstrap.BLOCK_ELEMENTS", 20 * 300)
    sample = bootstrap_images(Study().runs(2), 1050)
    assert sample.draws.shape == (2, 1050) and len(np.unique(sample.draws[0])) > 1040
    np.testing.assert_allclose(sample.draws.mean(1), sample.scores, atol=0.01)


def test_images_without_labels_change_nothing() -> None:
    runs = Study().runs(3)
    blank = {seed: np.concatenate([counts, np.zeros_like(counts)]) for seed, counts in runs.items()}
    one, other = (bootstrap_images(each, 500) for each in (runs, blank))
    assert (one.draws == other.draws).all() and one.num_images == other.num_images == 20


def test_where_seeds_alone_differ_it_is_the_paired_t_test() -> None:
    for seeds, effect in ((3, 0.1), (5, 0.05), (8, 0.0)):
        study = Study(images=15, image_sd=0, own_sd=0, seed_sd=0.05, seed=seeds)
        one, other = (bootstrap_images(study.runs(seeds, each)) for each in (effect, 0.0))
        expected = stats.ttest_rel(one.scores, other.scores)
        result = difference(one, other)
        assert result.p_value == pytest.approx(expected.pvalue, rel=0.06)
        interval = expected.confidence_interval()
        np.testing.assert_allclose(
            (result.low - result.mean, result.high - result.mean),
            (interval.low - result.mean, interval.high - result.mean), rtol=0.03,
        )  # fmt: skip


def test_seeds_that_differ_are_not_paired() -> None:
    study = Study(images=15, image_sd=0, own_sd=0, seed_sd=0.05)
    one, other = bootstrap_images(study.runs(4, 0.1)), bootstrap_images(study.runs(6, 0.0, first=10))
    error = np.sqrt(stats.sem(one.scores) ** 2 + stats.sem(other.scores) ** 2)
    result = difference(one, other)
    narrow, wide = (stats.t.ppf(0.975, free) * error for free in (5, 3))
    assert 0.97 * narrow < result.high - result.mean < 1.03 * wide


def test_where_images_alone_differ_it_is_a_paired_bootstrap_of_them() -> None:
    study = Study(images=60, seed_sd=0, own_sd=0.3)
    runs = [next(iter(study.runs(1, effect).values())) for effect in (0.08, 0.0)]
    one, other = (bootstrap_images({str(seed): counts for seed in range(3)}) for counts in runs)
    rng = np.random.default_rng(7)
    gaps = []
    for _ in range(4000):
        drawn = rng.integers(60, size=60)
        gaps.append(float(np.subtract(*(mean_iou(counts[drawn].sum(0)) for counts in runs))))
    result = difference(one, other)
    error = np.std(gaps)
    assert result.high - result.mean == pytest.approx(stats.t.ppf(0.975, 59) * error, rel=0.05)
    assert result.p_value == pytest.approx(2 * stats.t.sf(abs(result.mean) / error, 59), rel=0.25)
    assert result.p_value < 0.2


def test_the_variances_of_seeds_and_of_images_add_up() -> None:
    study = Study(images=60, seed_sd=0.08, own_sd=0.5, seed=1)
    one, other = (study.runs(2, effect) for effect in (0.3, 0.0))
    rng, gaps = np.random.default_rng(7), []
    for _ in range(4000):
        drawn = rng.integers(60, size=60)
        gaps.append(np.mean([mean_iou(one[seed][drawn].sum(0)) - mean_iou(other[seed][drawn].sum(0)) for seed in one]))
    a, b = bootstrap_images(one), bootstrap_images(other)
    seeds, images = np.var(a.scores - b.scores, ddof=1) / 2, np.var(gaps)
    assert 0.3 < seeds / images < 3
    t = (seeds * stats.t.ppf(0.975, 1) + images * stats.t.ppf(0.975, 59)) / (seeds + images)
    result = difference(a, b)
    assert result.high - result.mean == pytest.approx(t * np.sqrt(seeds + images), rel=0.04)


def test_an_interval_ends_at_zero_where_p_is_a_twentieth() -> None:
    study = Study(seed_sd=0.1, own_sd=0.2)
    for seed in range(40):
        one, other = (bootstrap_images(study.runs(2 + seed % 3, effect), 300, seed) for effect in (0.15, 0.0))
        result = difference(one, other, seed)
        assert (result.p_value < 0.05) == (result.low > 0 or result.high < 0)
        edge = dataclasses.replace(one, scores=one.scores - result.low)  # moved until its interval ends at 0
        assert difference(edge, other, seed).p_value == pytest.approx(0.05, rel=1e-4)


def test_runs_that_are_all_alike_have_no_difference() -> None:
    runs = Study().runs(3)
    same = difference(bootstrap_images(runs, 200), bootstrap_images(runs, 200))
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    certain = [BootstrapSample(("0", "1"), np.full(2, score), np.full((2, 50), score), 10) for score in (0.75, 0.5)]
    assert difference(*certain).p_value == 0 and difference(*certain).mean == 0.25


def simulated(seeds: int, effect: float, count: int = 200) -> int:
    """In how many comparisons a difference is called. effect: in standard deviations of the seeds."""
    called = 0
    for number in range(count):
        study = Study(images=30, seed_sd=0.15, image_sd=0.6, own_sd=0.3, seed=number)
        cells: list[dict[str, Counts]] = [study.runs(seeds, each) for each in (0.15 * effect, 0.0)]
        one, other = (bootstrap_images(cell, 400, number) for cell in cells)
        called += difference(one, other, number).p_value < 0.05
    return called


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_an_effect_few_differences_are_called(seeds: int) -> None:
    assert simulated(seeds, 0.0) <= 18


def test_a_difference_of_two_standard_deviations_is_mostly_found() -> None:
    assert simulated(5, 2.0) > 100


def test_holm_rejects_what_his_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        p_values = np.round(rng.uniform(0, 0.2, rng.integers(1, 12)), 2)  # with ties
        corrected = holm_correction(p_values.tolist())
        for level in rng.uniform(0, 1, 10):
            rejected = set()
            for rank, place in enumerate(np.argsort(p_values, kind="stable")):  # his step-down procedure
                if p_values[place] > level / (len(p_values) - rank):
                    break
                rejected.add(int(place))
            assert {place for place, p in enumerate(corrected) if p <= level} == rejected


def test_holm_leaves_out_what_has_no_p() -> None:
    result = holm_correction([0.02, float("nan"), 0.01])
    assert result[0] == pytest.approx(0.02) and np.isnan(result[1]) and result[2] == pytest.approx(0.02)
    assert holm_correction([]) == [] and holm_correction([0.9, 0.8]) == [1.0, 1.0]
