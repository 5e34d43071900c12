"""Feature pyramid: a top-down path, and every level brought to the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.models.heads.head import Head
from segrun.models.heads.initialization import initialize_head
from segrun.models.heads.levels import levels_from_stride
from segrun.models.heads.resize import resize_like
from segrun.ranges import FractionBelowOne, PositiveInt


class TopDown(nn.Module):
    """The top-down path (Lin et al., CVPR 2017): 1×1 laterals, each with the next coarser map added to it.

    Args:
        inputs: Channels of each map, finest first.
        channels: Channels of each result.
    """

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in inputs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, inputs[i], h[i], w[i]) → (B, channels, h[i], w[i]), finest first."""
        results = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for index in range(len(results) - 2, -1, -1):
            size = results[index].shape[-2:]
            results[index] = results[index] + F.interpolate(results[index + 1], size, mode="nearest")
        return results


class FPN(Head):
    """Semantic FPN (Kirillov et al., CVPR 2019).

    Each level of the pyramid passes 3×3, group norm, ReLU and doubling until it has the finest level's size; the sum
    passes a 1×1 convolution. Levels at strides of 4 and more. Output: (B, outputs, h, w) at the finest of these.

    Args:
        levels: The backbone's.
        outputs: Channels of the output.
        pyramid: Channels of the top-down path.
        channels: Channels behind it.
        dropout: Probability before the 1×1 convolution.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        outputs: int,
        pyramid: PositiveInt,
        channels: PositiveInt,
        dropout: FractionBelowOne,
    ) -> None:
        super().__init__()
        self.levels_used = levels_from_stride(levels)
        self.top_down = TopDown([levels[index].channels for index in self.levels_used], pyramid)
        self.towers = nn.ModuleList(_tower(doublings, pyramid, channels) for doublings in range(len(self.levels_used)))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialize_head(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = self.top_down([features[index] for index in self.levels_used])
        total = self.towers[0](maps[0])
        for index, tower in enumerate(self.towers[1:], 1):
            x = maps[index]
            for step, block in enumerate(tower):  # type: ignore[arg-type,var-annotated]
                x = resize_like(block(x), maps[index - 1 - step])
            total = total + x
        return self.output(self.dropout(total))  # type: ignore[no-any-return]


def _tower(doublings: int, inputs: int, channels: int) -> nn.Sequential:
    """One block per doubling of the size; one block for the finest level, which needs none."""
    blocks = [_block(inputs, channels)]
    for _ in range(1, doublings):
        blocks.append(_block(channels, channels))
    return nn.Sequential(*blocks)


def _block(inputs: int, channels: int) -> nn.Sequential:
    groups = next(count for count in (32, 16, 8, 4, 2, 1) if channels % count == 0)
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.GroupNorm(groups, channels), nn.ReLU(inplace=True)
    )
