"""Focal loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.ranges import NonNegativeFloat
from segrun.tasks.losses.class_weights import ClassWeights, pixel_weights
from segrun.tasks.losses.loss import Loss
from segrun.types import VOID


class Focal(Loss):
    """Σ w_y (1 − p_y)^γ (−log p_y), divided by Σ w_y over labelled pixels (Lin et al., ICCV 2017: γ = 2).

    Args:
        gamma: γ; 0 is cross-entropy.
        class_weights: See `Loss`.
    """

    def __init__(self, gamma: NonNegativeFloat, class_weights: ClassWeights | None = None) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def normalizers(self, target: Tensor) -> Tensor:
        return pixel_weights(target, self.class_weights).sum()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(logits, target.long(), ignore_index=VOID, reduction="none")
        focus = (1 - torch.exp(-cross_entropy)).clamp(min=0) ** self.gamma
        return (pixel_weights(target, self.class_weights) * focus * cross_entropy).sum()[None]
