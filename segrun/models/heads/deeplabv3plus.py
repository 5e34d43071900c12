"""DeepLabV3+: atrous spatial pyramid pooling, refined by one fine map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.aspp import ASPP, dilations_for
from segrun.models.heads.blocks import ConvNormAct, conv3x3
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import level_at
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, NonEmpty, OutputStride, PositiveInt


class DeepLabV3Plus(Head):
    """DeepLabV3+ (Chen et al., ECCV 2018).

    ASPP on the deepest map is upsampled to stride 4 and concatenated with the stride-4 map, which a 1×1 convolution
    reduces to `low` channels; a 3×3 decoder follows. Output: (B, outputs, H / 4, W / 4).

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of the ASPP and of the decoder.
        low: Channels of the reduced stride-4 map.
        rates: Dilations at output stride 16. They are doubled at 8 and halved at 32.
        separable: Depthwise-separable ASPP and decoder.
        dropout: Probability behind the ASPP.
        output_stride: Of the deepest map, if the backbone can be dilated.

    Raises:
        LacksLevel: The backbone has no map at stride 4.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt,
        low: PositiveInt,
        rates: Annotated[Sequence[PositiveInt], NonEmpty],
        separable: bool,
        dropout: FractionBelowOne,
        output_stride: OutputStride | None = None,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.fine_level = level_at(levels, 4, "deeplabv3plus")
        self.levels_used = (self.fine_level, len(levels) - 1)
        self.aspp = ASPP(levels[-1].channels, channels, dilations_for(rates, levels), separable, dropout)
        self.after = conv3x3(channels, channels, separable) if separable else nn.Identity()
        self.low = ConvNormAct(levels[self.fine_level].channels, low, 1)
        decoder = [conv3x3(channels + low, channels, separable)]
        if not separable:
            decoder.append(conv3x3(channels, channels, separable))
        self.decoder = nn.Sequential(*decoder)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine = features[self.fine_level]
        deep = resize_like(self.after(self.aspp(features[-1])), fine)
        return self.output(self.decoder(torch.cat((deep, self.low(fine)), 1)))  # type: ignore[no-any-return]
