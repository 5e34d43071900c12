"""Lite reduced atrous spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, initialise, level_at, upsampled


class LRASPP(nn.Module):
    """LR-ASPP (Howard et al., ICCV 2019): the deepest map by 1×1, norm, ReLU, weighed by a gate made of its average;
    at stride 8 the scores of both it and the map there are added.

    Output: (B, outputs, H/8, W/8).

    Raises:
        RequestError: the backbone has no map at stride 8.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, channels: int) -> None:
        super().__init__()
        self.fine = level_at(levels, 8, "lraspp")
        self.levels_used = (self.fine, len(levels) - 1)
        deep = levels[-1].channels
        self.deep = ConvNormAct(deep, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, channels, 1, bias=False), nn.Sigmoid())
        self.low = nn.Conv2d(levels[self.fine].channels, outputs, 1)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)
        nn.init.normal_(self.low.weight, std=0.01)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, deep = features[self.fine], features[-1]
        return self.output(upsampled(self.deep(deep) * self.gate(deep), fine)) + self.low(fine)  # type: ignore[no-any-return]
