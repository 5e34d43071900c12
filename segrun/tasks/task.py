"""A task: one thing that the model learns to output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from segrun.tasks.losses import Loss


@dataclass(frozen=True)
class Task:
    """name: its head's name in the model and its target's in the batch; weight: of its loss in the sum;
    regression: uncertainty weighting has another formula for it. The primary task is scored, exported and kept."""

    name: str
    loss: Loss
    weight: float = 1.0
    primary: bool = True
    regression: bool = False

    def share(self, scores: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """This batch's part of the loss, 0-d, when `weights` are the sums over all that it is a part of."""
        share: Tensor = (self.loss(scores.float(), target) / weights.clamp(min=1)).sum()
        return share
