"""Pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, NonEmpty, OutputStride, PositiveInt


class PyramidPooling(nn.Module):
    """A map concatenated with its averages over grids, each reduced by 1×1; then 3×3.

    Args:
        inputs: Channels of the map.
        channels: Channels of the result.
        bins: Cells per side of each grid.
    """

    def __init__(self, inputs: int, channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        inner = max(1, inputs // len(bins))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), ConvNormAct(inputs, inner, 1)) for count in bins
        )
        self.project = ConvNormAct(inputs + inner * len(bins), channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, channels, h, w)."""
        pooled = [resize_like(pool(x), x) for pool in self.pools]
        return self.project(torch.cat([x, *pooled], 1))  # type: ignore[no-any-return]


class PSPNet(Head):
    """PSPNet (Zhao et al., CVPR 2017): pyramid pooling on the deepest map, dropout, 1×1.

    Output: (B, outputs, h, w) at the deepest map's size.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels behind the pyramid pooling.
        bins: Cells per side of each grid of averages.
        dropout: Probability before the 1×1 convolution.
        output_stride: Of the deepest map, if the backbone can be dilated.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt,
        bins: Annotated[Sequence[PositiveInt], NonEmpty],
        dropout: FractionBelowOne,
        output_stride: OutputStride | None = None,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.levels_used = (len(levels) - 1,)
        self.pooling = PyramidPooling(levels[-1].channels, channels, bins)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.dropout(self.pooling(features[-1])))  # type: ignore[no-any-return]
