"""Focal loss against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest

from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.tasks.losses.focal import Focal
from tests.tasks.losses.examples import WEIGHTS, example, pixels, value, weighted


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_its_formula(weights: list[float] | None, gamma: float) -> None:
    logits, target = example()
    probability, label = pixels(logits, target)
    right = probability[np.arange(len(label)), label]
    weight = np.array(weights or [1.0] * 4)[label]
    expected = (weight * (1 - right) ** gamma * -np.log(right)).sum() / weight.sum()
    assert value(weighted(Focal(gamma, weights)), logits, target) == pytest.approx(expected, rel=1e-4)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, target = example()
    assert value(Focal(0.0), logits, target) == pytest.approx(value(CrossEntropy(), logits, target), rel=1e-5)
