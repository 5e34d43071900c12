"""Unified perceptual parsing: pyramid pooling on top of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.fpn import TopDown
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import levels_from_stride
from segrun.models.heads.pspnet import PyramidPooling
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, NonEmpty, PositiveInt


class UPerNet(Head):
    """UPerNet (Xiao et al., ECCV 2018).

    Pyramid pooling takes the place of the deepest lateral; behind the top-down path each level passes 3×3 and is
    brought to the finest level's size; all are concatenated; 3×3, dropout, 1×1. Levels at strides of 4 and more.
    Output: (B, outputs, h, w) at the finest of these.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of each level and behind the fusion.
        bins: Cells per side of each grid of averages.
        dropout: Probability before the 1×1 convolution.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt,
        bins: Annotated[Sequence[PositiveInt], NonEmpty],
        dropout: FractionBelowOne,
    ) -> None:
        super().__init__()
        self.levels_used = levels_from_stride(levels)
        self.pooling = PyramidPooling(levels[self.levels_used[-1]].channels, channels, bins)
        inputs = [levels[index].channels for index in self.levels_used[:-1]]
        self.top_down = TopDown([*inputs, channels], channels)
        self.smooth = nn.ModuleList(ConvNormAct(channels, channels) for _ in self.levels_used)
        self.fuse = nn.Sequential(ConvNormAct(channels * len(self.levels_used), channels), nn.Dropout(dropout))
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *maps, deep = (features[index] for index in self.levels_used)
        levels = self.top_down([*maps, self.pooling(deep)])
        smooth = [conv(x) for conv, x in zip(self.smooth, levels, strict=True)]
        same_size = [resize_like(x, smooth[0]) for x in smooth]
        return self.output(self.fuse(torch.cat(same_size, 1)))  # type: ignore[no-any-return]
