"""The masks of another data set, with classes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segrun.models.backbones.backbone import Level
from segrun.models.heads.fcn import FCN
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.losses import CrossEntropy
from segrun.types import VOID, Sample


class Segmentation(Auxiliary):
    """Another data set, learnt beside the primary one, whose own samples have no target here: VOID everywhere.

    dataset: the other one; batch_size: its images a batch. An FCN head (Long et al., CVPR 2015) without skips;
    channels: of its 3×3, null for a quarter of the deepest map's. Cross-entropy. Target: (H, W) uint8.

    Raises:
        RequestError: batch_size below 1, dropout outside [0, 1).
    """

    name = "segmentation"

    def __init__(self, weight: float, dataset: Any, batch_size: int, channels: int | None, dropout: float) -> None:
        super().__init__(weight, CrossEntropy())
        self.dataset = dataset  # tasks know no data sets: of this one, how many classes it has
        self.batch_size, self.channels, self.dropout = batch_size, channels, dropout
        self.demand("batch_size", batch_size >= 1, "1 or more")
        self.demand("dropout", 0 <= dropout < 1, "0 or more, below 1")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return FCN(levels, len(self.dataset.classes), self.channels, self.dropout, ())

    def target(self, sample: Sample, classes: int) -> Tensor:
        return torch.full_like(sample.mask, VOID)
