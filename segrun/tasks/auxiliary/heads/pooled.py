"""A head for outputs per image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.head import Head


class PooledHead(Head):
    """Average of the deepest map, dropout, a linear layer. Output: (B, outputs).

    Args:
        levels: The backbone's.
        outputs: Number of outputs.
        dropout: Probability.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, dropout: float) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        self.dropout = nn.Dropout(dropout)
        self.output: nn.Linear = nn.Linear(levels[-1].channels, outputs)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.output(self.dropout(features[-1].mean((2, 3))))  # type: ignore[no-any-return]
