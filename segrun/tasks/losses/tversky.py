"""Tversky loss, of which Dice is a special case."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from segrun.ranges import NonNegativeFloat
from segrun.tasks.losses.class_weights import ClassWeights
from segrun.tasks.losses.loss import Loss
from segrun.types import VOID


class Tversky(Loss):
    """1 − TP / (TP + α FP + β FN) per class, over the batch (Salehi et al., MLMI 2017).

    Void is masked, and classes that are absent from the batch's target are left out. α = β = ½ is Dice (Milletari et
    al., 3DV 2016).

    Args:
        alpha: α, the weight of false positives.
        beta: β, the weight of false negatives.
        class_weights: See `Loss`.
    """

    def __init__(
        self, alpha: NonNegativeFloat, beta: NonNegativeFloat, class_weights: ClassWeights | None = None
    ) -> None:
        super().__init__(class_weights)
        self.alpha = alpha
        self.beta = beta

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = (target != VOID)[:, None]
        truth = F.one_hot(target.long() * valid[:, 0], logits.shape[1]).movedim(-1, 1) * valid
        probability = logits.softmax(1) * valid
        true_positive = (probability * truth).sum((0, 2, 3))
        false_positive = probability.sum((0, 2, 3)) - true_positive
        false_negative = truth.sum((0, 2, 3)) - true_positive
        denominator = true_positive + self.alpha * false_positive + self.beta * false_negative
        score = true_positive / denominator.clamp(min=1e-6)
        present = true_positive + false_negative > 0.5
        weight = self.weights_or_ones(logits) * present
        return (weight * (1 - score)).sum()[None] / weight.sum().clamp(min=1e-6) * self.normalizers(target)
