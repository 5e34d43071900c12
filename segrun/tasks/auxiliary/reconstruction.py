"""The image itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import initialise
from segrun.tasks.auxiliary.auxiliary import Auxiliary, Elementwise
from segrun.types import Sample


class Reconstruction(Auxiliary):
    """The (augmented) image, from the deepest map alone, so that the bottleneck has to hold it: finer maps would let
    it pass by. L1. It needs no label: images without any can feed it.

    channels: of the images. Target: (channels, H, W) float32 in [0, 1].

    Raises:
        RequestError: in `target`, an image of other channels.
    """

    name = "reconstruction"
    regression = True

    def __init__(self, weight: float, channels: int) -> None:
        super().__init__(weight, Elementwise(F.l1_loss))
        self.channels = channels
        self.demand("channels", channels >= 1, "1 or more")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return PixelHead(levels, self.channels)

    def target(self, sample: Sample, classes: int) -> Tensor:
        image = sample.image
        if len(image) != self.channels:
            raise RequestError(
                f"auxiliary.reconstruction.channels={self.channels}: {sample.name} has {len(image)} channels. "
                f"Give auxiliary.reconstruction.channels={len(image)}."
            )
        return image.float() / 255 if image.dtype == torch.uint8 else image


class PixelHead(nn.Module):
    """One 1×1 convolution makes all pixels that a position of the deepest map stands for (SimMIM's decoder:
    Xie et al., CVPR 2022). Output: (B, outputs, h · stride, w · stride)."""

    def __init__(self, levels: Sequence[Level], outputs: int) -> None:
        super().__init__()
        self.levels_used = (len(levels) - 1,)
        stride = levels[-1].stride
        self.output = nn.Conv2d(levels[-1].channels, outputs * stride**2, 1)
        self.shuffle = nn.PixelShuffle(stride)
        initialise(self, self.output)
        assert self.output.bias is not None
        nn.init.constant_(self.output.bias, 0.5)  # grey

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.shuffle(self.output(features[-1]))  # type: ignore[no-any-return]
