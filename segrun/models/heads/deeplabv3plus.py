"""DeepLabV3+: atrous spatial pyramid pooling, refined by one fine map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrun.models.backbone import Level
from segrun.models.heads.blocks import ConvNormAct, SeparableConvNormAct, initialise, level_at, upsampled


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image pooling (Chen et al., 2017)."""

    def __init__(self, inputs: int, channels: int, rates: Sequence[int], separable: bool, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, channels, 1)])
        for rate in rates:
            self.branches.append(_conv(inputs, channels, separable, rate))
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(inputs, channels, 1))
        self.project = nn.Sequential(ConvNormAct(channels * (len(rates) + 2), channels, 1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], 1))  # type: ignore[no-any-return]


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
        spread = [max(1, rate * 16 // levels[-1].stride) for rate in rates]
        self.aspp = ASPP(levels[-1].channels, channels, spread, separable, dropout)
        self.after = _conv(channels, channels, separable) if separable else nn.Identity()
        self.low = ConvNormAct(levels[self.fine].channels, low, 1)
        decoder = [_conv(channels + low, channels, separable)]
        if not separable:
            decoder.append(_conv(channels, channels, separable))
        self.decoder = nn.Sequential(*decoder)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine = features[self.fine]
        deep = upsampled(self.after(self.aspp(features[-1])), fine)
        return self.output(self.decoder(torch.cat((deep, self.low(fine)), 1)))  # type: ignore[no-any-return]


def _conv(inputs: int, outputs: int, separable: bool, dilation: int = 1) -> nn.Module:
    if separable:
        return SeparableConvNormAct(inputs, outputs, dilation)
    return ConvNormAct(inputs, outputs, 3, dilation)
