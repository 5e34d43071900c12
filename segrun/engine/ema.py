"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def make_ema(model: nn.Module, decay: float | None, state: Mapping[str, Any] | None) -> AveragedModel | None:
    """An exponential moving average of weights and buffers.

    The decay rises to its value over the first steps, so that a short run is not held at its start.

    Args:
        model: The model to average.
        decay: Weight of the old average in each update; None: no average.
        state: State of the average of a resumed run.
    """
    if decay is None:
        return None

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        current_decay = min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - current_decay)
            else:
                average.copy_(value)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)  # type: ignore[arg-type]
    if state:
        average.load_state_dict(state)
    return average
