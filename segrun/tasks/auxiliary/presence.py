"""Auxiliary task: which classes an image shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segrun.models.backbones.backbone import Level
from segrun.ranges import FractionBelowOne, NonNegativeFloat
from segrun.tasks.auxiliary.auxiliary import Auxiliary
from segrun.tasks.auxiliary.heads.pooled import PooledHead
from segrun.tasks.losses.elementwise import Elementwise
from segrun.types import VOID, Sample


class Presence(Auxiliary):
    """A class is visible (1), absent (0), or not visible but possibly hidden by void (NaN).

    Binary cross-entropy on the pooled deepest map. Target: (classes,) float32.

    Args:
        weight: See `Auxiliary`.
        void: The largest share of void pixels that is assumed to hide no class, for datasets that outline every object
            in void.
        dropout: Of the head.
    """

    name = "presence"

    def __init__(self, weight: NonNegativeFloat, void: FractionBelowOne, dropout: FractionBelowOne) -> None:
        super().__init__(weight, Elementwise(F.binary_cross_entropy_with_logits))
        self.void = void
        self.dropout = dropout

    def head(self, levels: Sequence[Level], classes: int) -> PooledHead:
        return PooledHead(levels, classes, self.dropout)

    def target(self, sample: Sample, classes: int) -> Tensor:
        pixels = torch.bincount(sample.mask.flatten(), minlength=VOID + 1)
        not_visible = float("nan") if pixels[VOID] > self.void * sample.mask.numel() else 0.0
        return torch.where(pixels[:classes] > 0, 1.0, not_visible)

    def check(self, pixels: Tensor, classes: int) -> None:
        if (pixels > 0).any(0).sum() < 2:
            raise self.refusal("the training images show one class only, so it is always present.")
