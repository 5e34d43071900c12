"""Tversky loss against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.tasks.losses.tversky import Tversky
from segrun.types import VOID
from tests.tasks.losses.examples import WEIGHTS, example, pixels, value, weighted


def tversky(logits: Tensor, target: Tensor, alpha: float, beta: float, weights: list[float]) -> float:
    probability, label = pixels(logits, target)
    losses, total = 0.0, 0.0
    for c in set(label.tolist()):
        tp = probability[label == c, c].sum()
        fp = probability[label != c, c].sum()
        fn = (1 - probability[label == c, c]).sum()
        losses += weights[c] * (1 - tp / (tp + alpha * fp + beta * fn))
        total += weights[c]
    return float(losses / total)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 1.0)])
def test_tversky_is_its_formula(weights: list[float] | None, alpha: float, beta: float) -> None:
    logits, target = example()
    expected = tversky(logits, target, alpha, beta, weights or [1.0] * 4)
    assert value(weighted(Tversky(alpha, beta, weights)), logits, target) == pytest.approx(expected, rel=1e-5)


def test_dice_of_certain_predictions_is_that_of_sets() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 1, VOID]]], dtype=torch.uint8)
    guess = F.one_hot(torch.tensor([[[0, 1, 1, 1, 0, 1]]]), 2).movedim(-1, 1) * 100.0
    assert value(Tversky(0.5, 0.5), guess, truth) == pytest.approx(1 - (2 * 1 / 4 + 2 * 2 / 6) / 2)
