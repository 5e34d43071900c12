"""Auxiliary task: reconstruction of the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.ranges import NonNegativeFloat, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.pixel import PixelHead
from segrun.tasks.losses.elementwise import Elementwise
from segrun.types import Sample


class Reconstruction(Auxiliary):
    """The (augmented) image, from the deepest map alone, with an L1 loss.

    Only the deepest map is used, so that the bottleneck has to represent the image: finer maps would let it bypass it.
    No label is needed. Target: (channels, H, W) float32 in [0, 1].

    Args:
        weight: See `Auxiliary`.
        channels: Of the images.
    """

    name = "reconstruction"
    regression = True

    def __init__(self, weight: NonNegativeFloat, channels: PositiveInt) -> None:
        super().__init__(weight, Elementwise(F.l1_loss))
        self.channels = channels

    def head(self, levels: Sequence[Level], classes: int) -> PixelHead:
        return PixelHead(levels, self.channels)

    def target(self, sample: Sample, classes: int) -> Tensor:
        """See `Auxiliary.target`.

        Raises:
            RequestError: The image has another number of channels.
        """
        image = sample.image
        if len(image) != self.channels:
            raise RequestError(
                f"auxiliary.reconstruction.channels={self.channels}: {sample.name} has {len(image)} channels. "
                f"Give auxiliary.reconstruction.channels={len(image)}."
            )
        return image.float() / 255 if image.dtype == torch.uint8 else image
