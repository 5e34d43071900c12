"""How many labels are worth how many, inside of what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segrun.comparison.bootstrap import bootstrap_images, means_over_seeds
from segrun.comparison.label_efficiency import LabelEquivalent, LearningCurvePoint, label_equivalents, labels_to_reach
from segrun.report.comparison import label_sentence
from tests.comparison.synthetic import Study


def point(score: float, spread: float = 0.0, seeds: int = 3) -> LearningCurvePoint:
    scores = np.full(seeds, score)
    return LearningCurvePoint(scores, np.linspace(score - spread, score + spread, 501) if seeds > 1 else None)


def measured(study: Study, effect: float, seed: int) -> LearningCurvePoint:
    sample = bootstrap_images(study.runs(4, effect), 300, seed)
    return LearningCurvePoint(sample.scores, means_over_seeds(sample))


def test_a_curve_is_straight_in_the_logarithm_of_its_labels() -> None:
    heights = np.array([[0.2], [0.4], [0.8]])
    counts = [5, 20, 80]
    for score, labels in ((0.2, 5), (0.3, 10), (0.4, 20), (0.5, 20 * 4**0.25), (0.8, 80)):
        assert labels_to_reach(np.array([score]), counts, heights)[0] == pytest.approx(labels)
    assert labels_to_reach(np.array([0.1]), counts, heights)[0] == -math.inf
    assert labels_to_reach(np.array([0.81]), counts, heights)[0] == math.inf


def test_it_is_the_fewest_labels_where_a_curve_falls_again() -> None:
    heights = np.array([[0.2], [0.6], [0.3], [0.7]])
    assert labels_to_reach(np.array([0.4]), [1, 10, 100, 1000], heights)[0] == pytest.approx(10**0.5)
    assert labels_to_reach(np.array([0.5]), [1, 10], np.array([[0.5], [0.5]]))[0] == 1
    assert labels_to_reach(np.array([0.6]), [1, 10], np.array([[0.5], [0.5]]))[0] == math.inf


def test_sentences_stay_inside_what_was_measured() -> None:
    base = {5: point(0.5), 20: point(0.6), 100: point(0.7)}
    equivalents = label_equivalents("l2sp", {5: point(0.4), 20: point(0.65), 100: point(0.9)}, "finetune", base)
    assert [label_sentence(equivalent) for equivalent in equivalents] == [
        "l2sp with 5 labels scores below finetune with 5, the fewest measured",
        "l2sp with 20 labels scores like finetune with 45 (45–45)",
        "l2sp with 100 labels scores above finetune with 100, the most measured",
    ]


def test_ends_beyond_what_was_measured_are_named_as_that() -> None:
    base = {5: point(0.5, 0.1), 100: point(0.6, 0.1)}
    (equivalent,) = label_equivalents("l2sp", {20: point(0.55, 0.2)}, "finetune", base)
    assert label_sentence(equivalent) == "l2sp with 20 labels scores like finetune with 22 (<5–>100)"
    assert (
        label_sentence(LabelEquivalent("a", "b", 9, 12.4, 8, 20.6, (5, 30)))
        == "a with 9 labels scores like b with 12 (8–21)"
    )


def test_one_seed_has_no_interval() -> None:
    base = {5: point(0.5), 100: point(0.6)}
    for curve, against in (({20: point(0.55, seeds=1)}, base), ({20: point(0.55)}, {**base, 5: point(0.5, seeds=1)})):
        (equivalent,) = label_equivalents("l2sp", curve, "finetune", against)
        assert label_sentence(equivalent) == "l2sp with 20 labels scores like finetune with 22"


def test_an_interval_holds_the_truth_mostly() -> None:
    """A strategy that is as good as the baseline with twice the labels."""
    held, count = 0, 40
    for number in range(count):
        study = Study(40, seed_sd=0.05, own_sd=0.05, seed=number)
        base = {n: measured(study, 0.2 * math.log2(n), number) for n in (5, 20, 80)}
        (equivalent,) = label_equivalents("l2sp", {10: measured(study, 0.2 * math.log2(20), number)}, "finetune", base)
        held += equivalent.low <= 20 <= equivalent.high
        assert equivalent.low <= equivalent.equivalent <= equivalent.high and equivalent.measured == (5, 80)
    assert held >= 0.8 * count
