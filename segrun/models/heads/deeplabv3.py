"""DeepLabV3: atrous spatial pyramid pooling on the deepest map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.aspp import ASPP, conv, spread
from segrun.models.heads.blocks import initialise


class DeepLabV3(nn.Module):
    """DeepLabV3 (Chen et al., 2017): ASPP, 3×3, norm, ReLU, 1×1.

    rates: dilations for output stride 16; they are doubled at 8 and halved at 32. dropout: behind the ASPP.
    Output: (B, outputs, h, w) at the deepest map's size.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        channels: int,
        rates: Sequence[int],
        separable: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        self.aspp = ASPP(levels[-1].channels, channels, spread(rates, levels), separable, dropout)
        self.conv = conv(channels, channels, separable)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.conv(self.aspp(features[-1])))  # type: ignore[no-any-return]
