"""Dynamic weight average."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from segrun.ranges import PositiveFloat
from segrun.tasks.balance.balance import Balance


class DWA(Balance):
    """Dynamic weight average: λ = K · softmax(r/T), r = L(t−1)/L(t−2) of the mean losses per epoch.

    Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019. λ is 1 in the first two epochs.

    Args:
        temperature: T; the paper's is 2.
    """

    def __init__(self, temperature: PositiveFloat) -> None:
        self.temperature = temperature

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        if self.reference_losses:
            # a task that had no label in the epoch before counts as unchanged
            ratios = [mean_losses[n] / old if old > 0 else 1.0 for n, old in self.reference_losses.items()]
            powers = torch.tensor(ratios, dtype=torch.float64) / self.temperature
            factors = len(powers) * powers.softmax(0)
            self.factors = dict(zip(self.reference_losses, factors.tolist(), strict=True))
        self.reference_losses = {name: float(mean_losses[name]) for name in self.task_weights}
