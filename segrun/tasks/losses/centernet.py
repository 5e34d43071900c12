"""CenterNet's loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.models.heads.resize import resize_like
from segrun.tasks.losses.loss import Loss


class CenterNetLoss(Loss):
    """The losses of heat-maps, sizes and offsets, each divided by the number of its centres: K = 3.

    Heat-maps: −(1 − p)² log p at centres, −(1 − Y)⁴ p² log(1 − p) elsewhere (Law and Deng, ECCV 2018: α = 2, β = 4).
    Sizes and offsets: L1. Shapes: scores and target (B, classes + 4, h, w); scores of another height and width are
    resized to the target's. NaN in the target is left out.

    Args:
        size: Factor on the loss of the sizes.
        offset: Factor on the loss of the offsets.
    """

    def __init__(self, size: float, offset: float) -> None:
        super().__init__()
        self.size = size
        self.offset = offset

    def normalizers(self, target: Tensor) -> Tensor:
        boxes = (~target[:, -1].isnan()).sum()
        return torch.stack([(target[:, :-4] == 1).sum(), boxes, boxes]).float()

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        if scores.shape[-2:] != target.shape[-2:]:
            scores = resize_like(scores, target)
        logits, heat = scores[:, :-4], target[:, :-4]
        probability = logits.sigmoid()
        centre = (1 - probability) ** 2 * F.logsigmoid(logits)
        elsewhere = (1 - heat.nan_to_num()) ** 4 * probability**2 * F.logsigmoid(-logits)
        heat_losses = torch.where(heat.isnan(), 0, -torch.where(heat == 1, centre, elsewhere))
        boxes = target[:, -4:]
        box_losses = torch.where(boxes.isnan(), 0, (scores[:, -4:] - boxes.nan_to_num()).abs())
        return torch.stack(
            [heat_losses.sum(), self.size * box_losses[:, :2].sum(), self.offset * box_losses[:, 2:].sum()]
        )
