"""Gradient normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from segrun.ranges import LearningRate, NonNegativeFloat
from segrun.tasks.balance.balance import Balance, Tensors


class GradNorm(Balance):
    """Gradient normalisation: in each step one gradient step of λ on Σ |Gᵢ − Ḡ rᵢ^α|, then Σλ = K.

    Chen et al., "GradNorm", ICML 2018. Gᵢ = λᵢ‖∇_W Lᵢ‖, Ḡ is their mean, rᵢ = (Lᵢ/Lᵢ(0)) / their mean, and Ḡ rᵢ^α is
    taken as constant.

    Args:
        alpha: α, how strongly a task that lags behind is pulled along; the paper's is 1.5.
        lr: Learning rate of λ; the paper's is 0.025.
    """

    needs_task_gradients = True

    def __init__(self, alpha: NonNegativeFloat, lr: LearningRate) -> None:
        self.alpha = alpha
        self.lr = lr

    def shared_parameters(
        self, names: Sequence[str], parameters: Tensors, features: Tensors, head_counts: Sequence[int]
    ) -> list[int]:
        """W: the last parameter with more than one dimension before each map that several heads use."""
        indices: set[int] = set()
        for feature, head_count in zip(features, head_counts, strict=True):
            if head_count > 1 and feature.requires_grad and parameters:
                gradients = torch.autograd.grad(feature.sum(), parameters, retain_graph=True, allow_unused=True)
                matrices = [i for i, gradient in enumerate(gradients) if gradient is not None and gradient.ndim > 1]
                indices.update(matrices[-1:])
        return sorted(indices)

    def gradient_correction(self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int) -> None:
        norms = _float64(_norm(gradients[name]) for name in self.task_weights)
        # a step without a label of some task, or one that overflowed in fp16, says nothing about the training rates
        if min(losses.values()) <= 0 or not norms.isfinite().all():
            return
        if not self.reference_losses:
            self.reference_losses = {name: float(losses[name]) for name in self.task_weights}
        norms *= _float64(self.task_weights.values())
        ratios = _float64(losses[name] / self.reference_losses[name] for name in self.task_weights)
        factors = _float64(self.factors.values())
        targets = (factors * norms).mean() * (ratios / ratios.mean()) ** self.alpha
        slopes = norms * (factors * norms - targets).sign()  # the gradient of the paper's loss with respect to λ
        factors = (factors - self.lr * slopes).clamp(min=1e-3)  # below 0 the loss of a task would be maximised
        self.factors = dict(zip(self.task_weights, (factors / factors.mean()).tolist(), strict=True))


def _norm(tensors: Tensors) -> float:
    return math.sqrt(sum(float(tensor.square().sum()) for tensor in tensors))


def _float64(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)
