"""U-Net decoder over a pretrained encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.ranges import NonEmpty, PositiveInt


class UNet(Head):
    """U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) as commonly combined with pretrained encoders.

    Each step upsamples to the skip's size, concatenates the skip, and passes twice 3×3, norm, ReLU; a 3×3 convolution
    gives the output. Output: (B, outputs, h, w) at the finest level's size, or a finer one: steps behind the last skip
    double the size.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of the steps, deepest first. Steps beyond the images' size are left out.

    Raises:
        RequestError: There are fewer steps than skips.
    """

    def __init__(
        self, levels: Sequence[Level], outputs: int, channels: Annotated[Sequence[PositiveInt], NonEmpty]
    ) -> None:
        super().__init__()
        self.levels_used = tuple(range(len(levels)))
        skips = [level.channels for level in reversed(levels[:-1])]
        if len(channels) < len(skips):
            raise RequestError(f"head.channels={list(channels)}: this backbone needs at least {len(skips)} steps.")
        steps = len(skips) + round(math.log2(levels[0].stride))
        widths = list(channels)[:steps]
        inputs = [levels[-1].channels, *widths[:-1]]
        skips += [0] * (len(widths) - len(skips))
        self.steps = nn.ModuleList(
            nn.Sequential(ConvNormAct(below + skip, width), ConvNormAct(width, width))
            for below, skip, width in zip(inputs, skips, widths, strict=True)
        )
        self.output = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, x = features
        for step in self.steps:
            if skips:
                skip = skips.pop()
                x = step(torch.cat((_resize_nearest(x, skip.shape[-2], skip.shape[-1]), skip), 1))
            else:
                x = step(_resize_nearest(x, x.shape[-2] * 2, x.shape[-1] * 2))
        return self.output(x)  # type: ignore[no-any-return]


def _resize_nearest(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="nearest")
