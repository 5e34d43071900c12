"""DeepLabV3: atrous spatial pyramid pooling on the deepest map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.aspp import ASPP, dilations_for
from segrun.models.heads.blocks import conv3x3
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.ranges import FractionBelowOne, NonEmpty, OutputStride, PositiveInt


class DeepLabV3(Head):
    """DeepLabV3 (Chen et al., 2017): ASPP, 3×3, norm, ReLU, 1×1 on the deepest map.

    Output: (B, outputs, h, w) at the deepest map's size.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        channels: Channels of the ASPP and of the 3×3.
        rates: Dilations at output stride 16. They are doubled at 8 and halved at 32.
        separable: Depthwise-separable 3×3 convolutions.
        dropout: Probability behind the ASPP.
        output_stride: Of the deepest map, if the backbone can be dilated.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: PositiveInt,
        rates: Annotated[Sequence[PositiveInt], NonEmpty],
        separable: bool,
        dropout: FractionBelowOne,
        output_stride: OutputStride | None = None,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.levels_used = (len(levels) - 1,)
        self.aspp = ASPP(levels[-1].channels, channels, dilations_for(rates, levels), separable, dropout)
        self.conv = conv3x3(channels, channels, separable)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.conv(self.aspp(features[-1])))  # type: ignore[no-any-return]
