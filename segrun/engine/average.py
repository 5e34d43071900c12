"""The average of the weights over the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def moving_average(model: nn.Module, decay: float | None, saved: Mapping[str, Any] | None) -> AveragedModel | None:
    """Exponential moving average of weights and statistics; the decay rises to its value over the first
    steps, so that short runs are not held at their start."""
    if decay is None:
        return None

    @torch.no_grad()
    def mean(averages: Any, values: Any, count: Any) -> None:
        now = min(decay, (1 + float(count)) / (10 + float(count)))
        for one, value in zip(averages, values, strict=True):
            if one.is_floating_point():
                one.lerp_(value.to(one.dtype), 1 - now)
            else:
                one.copy_(value)

    average = AveragedModel(model, multi_avg_fn=mean, use_buffers=True)
    if saved:
        average.load_state_dict(saved)
    return average
