"""Unified perceptual parsing: pyramid pooling on top of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, coarse, initialise, upsampled
from segrun.models.heads.fpn import TopDown
from segrun.models.heads.pspnet import PyramidPooling


class UPerNet(nn.Module):
    """UPerNet (Xiao et al., ECCV 2018): pyramid pooling in the place of the deepest lateral, a top-down path, 3×3 on
    each level, all at the finest's size, concatenated, 3×3, dropout, 1×1.

    Levels at strides 4 and up. Output: (B, outputs, h, w) at the finest of these.
    """

    def __init__(
        self, levels: Sequence[Level], outputs: int, channels: int, bins: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.levels_used = coarse(levels)
        self.pooling = PyramidPooling(levels[self.levels_used[-1]].channels, channels, bins)
        inputs = [levels[place].channels for place in self.levels_used[:-1]]
        self.top_down = TopDown([*inputs, channels], channels)
        self.smooth = nn.ModuleList(ConvNormAct(channels, channels) for _ in self.levels_used)
        self.fuse = nn.Sequential(ConvNormAct(channels * len(self.levels_used), channels), nn.Dropout(dropout))
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *maps, deep = (features[place] for place in self.levels_used)
        levels = self.top_down([*maps, self.pooling(deep)])
        smooth = [conv(x) for conv, x in zip(self.smooth, levels, strict=True)]
        return self.output(self.fuse(torch.cat([upsampled(x, smooth[0]) for x in smooth], 1)))  # type: ignore[no-any-return]
