"""BSS: batch spectral shrinkage."""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.models.parts import Parts, Weights
from segrun.models.segmenter import Output, Segmenter
from segrun.ranges import NonNegativeFloat, PositiveInt
from segrun.transfer.regularizers.regularizer import Penalty, Regularizer


class BSS(Regularizer):
    """η Σ σ²₋ᵢ over the k smallest singular values of the batch's feature matrix.

    Chen et al., "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning",
    NeurIPS 2019 (k = 1, η = 1e-3). The matrix is (images, channels): the deepest feature map, averaged over positions.
    It is computed in float32.

    Args:
        k: Number of singular values.
        eta: η, the strength.
    """

    name = "bss"

    def __init__(self, k: PositiveInt, eta: NonNegativeFloat) -> None:
        self.k = k
        self.eta = eta

    def check(self, parts: Parts, trained_before: Set[str], batch_size: int) -> None:
        if batch_size <= self.k:
            raise RequestError(
                f"regularizer.bss.k={self.k}: a batch of {batch_size} images has {batch_size} singular values, and k "
                f"must be smaller. Use a larger trainer.batch_size."
            )

    def build_penalty(self, model: Segmenter, initial_weights: Weights, memory: Weights) -> Penalty:
        def penalty(images: Tensor, output: Output) -> Tensor:
            features = output.features[-1].float().mean((2, 3))
            count = min(features.shape)
            if count <= self.k:
                raise RequestError(
                    f"regularizer.bss.k={self.k}: the features of the batch have {count} singular values "
                    f"({features.shape[0]} images per process × {features.shape[1]} channels), and k must be smaller. "
                    "Use a larger batch."
                )
            with torch.autocast(features.device.type, enabled=False):
                singular_values = torch.linalg.svdvals(features)  # descending
            smallest: Tensor = singular_values[-self.k :]
            return self.eta * smallest.square().sum()

        return penalty
