"""All-MLP decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, coarse, initialise, upsampled


class SegFormer(nn.Module):
    """The all-MLP decoder of SegFormer (Xie et al., NeurIPS 2021): each level linearly to `channels`, at the finest's
    size, concatenated; 1×1, norm, ReLU; dropout; 1×1.

    Levels at strides 4 and up. Output: (B, outputs, h, w) at the finest of these.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.levels_used = coarse(levels)
        self.linears = nn.ModuleList(nn.Conv2d(levels[place].channels, channels, 1) for place in self.levels_used)
        self.fuse = nn.Sequential(ConvNormAct(channels * len(self.levels_used), channels, 1), nn.Dropout(dropout))
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [linear(features[place]) for place, linear in zip(self.levels_used, self.linears, strict=True)]
        return self.output(self.fuse(torch.cat([upsampled(x, maps[0]) for x in reversed(maps)], 1)))  # type: ignore[no-any-return]
