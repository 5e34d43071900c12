"""Atrous spatial pyramid pooling, with which both DeepLabs begin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, conv3x3


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image pooling (Chen et al., 2017).

    Args:
        inputs: Channels of the map.
        channels: Channels of each branch and of the result.
        dilations: Dilation of each 3×3 branch.
        separable: Depthwise-separable branches.
        dropout: Probability behind the projection.
    """

    def __init__(self, inputs: int, channels: int, dilations: Sequence[int], separable: bool, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, channels, 1)])
        for dilation in dilations:
            self.branches.append(conv3x3(inputs, channels, separable, dilation))
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(inputs, channels, 1))
        branches = len(dilations) + 2
        self.project = nn.Sequential(ConvNormAct(channels * branches, channels, 1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, channels, h, w)."""
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        branches = [branch(x) for branch in self.branches]
        return self.project(torch.cat([*branches, pooled], 1))  # type: ignore[no-any-return]


def dilations_for(rates: Sequence[int], levels: Sequence[Level]) -> list[int]:
    """Dilation rates given for output stride 16, for the stride of the deepest level.

    Args:
        rates: At output stride 16.
        levels: The backbone's.
    """
    return [max(1, rate * 16 // levels[-1].stride) for rate in rates]
