"""A convolutional head for outputs per pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import levels_from_stride
from segrun.models.heads.resize import resize_like


class ConvHead(Head):
    """1×1 to `channels`, `convs` times (3×3, norm, ReLU), 1×1 to the outputs.

    Output: (B, outputs, h, w) at the size of the finest map it uses.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels inside.
        stride: Of the one map that is used; the map with the nearest stride is taken. None: all maps of stride 4 and
            up are resized to the finest one and added, so that the whole backbone is trained.
        convs: Number of 3×3 convolutions.
        full_size: Whether the model resizes the output to the size of the images.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: int,
        stride: int | None = None,
        convs: int = 1,
        full_size: bool = True,
    ) -> None:
        super().__init__()
        self.full_size = full_size
        self.levels_used = levels_from_stride(levels) if stride is None else (_nearest(levels, stride),)
        self.laterals = nn.ModuleList(nn.Conv2d(levels[index].channels, channels, 1) for index in self.levels_used)
        self.convs = nn.Sequential(*(ConvNormAct(channels, channels) for _ in range(convs)))
        self.output: nn.Conv2d = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [lateral(features[index]) for index, lateral in zip(self.levels_used, self.laterals, strict=True)]
        x: Tensor = maps[0]
        for coarser in maps[1:]:
            x = x + resize_like(coarser, x)
        return self.output(self.convs(x))  # type: ignore[no-any-return]


def _nearest(levels: Sequence[Level], stride: int) -> int:
    """Index of the level whose stride is nearest by ratio; the deepest of several."""
    return min(reversed(range(len(levels))), key=lambda index: abs(math.log2(levels[index].stride / stride)))
