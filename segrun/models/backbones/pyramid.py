"""Several strides out of one map: what plain vision transformers need for dense prediction."""

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
    """The simple feature pyramid of ViTDet (Li et al., ECCV 2022).

    Finer levels are made of the last map by transposed convolutions, coarser ones by max pooling. The paper's 1×1 and
    3×3 convolutions behind each level are left out: heads have their own.

    Args:
        channels: Channels of the map.
        stride: Stride of the map. Where it is no power of two (patches of 14 pixels), levels are resampled.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        doublings = [max(0, round(math.log2(stride / level))) for level in STRIDES]
        self.ups = nn.ModuleList(_upsampling(channels, count) for count in doublings)
        self.levels = tuple(Level(channels // 2**count, level) for count, level in zip(doublings, STRIDES, strict=True))

    def end_at(self, stride: int) -> None:
        """Leave out the levels of a larger stride.

        Raises:
            RequestError: The pyramid has no level of this stride.
        """
        if stride not in STRIDES:
            raise RequestError(f"backbone.output_stride={stride}: the pyramid's strides are {join_names(STRIDES)}.")
        count = sum(level.stride <= stride for level in self.levels)
        self.levels, self.ups = self.levels[:count], self.ups[:count]

    def keep_levels(self, indices: Iterable[int]) -> None:
        """Remove the layers of all other levels: they would receive no gradient."""
        for index in set(range(len(self.levels))) - set(indices):
            self.ups[index] = nn.Identity()

    def forward(self, x: Tensor, size: torch.Size) -> list[Tensor]:
        """One map per level.

        Args:
            x: (B, C, h, w).
            size: Height and width of the images, in pixels.

        Returns:
            For each level (B, channels, H / stride, W / stride), rounded up.
        """
        maps = []
        for up, level in zip(self.ups, self.levels, strict=True):
            target = [-(-side // level.stride) for side in size]
            level_map = up(x)
            if level_map.shape[-2] >= 2 * target[0]:
                level_map = F.max_pool2d(level_map, 2, ceil_mode=True)
            if list(level_map.shape[-2:]) != target:
                level_map = F.interpolate(level_map, target, mode="bilinear", align_corners=False)
            maps.append(level_map)
        return maps


class _Norm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _upsampling(channels: int, doublings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in range(doublings):
        inputs = channels // 2**step
        if step:
            layers += [_Norm(inputs), nn.GELU()]
        layers.append(nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2))
    return nn.Sequential(*layers)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Zeros below and to the right, up to whole patches, as a convolution with padding sees the border.

    Args:
        images: (B, C, H, W).
        multiple: Side of a patch, in pixels.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))
