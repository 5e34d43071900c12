"""A head that makes an image from the deepest map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head


class PixelHead(Head):
    """One 1×1 convolution makes all pixels of a position of the deepest map (SimMIM's decoder: Xie et al., CVPR 2022).

    Output: (B, outputs, h · stride, w · stride).

    Args:
        levels: The backbone's.
        outputs: Channels of the image.
    """

    def __init__(self, levels: Sequence[Level], outputs: int) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        stride = levels[-1].stride
        self.output: nn.Conv2d = nn.Conv2d(levels[-1].channels, outputs * stride**2, 1)
        self.shuffle = nn.PixelShuffle(stride)
        initialize_head(self, self.output)
        assert self.output.bias is not None
        nn.init.constant_(self.output.bias, 0.5)  # grey

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.shuffle(self.output(features[-1]))  # type: ignore[no-any-return]
