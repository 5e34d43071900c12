"""Atrous spatial pyramid pooling, which both DeepLabs begin with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, SeparableConvNormAct


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image pooling (Chen et al., 2017)."""

    def __init__(self, inputs: int, channels: int, rates: Sequence[int], separable: bool, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, channels, 1)])
        for rate in rates:
            self.branches.append(conv(inputs, channels, separable, rate))
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(inputs, channels, 1))
        self.project = nn.Sequential(ConvNormAct(channels * (len(rates) + 2), channels, 1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))  # type: ignore[no-any-return]


def spread(rates: Sequence[int], levels: Sequence[Level]) -> list[int]:
    """Rates given for output stride 16, for the stride of the deepest map."""
    return [max(1, rate * 16 // levels[-1].stride) for rate in rates]


def conv(inputs: int, outputs: int, separable: bool, dilation: int = 1) -> nn.Module:
    """3×3, norm, ReLU; depthwise-separable or plain."""
    if separable:
        return SeparableConvNormAct(inputs, outputs, dilation)
    return ConvNormAct(inputs, outputs, 3, dilation)
