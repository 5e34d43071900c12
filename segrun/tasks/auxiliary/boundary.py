"""Auxiliary task: boundaries between classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import scipy
import torch
from annotated_types import Ge, Le
from torch import Tensor

from segrun.models.backbones.backbone import Level
from segrun.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.conv import ConvHead
from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.types import VOID, Sample


class Boundary(Auxiliary):
    """Two classes per pixel: 1 within `width` pixels of another class, 0 elsewhere.

    The distance is the chessboard distance, as in Boundary IoU (Cheng et al., CVPR 2021). The border of the image is no
    boundary. A pixel that only void could make a boundary is VOID. Target: (H, W) uint8.

    Args:
        weight: See `Auxiliary`.
        width: In pixels.
        pos_weight: Weight of a boundary pixel in the cross-entropy, against 1 of another one, since they are rare.
        channels: Of the head.
        stride: Of the map that the head uses; None for all maps.
    """

    name = "boundary"

    def __init__(
        self,
        weight: NonNegativeFloat,
        width: Annotated[int, Ge(1), Le(1000)],
        pos_weight: PositiveFloat,
        channels: PositiveInt,
        stride: PositiveInt | None,
    ) -> None:
        loss = CrossEntropy()
        loss.class_weights = torch.tensor([1.0, pos_weight])
        super().__init__(weight, loss)
        self.width = width
        self.channels = channels
        self.stride = stride

    def head(self, levels: Sequence[Level], classes: int) -> ConvHead:
        return ConvHead(levels, 2, self.channels, self.stride)

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask, size = sample.mask.numpy(), 2 * self.width + 1
        labelled = mask != VOID
        # lowest and highest class in the window around each pixel; repeating the border adds no other class
        lowest = scipy.ndimage.minimum_filter(mask, size, mode="nearest")  # VOID is above all classes
        highest = scipy.ndimage.maximum_filter(np.where(labelled, mask, 0), size, mode="nearest")
        window_labelled = scipy.ndimage.minimum_filter(labelled, size, mode="nearest")
        boundary = labelled & (highest > lowest)
        target = np.where(boundary, 1, np.where(window_labelled, 0, VOID))
        return torch.from_numpy(target.astype(np.uint8))

    def check(self, pixels: Tensor, classes: int) -> None:
        if not ((pixels > 0).sum(1) > 1).any():
            raise self.refusal(f"none of the {len(pixels)} training images shows two classes, so none has a boundary.")
