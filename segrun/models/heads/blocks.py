"""Blocks of layers that several heads are built of."""

from __future__ import annotations

from torch import nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias → batch norm → ReLU. (B, inputs, h, w) → (B, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dilation: int = 1, groups: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class SeparableConvNormAct(nn.Sequential):
    """3×3 depthwise, then 1×1 convolution → batch norm → ReLU (as in Chen et al., ECCV 2018)."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def conv3x3(inputs: int, outputs: int, separable: bool, dilation: int = 1) -> nn.Module:
    """3×3 convolution, norm, ReLU; depthwise-separable or plain."""
    if separable:
        return SeparableConvNormAct(inputs, outputs, dilation)
    return ConvNormAct(inputs, outputs, 3, dilation)
