"""Convolution adapters: a small convolution beside each frozen one.

The branch is a forward hook of the convolution, so that all names in the pretrained model stay the same and a copy of
the model has hooks of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.parts import Adapter
from segrun.models.segmenter import Segmenter
from segrun.ranges import LRMultiplier, PositiveInt
from segrun.transfer.adapters.layers import pretrained_modules
from segrun.transfer.strategies.finetune import Finetune


class ConvBranch(Adapter):
    """A forward hook that adds s ⊙ pointwise(ReLU(depthwise(x))) to the output of a convolution of x (B, in, H, W).

    Args:
        conv: The convolution.
        reduction: The branch has 1/`reduction` of its input channels.
    """

    def __init__(self, conv: nn.Conv2d, reduction: int) -> None:
        super().__init__()
        width = max(1, conv.in_channels // reduction)
        self.depthwise = nn.Conv2d(
            conv.in_channels,
            width,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            _pair(conv.dilation),
            groups=math.gcd(conv.in_channels, width),
            bias=False,
        )
        self.pointwise = nn.Conv2d(width, conv.out_channels, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(conv.out_channels))
        nn.init.zeros_(self.pointwise.weight)
        self.to(conv.weight)

    def forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        hidden = F.relu(self.depthwise(self._padded(inputs[0], output)))
        # scaling the kernel is the same as scaling the output, and autocast handles a convolution
        return output + F.conv2d(hidden, self.scale.view(-1, 1, 1, 1) * self.pointwise.weight)

    def _padded(self, images: Tensor, output: Tensor) -> Tensor:
        """The input, padded so that the branch gives the size of `output`.

        timm's `Same` convolutions pad depending on the input size and state a padding of 0.
        """
        conv = self.depthwise
        if conv.padding != (0, 0):
            return images
        padding: list[int] = []
        for axis in (1, 0):  # F.pad takes the last axis first
            needed = (output.shape[2 + axis] - 1) * conv.stride[axis] + (conv.kernel_size[axis] - 1) * conv.dilation[
                axis
            ]
            missing = max(0, needed + 1 - images.shape[2 + axis])
            padding += [missing // 2, missing - missing // 2]
        return F.pad(images, padding)


class ConvAdapter(Finetune):
    """A small convolution beside each one larger than 1×1: y = conv(x) + s ⊙ pointwise(ReLU(depthwise(x))).

    Chen et al., "Conv-Adapter", arXiv 2208.07463, "conv parallel". The depthwise kernel is as large as that of the
    convolution. s starts at 1 as in the paper; the pointwise kernel starts at 0, so that the start is the pretrained
    model.

    Args:
        reduction: The branch has 1/`reduction` of the convolution's input channels; 4 is usual.
        backbone_lr: LR multiplier of the adapters.
    """

    def __init__(self, reduction: PositiveInt, backbone_lr: LRMultiplier) -> None:
        super().__init__(backbone_lr, kinds=("adapter",), statistics=False)
        self.reduction = reduction

    def adapt(self, model: Segmenter) -> list[str]:
        """See `Strategy.adapt`.

        Raises:
            RequestError: The backbone has no convolution larger than 1×1.
        """
        convs = [
            module
            for _, module in pretrained_modules(model.backbone)
            if isinstance(module, nn.Conv2d) and max(_pair(module.kernel_size)) > 1
        ]
        if not convs:
            raise RequestError(
                "strategy=conv_adapter: the backbone has no convolution larger than 1×1. Use strategy=lora."
            )
        for conv in convs:
            conv.adapter = ConvBranch(conv, self.reduction)
            conv.register_forward_hook(conv.adapter)
        return [f"conv_adapter: adapters beside {len(convs)} convolutions"]


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]
