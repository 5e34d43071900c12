"""Auxiliary task: the masks of another dataset, with its own classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segrun.data.dataset import Dataset
from segrun.models.backbones.backbone import Level
from segrun.models.heads.fcn import FCN
from segrun.ranges import FractionBelowOne, NonNegativeFloat, PositiveInt
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.losses.cross_entropy import CrossEntropy
from segrun.types import VOID, Sample


class Segmentation(Auxiliary):
    """Another dataset, trained beside the primary one, whose own samples have no target here: VOID everywhere.

    An FCN head (Long et al., CVPR 2015) without skip connections, cross-entropy. Target: (H, W) uint8.

    Args:
        weight: See `Auxiliary`.
        dataset: The other dataset.
        batch_size: Its images per batch.
        channels: Of the head's 3×3 convolution; None for a quarter of the deepest map's.
        dropout: Of the head.
    """

    name = "segmentation"

    def __init__(
        self,
        weight: NonNegativeFloat,
        dataset: Dataset,
        batch_size: PositiveInt,
        channels: PositiveInt | None,
        dropout: FractionBelowOne,
    ) -> None:
        super().__init__(weight, CrossEntropy())
        self.dataset: Dataset = dataset
        self.batch_size = batch_size
        self.channels = channels
        self.dropout = dropout

    def head(self, levels: Sequence[Level], classes: int) -> FCN:
        return FCN(levels, len(self.dataset.classes), channels=self.channels, dropout=self.dropout, fuse=())

    def target(self, sample: Sample, classes: int) -> Tensor:
        return torch.full_like(sample.mask, VOID)
