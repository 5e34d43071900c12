"""Sums of losses."""

from __future__ import annotations

import pytest

from segrun.errors import RequestError
from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.tasks.losses.lovasz import Lovasz
from segrun.tasks.losses.sum import Sum
from segrun.tasks.losses.tversky import Tversky
from tests.tasks.losses.examples import WEIGHTS, example, value, weighted


def test_a_sum_is_each_loss_times_its_coefficient() -> None:
    logits, target = example()
    losses = CrossEntropy(label_smoothing=0.1), Tversky(0.5, 0.5), Lovasz()
    both = Sum(losses, [1.0, 0.5, 2.0])
    expected = sum(c * value(loss, logits, target) for c, loss in zip((1.0, 0.5, 2.0), losses, strict=True))
    assert value(both, logits, target) == pytest.approx(expected, rel=1e-5)
    assert both(logits, target).shape == (3,)


def test_the_class_weights_of_a_sum_are_those_of_all_its_losses() -> None:
    logits, target = example()
    both = weighted(Sum([CrossEntropy(), Tversky(0.5, 0.5)], [1.0, 1.0], WEIGHTS))
    parts = [weighted(CrossEntropy(WEIGHTS)), weighted(Tversky(0.5, 0.5, WEIGHTS))]
    expected = sum(value(part, logits, target) for part in parts)
    assert value(both, logits, target) == pytest.approx(expected, rel=1e-5)


def test_a_sum_needs_a_coefficient_for_each_loss() -> None:
    with pytest.raises(RequestError, match=r"loss\.coefficients: 1 numbers for 2 losses"):
        Sum([CrossEntropy(), Lovasz()], [1.0])
