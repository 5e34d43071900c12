"""A task: one output of the model, with its loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from segrun.tasks.losses.loss import Loss


@dataclass(frozen=True)
class Task:
    """One output of the model, with its loss.

    Attributes:
        name: Of its head in the model and of its target in the batch.
        loss: Compares scores and target.
        weight: Factor on its loss in the sum of all tasks.
        primary: Whether it is the task that is scored, exported and kept.
        regression: Whether its loss is a regression, for which uncertainty weighting has another formula.
    """

    name: str
    loss: Loss
    weight: float = 1.0
    primary: bool = True
    regression: bool = False

    def loss_share(self, scores: Tensor, target: Tensor, normalizers: Tensor) -> Tensor:
        """This batch's part of the loss.

        Args:
            scores: Of the head, (B, …).
            target: (B, …).
            normalizers: (K,), summed over all batches that belong to the same step.

        Returns:
            A scalar. Those of all batches add up to the loss of the step.
        """
        share: Tensor = (self.loss(scores.float(), target) / normalizers.clamp(min=1)).sum()
        return share
