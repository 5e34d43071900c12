"""Auxiliary task: objects as points, with a heat-map of centres per class and the sizes of the objects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Level
from segrun.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.conv import ConvHead
from segrun.tasks.losses.centernet import CenterNetLoss
from segrun.types import VOID, Sample

STRIDE = 4  # pixels per cell
SPREAD = 0.54 / 6  # standard deviation of a Gaussian divided by the side of the box
CENTRE_BIAS = -2.19  # log-odds of 0.1: centres are rare


class Component(NamedTuple):
    """A connected component of a class.

    Attributes:
        area: In pixels.
        class_index: Its class.
        rows: Of its box, in pixels.
        columns: Of its box, in pixels.
    """

    area: int
    class_index: int
    rows: slice
    columns: slice


class Detection(Auxiliary):
    """CenterNet on the boxes of the masks' connected components (8 neighbours).

    Zhou, Wang, Krähenbühl, "Objects as Points", 2019. Each component has one Gaussian, whose deviations are not
    CornerNet's radius but those of TTFNet (Liu et al., AAAI 2020): 0.54/6 of the sides of the box.

    Target: (classes + 4, h, w) float32 in cells of 4 pixels. First the heat-maps; then, at the cells of the centres and
    NaN elsewhere, width and height of the box and the position of the centre in its cell (x, y in [0, 1)), all in cells
    because the factor `size` assumes it. If two centres share a cell, the box is that of the larger component. Void is
    NaN in the heat-maps, except at known centres. A component that is cut by the window or by void has the box of its
    visible part.

    Args:
        weight: See `Auxiliary`.
        background: The class without objects; None for none.
        smallest: Components of fewer pixels are ignored.
        size: Factor on the loss of the sizes.
        offset: Factor on the loss of the offsets.
        channels: Of the head.
        stride: Of the map that the head uses; None for all maps, since the map of stride 4 alone has a small receptive
            field and trains only the first stages of the backbone.
    """

    name = "detection"

    def __init__(
        self,
        weight: NonNegativeFloat,
        background: NonNegativeInt | None,
        smallest: PositiveInt,
        size: NonNegativeFloat,
        offset: NonNegativeFloat,
        channels: PositiveInt,
        stride: PositiveInt | None,
    ) -> None:
        super().__init__(weight, CenterNetLoss(size, offset))
        self.background = background
        self.smallest = smallest
        self.channels = channels
        self.stride = stride

    def head(self, levels: Sequence[Level], classes: int) -> ConvHead:
        head = ConvHead(levels, classes + 4, self.channels, self.stride, convs=2, full_size=False)
        assert head.output.bias is not None
        nn.init.constant_(head.output.bias[:classes], CENTRE_BIAS)
        return head

    def target(self, sample: Sample, classes: int) -> Tensor:
        mask = sample.mask.numpy()
        height, width = (math.ceil(side / STRIDE) for side in mask.shape)
        heat = np.zeros((classes, height, width), np.float32)
        boxes = np.full((4, height, width), np.nan, np.float32)
        components = sorted(self._components(mask, classes), key=lambda component: component.area)
        for component in components:  # the larger ones last, so that their boxes stay
            _draw(component, heat[component.class_index], boxes)
        void = F.max_pool2d((sample.mask == VOID).float()[None], STRIDE, ceil_mode=True).bool().numpy()
        heat[void & (heat < 1)] = np.nan
        return torch.from_numpy(np.concatenate((heat, boxes)))

    def check(self, pixels: Tensor, classes: int) -> None:
        if self.background is not None and self.background >= classes:
            raise RequestError(
                f"auxiliary.detection.background={self.background}: must be null, or a class below {classes}."
            )
        objects = pixels[:, self._object_classes(classes)]
        if not (objects >= self.smallest).any():
            raise self.refusal(
                f"none of the {len(pixels)} training images shows {self.smallest} pixels of a class with objects."
            )

    def _object_classes(self, classes: int) -> list[int]:
        return [class_index for class_index in range(classes) if class_index != self.background]

    def _components(self, mask: NDArray[np.uint8], classes: int) -> Iterator[Component]:
        for class_index in self._object_classes(classes):
            numbers, _ = scipy.ndimage.label(mask == class_index, np.ones((3, 3)))
            areas = np.bincount(numbers.ravel())[1:]
            for area, (rows, columns) in zip(areas.tolist(), scipy.ndimage.find_objects(numbers), strict=True):
                if area >= self.smallest:
                    yield Component(area, class_index, rows, columns)


def _draw(component: Component, heat: NDArray[np.float32], boxes: NDArray[np.float32]) -> None:
    """Draw a component into the heat-map (h, w) of its class and into the boxes (4, h, w)."""
    rows, columns = component.rows, component.columns
    height, width = (rows.stop - rows.start) / STRIDE, (columns.stop - columns.start) / STRIDE
    y, x = (rows.start + rows.stop) / 2 / STRIDE, (columns.start + columns.stop) / 2 / STRIDE
    row, column = int(y), int(x)
    vertical = _gaussian(heat.shape[0], row, height * SPREAD)
    horizontal = _gaussian(heat.shape[1], column, width * SPREAD)
    heat[:] = np.maximum(heat, np.outer(vertical, horizontal))
    boxes[:, row, column] = width, height, x - column, y - row


def _gaussian(length: int, centre: int, deviation: float) -> NDArray[np.float64]:
    """(length,): a Gaussian that is 1 at `centre`."""
    return np.exp(-(((np.arange(length) - centre) / deviation) ** 2) / 2)  # type: ignore[no-any-return]
