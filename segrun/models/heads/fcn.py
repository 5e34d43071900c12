"""Fully convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import level_at
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, PositiveInt


class FCN(Head):
    """FCN (Long, Shelhamer, Darrell, CVPR 2015): 3×3, norm, ReLU, dropout, 1×1 on the deepest map.

    Output: (B, outputs, h, w) at the finest stride used.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of the 3×3 convolution. None: a quarter of the deepest map's.
        dropout: Probability before the 1×1 convolution.
        fuse: Strides whose own 1×1 scores are added on the way up; [16, 8] makes it FCN-8s.

    Raises:
        LacksLevel: The backbone has no map at a stride of `fuse`.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt | None,
        dropout: FractionBelowOne,
        fuse: Sequence[PositiveInt],
    ) -> None:
        super().__init__()
        inputs = levels[-1].channels
        inner = inputs // 4 if channels is None else channels
        self.neck = nn.Sequential(ConvNormAct(inputs, inner), nn.Dropout(dropout))
        self.output = nn.Conv2d(inner, outputs, 1)
        self.fused_levels = [level_at(levels, stride, "fcn") for stride in sorted(fuse, reverse=True)]
        self.levels_used = (*self.fused_levels, len(levels) - 1)
        self.scores = nn.ModuleList(nn.Conv2d(levels[index].channels, outputs, 1) for index in self.fused_levels)
        initialize_head(self, self.output)
        for score in self.scores:  # as in the paper: the fused network starts as the plain one
            nn.init.zeros_(score.weight)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x: Tensor = self.output(self.neck(features[-1]))
        for index, score in zip(self.fused_levels, self.scores, strict=True):
            x = resize_like(x, features[index]) + score(features[index])
        return x
