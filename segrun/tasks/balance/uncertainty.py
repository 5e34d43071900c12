"""Uncertainty weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segrun.tasks.balance.balance import Balance


class Uncertainty(Balance):
    """Σ e^{−s} L + s/2, for a regression ½e^{−s} L + s/2, with a trained s = log σ² per task.

    Kendall, Gal, Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018. Over n processes the
    losses n·e^{−s}L average to their sum, and s/2, which is not multiplied by n, to itself.
    """

    def start(self, regression: Mapping[str, bool], weights: Mapping[str, float], device: torch.device) -> None:
        super().start(regression, weights, device)
        scales = [weight * (0.5 if regression[name] else 1.0) for name, weight in weights.items()]
        self.s = nn.Parameter(torch.zeros(len(weights), device=device))
        self.scales = torch.tensor(scales, device=device)

    def parameters(self) -> list[nn.Parameter]:
        return [self.s]

    def total(self, losses: Mapping[str, Tensor], share: float) -> Tensor:
        stacked = torch.stack([losses[name] for name in self.task_weights])
        return (self.scales * torch.exp(-self.s) * stacked).sum() + share * self.s.sum() / 2

    def weights(self) -> dict[str, float]:
        return dict(zip(self.task_weights, (self.scales * torch.exp(-self.s.detach())).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"s": self.s.detach().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.s.data.copy_(state["s"])  # in place: the optimizer holds this tensor
