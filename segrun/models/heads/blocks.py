"""What several heads are built of, and how a head's weights begin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level, deepest


class ConvNormAct(nn.Sequential):
    """Convolution without bias → batch norm → ReLU; the size stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dilation: int = 1, groups: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class SeparableConvNormAct(nn.Sequential):
    """Depthwise then 1×1 convolution → batch norm → ReLU (as in Chen et al., ECCV 2018)."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def upsampled(x: Tensor, like: Tensor) -> Tensor:
    """x, bilinearly at the size of `like`."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def initialise(head: nn.Module, output: nn.Conv2d) -> None:
    """Convolutions as for ReLU networks (He et al., ICCV 2015); the last layer small, so that training
    starts near equal scores."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(output.weight, std=0.01)


class LacksLevel(RequestError):
    """The backbone gives no map that the head needs."""


def level_at(levels: Sequence[Level], stride: int, head: str) -> int:
    """The place of the deepest level of a stride.

    Raises:
        LacksLevel: the backbone has none; its strides are named.
    """
    places = [place for place, level in enumerate(levels) if level.stride == stride]
    if not places:
        there = ", ".join(str(level.stride) for level in levels)
        raise LacksLevel(f"head={head} needs a feature map at stride {stride}; this backbone has strides {there}.")
    return places[-1]


def coarse(levels: Sequence[Level], finest: int = 4) -> list[int]:
    """The places of the deepest level of each stride from `finest` on (of all, where none is so coarse)."""
    places = deepest(levels)
    return [place for place in places if levels[place].stride >= finest] or places
