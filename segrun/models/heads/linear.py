"""The linear probe."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import initialise


class Linear(nn.Module):
    """One 1×1 convolution on the deepest map: a linear probe a position (Alain & Bengio, ICLR workshop 2017).
    Output: (B, outputs, h, w) at the deepest map's size."""

    def __init__(self, levels: Sequence[Level], outputs: int) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        self.output = nn.Conv2d(levels[-1].channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(features[-1])  # type: ignore[no-any-return]
