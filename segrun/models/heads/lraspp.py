"""Lite reduced atrous spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import level_at
from segrun.models.heads.resize import resize_like
from segrun.ranges import OutputStride, PositiveInt


class LRASPP(Head):
    """LR-ASPP (Howard et al., ICCV 2019).

    The deepest map passes 1×1, norm, ReLU and is multiplied by a gate made of its average. Its scores and those of the
    stride-8 map are added. Output: (B, outputs, H / 8, W / 8).

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels behind the 1×1 convolution.
        output_stride: Of the deepest map, if the backbone can be dilated.

    Raises:
        LacksLevel: The backbone has no map at stride 8.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt,
        output_stride: OutputStride | None = None,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.fine_level = level_at(levels, 8, "lraspp")
        self.levels_used = (self.fine_level, len(levels) - 1)
        deep = levels[-1].channels
        self.deep = ConvNormAct(deep, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, channels, 1, bias=False), nn.Sigmoid())
        self.low = nn.Conv2d(levels[self.fine_level].channels, outputs, 1)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)
        nn.init.normal_(self.low.weight, std=0.01)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, deep = features[self.fine_level], features[-1]
        gated = resize_like(self.deep(deep) * self.gate(deep), fine)
        return self.output(gated) + self.low(fine)  # type: ignore[no-any-return]
