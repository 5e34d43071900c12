"""DeepLabV3+: atrous spatial pyramid pooling, refined by one fine map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.aspp import ASPP, conv, spread
from segrun.models.heads.blocks import ConvNormAct, initialise, level_at, upsampled


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ (Chen et al., ECCV 2018): ASPP on the deepest map, upsampled to stride 4, joined with the
    stride-4 map cut down to `low` channels, then a 3×3 decoder.

    rates: dilations for output stride 16; they are doubled at 8 and halved at 32. separable: depthwise-
    separable ASPP and decoder. Output: (B, outputs, H/4, W/4).

    Raises:
        RequestError: the backbone has no map at stride 4.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: int,
        low: int,
        rates: Sequence[int],
        separable: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fine = level_at(levels, 4, "deeplabv3plus")
        self.levels_used = (self.fine, len(levels) - 1)
        self.aspp = ASPP(levels[-1].channels, channels, spread(rates, levels), separable, dropout)
        self.after = conv(channels, channels, separable) if separable else nn.Identity()
        self.low = ConvNormAct(levels[self.fine].channels, low, 1)
        decoder = [conv(channels + low, channels, separable)]
        if not separable:
            decoder.append(conv(channels, channels, separable))
        self.decoder = nn.Sequential(*decoder)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine = features[self.fine]
        deep = upsampled(self.after(self.aspp(features[-1])), fine)
        return self.output(self.decoder(torch.cat((deep, self.low(fine)), 1)))  # type: ignore[no-any-return]
