"""Pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, initialise, upsampled


class PyramidPooling(nn.Module):
    """The map beside its averages over grids of `bins` cells a side, each cut down by 1×1, then 3×3 to `channels`."""

    def __init__(self, inputs: int, channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        inner = max(1, inputs // len(bins))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), ConvNormAct(inputs, inner, 1)) for count in bins
        )
        self.project = ConvNormAct(inputs + inner * len(bins), channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([x, *(upsampled(pool(x), x) for pool in self.pools)], 1))  # type: ignore[no-any-return]


class PSPNet(nn.Module):
    """PSPNet (Zhao et al., CVPR 2017): pyramid pooling on the deepest map, dropout, 1×1.
    Output: (B, outputs, h, w) at the deepest map's size."""

    def __init__(
        self, levels: Sequence[Level], outputs: int, channels: int, bins: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        self.pooling = PyramidPooling(levels[-1].channels, channels, bins)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.dropout(self.pooling(features[-1])))  # type: ignore[no-any-return]
