"""Feature pyramid: a top-down path, and every level brought to the finest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import coarse, initialise, upsampled


class TopDown(nn.Module):
    """The pyramid (Lin et al., CVPR 2017): 1×1 laterals to `channels`, each level adds the one above it, doubled.
    Maps in, maps of `channels` out, in the order of the backbone."""

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, channels, 1) for each in inputs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        made = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for place in range(len(made) - 2, -1, -1):
            made[place] = made[place] + F.interpolate(made[place + 1], made[place].shape[-2:], mode="nearest")
        return made


class FPN(nn.Module):
    """Semantic FPN (Kirillov et al., CVPR 2019): of each level of the pyramid 3×3, group norm, ReLU and doubling until
    the finest's size is reached; their sum, 1×1.

    pyramid, channels: of the top-down path and of what follows. Levels at strides 4 and up.
    Output: (B, outputs, h, w) at the finest of these.
    """

    def __init__(self, levels: Sequence[Level], outputs: int, pyramid: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.levels_used = coarse(levels)
        self.top_down = TopDown([levels[place].channels for place in self.levels_used], pyramid)
        self.towers = nn.ModuleList(
            nn.Sequential(*(_block(channels if step else pyramid, channels) for step in range(max(1, doublings))))
            for doublings in range(len(self.levels_used))
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Conv2d(channels, outputs, 1)
        initialise(self, self.output)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = self.top_down([features[place] for place in self.levels_used])
        total = self.towers[0](maps[0])
        for place, tower in enumerate(self.towers[1:], 1):
            x = maps[place]
            for step, block in enumerate(tower):  # type: ignore[arg-type,var-annotated]
                x = upsampled(block(x), maps[place - 1 - step])
            total = total + x
        return self.output(self.dropout(total))  # type: ignore[no-any-return]


def _block(inputs: int, channels: int) -> nn.Sequential:
    groups = next(count for count in (32, 16, 8, 4, 2, 1) if channels % count == 0)
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.GroupNorm(groups, channels), nn.ReLU(inplace=True)
    )
