"""How far each pixel is from the next class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.tasks.auxiliary.auxiliary import Auxiliary, Elementwise
from segrun.tasks.auxiliary.heads import ConvHead
from segrun.types import VOID, Sample


class Distance(Auxiliary):
    """The Euclidean distance to the nearest pixel of another class, over `reach` pixels and at most 1 (after Bischke
    et al., ICIP 2019, who sort it into bins). NaN at void, and where void is nearer than both: what it hides may be.

    Smooth L1; beta: the error below which it is squared. stride: the map that is read; null for all of them.
    channels: of the head. Target: (1, H, W) float32.

    Raises:
        RequestError: reach or beta not above 0.
    """

    name = "distance"
    regression = True

    def __init__(self, weight: float, reach: float, beta: float, channels: int, stride: int | None) -> None:
        super().__init__(weight, Elementwise(partial(F.smooth_l1_loss, beta=beta)))
        self.reach, self.beta, self.channels, self.stride = reach, beta, channels, stride
        self.demand("reach", reach > 0, "above 0 pixels")
        self.demand("beta", beta > 0, "above 0")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return ConvHead(levels, 1, self.channels, self.stride)

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask = sample.mask.numpy()
        hidden, found = _to_nearest(mask == VOID), np.full(mask.shape, np.nan, np.float32)
        more = math.ceil(self.reach)  # what is further off than this cannot change the target
        for kind, box in enumerate(find_objects(np.where(mask == VOID, 0, mask.astype(np.int32) + 1))):
            if box is None:
                continue
            window = tuple(slice(max(0, side.start - more), side.stop + more) for side in box)
            near = mask[window]
            other = np.minimum(_to_nearest((near != kind) & (near != VOID)), self.reach)
            target = np.where(hidden[window] < other, np.nan, other / self.reach)
            found[window][near == kind] = target[near == kind]
        return torch.from_numpy(found)[None]

    def check(self, pixels: Tensor, classes: int) -> None:
        if not ((pixels > 0).sum(1) > 1).any():
            raise self.refuse(f"none of the {len(pixels)} training images shows two classes: no distance is below 1.")


def _to_nearest(there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each pixel's distance to the nearest one of `there`; infinite where there is none."""
    if not there.any():
        return np.full(there.shape, np.inf)
    distances: NDArray[np.float64] = distance_transform_edt(~there)
    return distances
