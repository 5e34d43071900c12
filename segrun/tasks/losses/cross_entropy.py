"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from segrun.ranges import FractionBelowOne
from segrun.tasks.losses.class_weights import ClassWeights, pixel_weights
from segrun.tasks.losses.loss import Loss
from segrun.types import VOID


class CrossEntropy(Loss):
    """Σ w_y · (−log p_y) over labelled pixels, divided by Σ w_y.

    Args:
        class_weights: See `Loss`.
        label_smoothing: The share of the target that is spread evenly over all classes.
    """

    def __init__(self, class_weights: ClassWeights | None = None, label_smoothing: FractionBelowOne = 0.0) -> None:
        super().__init__(class_weights)
        self.label_smoothing = label_smoothing

    def normalizers(self, target: Tensor) -> Tensor:
        return pixel_weights(target, self.class_weights).sum()[None]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = None if self.class_weights is None else self.class_weights.to(logits.device)
        return F.cross_entropy(
            logits, target.long(), weight, ignore_index=VOID, reduction="sum", label_smoothing=self.label_smoothing
        )[None]
