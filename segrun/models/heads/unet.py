"""U-Net decoder over a pretrained encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, initialise


class UNet(nn.Module):
    """U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) as commonly paired with pretrained encoders:
    upsample to the skip's size → concatenate → twice (3×3, norm, ReLU); 3×3 to the classes.

    channels: of the decoder's steps from the deepest up; where there are more steps than skips, the last
    ones double the size without one. Output: (B, outputs, h, w).

    Raises:
        RequestError: fewer channels than the backbone has skips.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        finer = list(reversed(levels[:-1]))
        skips = [level.channels for level in finer]
        steps = len(skips) + round(math.log2(levels[0].stride))
        if len(channels) < len(skips):
            raise RequestError(f"head.channels={list(channels)}: this backbone needs at least {len(skips)} steps.")
        widths = list(channels)[:steps]
        inputs = [levels[-1].channels, *widths]
        skips += [0] * (len(widths) - len(skips))
        self.steps = nn.ModuleList(
            nn.Sequential(ConvNormAct(below + skip, width), ConvNormAct(width, width))
            for below, skip, width in zip(inputs, skips, widths, strict=False)
        )
        self.output = nn.Conv2d(widths[-1], outputs, 3, padding=1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, x = features
        for step in self.steps:
            skip = skips.pop() if skips else None
            size = (x.shape[-2] * 2, x.shape[-1] * 2) if skip is None else skip.shape[-2:]
            if x.shape[-2:] != size:
                x = F.interpolate(x, size, mode="nearest")
            x = step(x if skip is None else torch.cat((x, skip), 1))
        return self.output(x)  # type: ignore[no-any-return]
