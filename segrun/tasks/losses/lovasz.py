"""Lovász-softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.tasks.losses.loss import Loss
from segrun.types import VOID


class Lovasz(Loss):
    """Lovász-softmax (Berman, Triki, Blaschko, CVPR 2018): the convex surrogate of the Jaccard loss, over the batch.

    Classes that are absent from the batch's target are left out.

    Args:
        class_weights: See `Loss`.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = target != VOID
        probability = logits.softmax(1).movedim(1, -1)[valid]
        truth = F.one_hot(target[valid].long(), logits.shape[1]).to(probability.dtype)
        present = truth.any(0)
        errors, order = (truth - probability).abs().sort(0, descending=True)
        losses = (errors * _lovasz_gradient(truth.gather(0, order))).sum(0)
        weight = self.weights_or_ones(logits) * present
        return (weight * losses).sum()[None] / weight.sum().clamp(min=1e-6) * self.normalizers(target)


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Algorithm 1 of the paper for each column of truth (pixels sorted by error, classes)."""
    total = truth.sum(0)
    intersection = total - truth.cumsum(0)
    union = total + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union.clamp(min=1)
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
