"""Losses that compare scores and target element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segrun.tasks.losses.loss import Loss


class Elementwise(Loss):
    """Σ function(score, target) over the elements of the target that are not NaN, divided by their number.

    Args:
        function: A loss of torch.nn.functional; called with reduction="none".
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def normalizers(self, target: Tensor) -> Tensor:
        return (~target.isnan()).sum().float()[None]

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        losses = self.function(scores, target.nan_to_num(), reduction="none")
        return torch.where(target.isnan(), 0, losses).sum()[None]
