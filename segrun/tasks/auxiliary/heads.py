"""The heads that auxiliary tasks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, coarse, initialise, upsampled


class ConvHead(nn.Module):
    """1×1 to `channels`, `convs` times (3×3, norm, ReLU), 1×1 to the outputs.

    stride: of the one map it reads, or of the nearest there is; None: all maps of stride 4 and up are brought to the
    finest's size and added, so that the whole backbone learns. full_size: whether the scores, (B, outputs, h, w) at
    the map's size, are to be brought to the images'.
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
        self.levels_used = coarse(levels) if stride is None else [_nearest(levels, stride)]
        self.laterals = nn.ModuleList(nn.Conv2d(levels[place].channels, channels, 1) for place in self.levels_used)
        self.convs = nn.Sequential(*(ConvNormAct(channels, channels) for _ in range(convs)))
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x, *coarser = (lateral(features[place]) for place, lateral in zip(self.levels_used, self.laterals, strict=True))
        for each in coarser:
            x = x + upsampled(each, x)
        return self.output(self.convs(x))  # type: ignore[no-any-return]


class PooledHead(nn.Module):
    """The deepest map's average, dropout, a linear layer: (B, outputs) for the whole image."""

    def __init__(self, levels: Sequence[Level], outputs: int, dropout: float) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(levels[-1].channels, outputs)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.dropout(features[-1].mean((2, 3))))  # type: ignore[no-any-return]


def _nearest(levels: Sequence[Level], stride: int) -> int:
    """The place of the level whose stride is nearest by ratio, the deepest of several."""
    return min(reversed(range(len(levels))), key=lambda place: abs(math.log2(levels[place].stride / stride)))
