"""Lovász-softmax against its definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.tasks.losses.lovasz import Lovasz
from segrun.types import VOID
from tests.tasks.losses.examples import WEIGHTS, example, pixels, value, weighted


def lovasz(logits: Tensor, target: Tensor, weights: list[float]) -> float:
    """The Lovász extension as defined: errors in falling order times the rise of the Jaccard loss."""
    probability, label = pixels(logits, target)
    losses, total = 0.0, 0.0
    for c in set(label.tolist()):
        truth = label == c
        errors = np.where(truth, 1 - probability[:, c], probability[:, c])
        wrong: set[int] = set()
        before, loss = 0.0, 0.0
        for i in np.argsort(-errors, kind="stable").tolist():
            wrong.add(i)
            missed = sum(bool(truth[j]) for j in wrong)
            jaccard = 1 - (truth.sum() - missed) / (truth.sum() + len(wrong) - missed)
            loss += errors[i] * (jaccard - before)
            before = jaccard
        losses += weights[c] * loss
        total += weights[c]
    return float(losses / total)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("seed", [0, 1])
def test_lovasz_is_its_definition(weights: list[float] | None, seed: int) -> None:
    logits, target = example(seed)
    expected = lovasz(logits, target, weights or [1.0] * 4)
    assert value(weighted(Lovasz(weights)), logits, target) == pytest.approx(expected, rel=1e-5)


def test_lovasz_of_certain_predictions_is_the_jaccard_loss() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, 1, VOID]]], dtype=torch.uint8)
    guess = F.one_hot(torch.tensor([[[0, 1, 1, 1, 0, 1]]]), 2).movedim(-1, 1) * 100.0
    assert value(Lovasz(), guess, truth) == pytest.approx(1 - (1 / 3 + 2 / 4) / 2)
