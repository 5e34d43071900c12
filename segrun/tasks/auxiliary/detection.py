"""Objects as points: a heat-map of centres a class, and the size of what is there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.models.heads.blocks import upsampled
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads import ConvHead
from segrun.tasks.losses import Loss
from segrun.types import VOID, Sample

STRIDE = 4  # pixels a cell
SPREAD = 0.54 / 6  # a Gaussian's deviation over the box's side, each way


class Detection(Auxiliary):
    """CenterNet (Zhou, Wang, Krähenbühl, "Objects as Points", 2019) on the boxes of the masks' connected components
    (8 neighbours), one Gaussian each: not CornerNet's radius but TTFNet's (Liu et al., AAAI 2020), 0.54/6 of the sides.

    Target: (classes + 4, h, w) float32 in cells of 4 pixels: the heat-maps; then, at the cells of the centres and NaN
    elsewhere, width and height of the box and the centre's place in its cell (x, y in [0, 1)), all in cells, as the
    size's coefficient wants it. Where two centres share a cell, the larger component's. Void: NaN in the heat-maps
    but for centres known. A component that the window or void cuts has the box of what is seen.

    background: the class without objects, null for none; smallest: components of fewer pixels count as not there;
    size, offset: the coefficients of their losses. stride: the map that is read, null for all of them, since that of
    stride 4 alone sees little of a large object and teaches the backbone's first stages only.

    Raises:
        RequestError: smallest below 1, coefficients below 0.
    """

    name = "detection"

    def __init__(
        self,
        weight: float,
        background: int | None,
        smallest: int,
        size: float,
        offset: float,
        channels: int,
        stride: int | None,
    ) -> None:
        super().__init__(weight, CenterNetLoss(size, offset))
        self.background, self.smallest, self.channels, self.stride = background, smallest, channels, stride
        self.size, self.offset = size, offset
        self.demand("smallest", smallest >= 1, "1 pixel or more")
        self.demand("size", size >= 0, "0 or more")
        self.demand("offset", offset >= 0, "0 or more")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        head = ConvHead(levels, classes + 4, self.channels, self.stride, convs=2, full_size=False)
        assert head.output.bias is not None
        nn.init.constant_(head.output.bias[:classes], -2.19)  # centres are rare: begin at a probability of 0.1
        return head

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask = sample.mask.numpy()
        high, wide = (math.ceil(side / STRIDE) for side in mask.shape)
        heat = np.zeros((classes, high, wide), np.float32)
        boxes = np.full((4, high, wide), np.nan, np.float32)
        for _, kind, (rows, columns) in sorted(self._components(mask, classes), key=lambda found: found[0]):
            height, width = (rows.stop - rows.start) / STRIDE, (columns.stop - columns.start) / STRIDE
            y, x = (rows.start + rows.stop) / 2 / STRIDE, (columns.start + columns.stop) / 2 / STRIDE
            row, column = int(y), int(x)
            gaussian = np.outer(_bell(high, row, height * SPREAD), _bell(wide, column, width * SPREAD))
            heat[kind] = np.maximum(heat[kind], gaussian)
            boxes[:, row, column] = width, height, x - column, y - row
        void = F.max_pool2d((sample.mask == VOID).float()[None], STRIDE, ceil_mode=True).bool().numpy()
        heat[void & (heat < 1)] = np.nan
        return torch.from_numpy(np.concatenate((heat, boxes)))

    def check(self, pixels: Tensor, classes: int) -> None:
        self.demand("background", self.background in (None, *range(classes)), f"null, or a class below {classes}")
        objects = pixels[:, [kind for kind in range(classes) if kind != self.background]]
        if not (objects >= self.smallest).any():
            raise self.refuse(
                f"none of the {len(pixels)} training images shows {self.smallest} pixels of a class with objects."
            )

    def _components(self, mask: NDArray[np.uint8], classes: int) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """(pixels, class, box) of each."""
        for kind in range(classes):
            if kind == self.background:
                continue
            numbers, _ = label(mask == kind, np.ones((3, 3)))
            areas = np.bincount(numbers.ravel())[1:]
            for area, box in zip(areas.tolist(), find_objects(numbers), strict=True):
                if area >= self.smallest:
                    yield area, kind, box


class CenterNetLoss(Loss):
    """Of the heat-maps, the sizes and the offsets, each over the number of its centres: K = 3. Scores of another
    height and width are brought to the target's.

    Heat-maps: −(1 − p)² log p at centres, −(1 − Y)⁴ p² log(1 − p) elsewhere (Law & Deng, ECCV 2018: α = 2, β = 4);
    L1 for the others, times `size` and `offset`.
    """

    def __init__(self, size: float, offset: float) -> None:
        super().__init__()
        self.size, self.offset = size, offset

    def normalizers(self, target: Tensor) -> Tensor:
        boxes = (~target[:, -1].isnan()).sum()
        return torch.stack([(target[:, :-4] == 1).sum(), boxes, boxes]).float()

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        if scores.shape[-2:] != target.shape[-2:]:
            scores = upsampled(scores, target)
        logits, heat = scores[:, :-4], target[:, :-4]
        guess = logits.sigmoid()
        centre = (1 - guess) ** 2 * F.logsigmoid(logits)
        elsewhere = (1 - heat.nan_to_num()) ** 4 * guess**2 * F.logsigmoid(-logits)
        surprise = torch.where(heat.isnan(), 0, -torch.where(heat == 1, centre, elsewhere))
        boxes = target[:, -4:]
        wrong = torch.where(boxes.isnan(), 0, (scores[:, -4:] - boxes.nan_to_num()).abs())
        return torch.stack([surprise.sum(), self.size * wrong[:, :2].sum(), self.offset * wrong[:, 2:].sum()])


def _bell(length: int, centre: int, deviation: float) -> NDArray[np.float64]:
    """(length,) a Gaussian that is 1 at `centre`."""
    return np.exp(-(((np.arange(length) - centre) / deviation) ** 2) / 2)  # type: ignore[no-any-return]
