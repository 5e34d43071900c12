"""Fully convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, initialise, level_at, upsampled


class FCN(nn.Module):
    """FCN (Long, Shelhamer, Darrell, CVPR 2015): 3×3, norm, activation, dropout, 1×1 on the deepest map.

    fuse: strides whose own 1×1 scores are added on the way up; [16, 8] makes it FCN-8s.
    channels: of the 3×3; by default a quarter of the deepest map's. Output: (B, classes, h, w) at the
    finest stride used.

    Raises:
        RequestError: the backbone has no map at a stride to fuse.
    """

    def __init__(
        self, levels: Sequence[Level], outputs: int, channels: int | None, dropout: float, fuse: Sequence[int]
    ) -> None:
        super().__init__()
        deepest = levels[-1].channels
        inner = channels or deepest // 4
        self.neck = nn.Sequential(ConvNormAct(deepest, inner), nn.Dropout(dropout))
        self.output = nn.Conv2d(inner, outputs, 1)
        self.places = [level_at(levels, stride, "fcn") for stride in sorted(fuse, reverse=True)]
        self.levels_used = (*self.places, len(levels) - 1)
        self.scores = nn.ModuleList(nn.Conv2d(levels[place].channels, outputs, 1) for place in self.places)
        initialise(self, self.output)
        for score in self.scores:  # as the paper: the fused net begins as the plain one
            nn.init.zeros_(score.weight)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x: Tensor = self.output(self.neck(features[-1]))
        for place, score in zip(self.places, self.scores, strict=True):
            x = upsampled(x, features[place]) + score(features[place])
        return x
