"""Several strides out of one: what plain vision transformers need for dense prediction."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError, join_names
from segrun.models.backbones.backbone import Level

STRIDES = (4, 8, 16, 32)


class Pyramid(nn.Module):
    """The simple feature pyramid of ViTDet (Li et al., ECCV 2022): from the last map alone, by transposed convolutions
    up and by max pooling down. Without the paper's 1×1 and 3×3 behind each level: heads bring their own.

    channels, stride: of the map; where the stride is no power of two (patches of 14), levels are resampled to theirs.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        doublings = [max(0, round(math.log2(stride / level))) for level in STRIDES]
        self.ups = nn.ModuleList(_up(channels, count) for count in doublings)
        self.levels = tuple(Level(channels // 2**count, level) for count, level in zip(doublings, STRIDES, strict=True))

    def end_at(self, stride: int) -> None:
        """Leave out the levels that are coarser.

        Raises:
            RequestError: there is no such level.
        """
        kept = sum(level.stride <= stride for level in self.levels)
        if stride not in STRIDES:
            raise RequestError(f"backbone.output_stride={stride}: the pyramid's strides are {join_names(STRIDES)}.")
        self.levels, self.ups = self.levels[:kept], self.ups[:kept]

    def keep_levels(self, indices: Iterable[int]) -> None:
        """What makes the other levels goes: nothing would teach it."""
        for place in set(range(len(self.levels))) - set(indices):
            self.ups[place] = nn.Identity()

    def forward(self, x: Tensor, size: torch.Size) -> list[Tensor]:
        """x: (B, C, h, w); size: of the images."""
        maps = []
        for up, level in zip(self.ups, self.levels, strict=True):
            wanted = [-(-side // level.stride) for side in size]
            made = up(x)
            if made.shape[-2] >= 2 * wanted[0]:
                made = F.max_pool2d(made, 2, ceil_mode=True)
            if list(made.shape[-2:]) != wanted:
                made = F.interpolate(made, wanted, mode="bilinear", align_corners=False)
            maps.append(made)
        return maps


class _Norm(nn.LayerNorm):
    """Over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _up(channels: int, count: int) -> nn.Sequential:
    steps: list[nn.Module] = []
    for step in range(count):
        inputs = channels // 2**step
        if step:
            steps += [_Norm(inputs), nn.GELU()]
        steps.append(nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2))
    return nn.Sequential(*steps)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Zeros below and to the right, up to whole patches: as a convolution with padding would see the border."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))
