"""Which classes are in the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.tasks.auxiliary.auxiliary import Auxiliary, Elementwise
from segrun.tasks.auxiliary.heads import PooledHead
from segrun.types import VOID, Sample


class Presence(Auxiliary):
    """A class is in the picture (1), is not (0), or is not seen but may be hidden by void (NaN). Binary cross-entropy
    on the pooled deepest map.

    void: the largest share of void pixels that is held to hide nothing, for data sets that outline every object in
    void. Target: (classes,) float32.

    Raises:
        RequestError: void or dropout outside [0, 1).
    """

    name = "presence"

    def __init__(self, weight: float, void: float, dropout: float) -> None:
        super().__init__(weight, Elementwise(F.binary_cross_entropy_with_logits))
        self.void, self.dropout = void, dropout
        self.demand("void", 0 <= void < 1, "a share: 0 or more, below 1")
        self.demand("dropout", 0 <= dropout < 1, "0 or more, below 1")

    def head(self, levels: Sequence[Level], classes: int) -> nn.Module:
        return PooledHead(levels, classes, self.dropout)

    def target(self, sample: Sample, classes: int) -> Tensor:
        pixels = torch.bincount(sample.mask.flatten(), minlength=VOID + 1)
        unseen = float("nan") if pixels[VOID] > self.void * sample.mask.numel() else 0.0
        return torch.where(pixels[:classes] > 0, 1.0, unseen)

    def check(self, pixels: Tensor, classes: int) -> None:
        if (pixels > 0).any(0).sum() < 2:
            raise self.refuse("the training images show one class only, so it is always there.")
