"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segrun.errors import RequestError
from segrun.ranges import NonEmpty, NonNegativeFloat
from segrun.tasks.losses.class_weights import ClassWeights
from segrun.tasks.losses.loss import Loss


class Sum(Loss):
    """Several losses, each multiplied by its coefficient and divided by its own normalizers.

    Args:
        losses: The losses.
        coefficients: One per loss.
        class_weights: See `Loss`; used by each of the losses.
    """

    def __init__(
        self,
        losses: Annotated[Sequence[Loss], NonEmpty],
        coefficients: Annotated[Sequence[NonNegativeFloat], NonEmpty],
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__()
        if len(losses) != len(coefficients):
            raise RequestError(
                f"loss.coefficients: {len(coefficients)} numbers for {len(losses)} losses. Give one number per loss."
            )
        self.losses = nn.ModuleList(losses)
        self.coefficients = tuple(coefficients)
        for loss in losses:
            loss.weighting = class_weights

    def check_class_count(self, classes: int) -> None:
        for loss in self._terms():
            loss.check_class_count(classes)

    def set_class_weights(self, pixels: Tensor) -> None:
        for loss in self._terms():
            loss.set_class_weights(pixels)

    def class_prior(self, pixels: Tensor) -> Tensor:
        return self._terms()[0].class_prior(pixels)

    def normalizers(self, target: Tensor) -> Tensor:
        return torch.cat([loss.normalizers(target) for loss in self._terms()])

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        pairs = zip(self.coefficients, self._terms(), strict=True)
        return torch.cat([coefficient * loss(logits, target) for coefficient, loss in pairs])

    def _terms(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]
