"""The linear probe."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.ranges import OutputStride


class Linear(Head):
    """One 1×1 convolution on the deepest map: a linear probe per position (Alain & Bengio, ICLR workshop 2017).

    Output: (B, outputs, h, w) at the deepest map's size.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        output_stride: Of the deepest map, if the backbone can be dilated.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, output_stride: OutputStride | None = None) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.levels_used = (len(levels) - 1,)
        self.output = nn.Conv2d(levels[-1].channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(features[-1])  # type: ignore[no-any-return]
