"""Auxiliary task: distance of each pixel to the nearest other class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.conv import ConvHead
from segrun.tasks.losses.elementwise import Elementwise
from segrun.types import VOID, Sample


class Distance(Auxiliary):
    """The Euclidean distance to the nearest pixel of another class, divided by `reach`, at most 1. Smooth L1 loss.

    After Bischke et al., ICIP 2019, who sort the distance into bins. It is NaN at void, and where void is nearer than
    another class and `reach`, because void could hide one. Target: (1, H, W) float32.

    Args:
        weight: See `Auxiliary`.
        reach: In pixels.
        beta: The error below which the loss is quadratic.
        channels: Of the head.
        stride: Of the map that the head uses; None for all maps.
    """

    name = "distance"
    regression = True

    def __init__(
        self,
        weight: NonNegativeFloat,
        reach: PositiveFloat,
        beta: PositiveFloat,
        channels: PositiveInt,
        stride: PositiveInt | None,
    ) -> None:
        super().__init__(weight, Elementwise(partial(F.smooth_l1_loss, beta=beta)))
        self.reach = reach
        self.channels = channels
        self.stride = stride

    def head(self, levels: Sequence[Level], classes: int) -> ConvHead:
        return ConvHead(levels, 1, self.channels, self.stride)

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask = sample.mask.numpy()
        to_void = _distance_to(mask == VOID)
        target = np.full(mask.shape, np.nan, np.float32)
        margin = math.ceil(self.reach)  # pixels further away cannot change the target
        labels = np.where(mask == VOID, 0, mask.astype(np.int32) + 1)
        for class_index, box in enumerate(scipy.ndimage.find_objects(labels)):
            if box is None:
                continue
            window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
            classes_inside = mask[window]
            other = (classes_inside != class_index) & (classes_inside != VOID)
            distance = np.minimum(_distance_to(other), self.reach)
            known = np.where(to_void[window] < distance, np.nan, distance / self.reach)
            of_class = classes_inside == class_index
            target[window][of_class] = known[of_class]
        return torch.from_numpy(target)[None]

    def check(self, pixels: Tensor, classes: int) -> None:
        if not ((pixels > 0).sum(1) > 1).any():
            raise self.refusal(f"none of the {len(pixels)} training images shows two classes: no distance is below 1.")


def _distance_to(pixels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(H, W): the distance of each pixel to the nearest true one; infinite if there is none."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf)
    distances: NDArray[np.float64] = scipy.ndimage.distance_transform_edt(~pixels)
    return distances
