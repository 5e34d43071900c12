"""All-MLP decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import levels_from_stride
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, PositiveInt


class SegFormer(Head):
    """The all-MLP decoder of SegFormer (Xie et al., NeurIPS 2021).

    Each level passes a linear layer and is brought to the finest level's size; all are concatenated; 1×1, norm, ReLU,
    dropout, 1×1. Levels at strides of 4 and more. Output: (B, outputs, h, w) at the finest of these.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of each level and behind the fusion.
        dropout: Probability before the last 1×1 convolution.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, channels: PositiveInt, dropout: FractionBelowOne) -> None:
        super().__init__()
        self.levels_used = levels_from_stride(levels)
        self.linears = nn.ModuleList(nn.Conv2d(levels[index].channels, channels, 1) for index in self.levels_used)
        self.fuse = nn.Sequential(ConvNormAct(channels * len(self.levels_used), channels, 1), nn.Dropout(dropout))
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [linear(features[index]) for index, linear in zip(self.levels_used, self.linears, strict=True)]
        same_size = [resize_like(x, maps[0]) for x in reversed(maps)]
        return self.output(self.fuse(torch.cat(same_size, 1)))  # type: ignore[no-any-return]
