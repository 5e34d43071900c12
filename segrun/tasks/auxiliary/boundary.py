"""Where one class ends and another begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads import ConvHead
from segrun.tasks.losses import CrossEntropy
from segrun.types import VOID, Sample


class Boundary(Auxiliary):
    """Two classes a pixel: 1 within `width` pixels of another class, else 0; chessboard distance, as in Boundary IoU
    (Cheng et al., CVPR 2021). The image's border is no boundary. Where only void could make a pixel one, it is VOID.

    pos_weight: how much a boundary pixel weighs in the cross-entropy against another one, since they are rare.
    stride: the map that is read; null for all of them. channels: of the head. Target: (H, W) uint8.

    Raises:
        RequestError: width below 1, weights not above 0.
    """

    name = "boundary"

    def __init__(self, weight: float, width: int, pos_weight: float, channels: int, stride: int | None) -> None:
        loss = CrossEntropy()
        loss.class_weights = torch.tensor([1.0, pos_weight])
        super().__init__(weight, loss)
        self.width, self.pos_weight, self.channels, self.stride = width, pos_weight, channels, stride
        self.demand("width", width >= 1, "1 pixel or more")
        self.demand("pos_weight", pos_weight > 0, "above 0")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return ConvHead(levels, 2, self.channels, self.stride)

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask, size = sample.mask.numpy(), 2 * self.width + 1
        labelled = mask != VOID
        # lowest and highest class in the window around each pixel; repeating the border brings no other class in
        low = minimum_filter(mask, size, mode="nearest")  # VOID is above all classes
        high = maximum_filter(np.where(labelled, mask, 0), size, mode="nearest")
        sure = minimum_filter(labelled, size, mode="nearest")
        return torch.from_numpy(np.where(labelled & (high > low), 1, np.where(sure, 0, VOID)).astype(np.uint8))

    def check(self, pixels: Tensor, classes: int) -> None:
        if not ((pixels > 0).sum(1) > 1).any():
            raise self.refuse(f"none of the {len(pixels)} training images shows two classes, so none has a boundary.")
