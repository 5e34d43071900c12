"""Gradient surgery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segrun.tasks.balance.balance import Balance, Tensors


class PCGrad(Balance):
    """Gradient surgery: each task's gradient is projected off the original ones that it conflicts with, then summed.

    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020; the others are taken one after another in
    random order. All shared parameters are one vector. A projected gradient is a linear combination of the original
    ones, so inner products are enough.
    """

    needs_task_gradients = True

    def gradient_correction(
        self, gradients: Mapping[str, Tensors], losses: Mapping[str, float], seed: int
    ) -> list[Tensor] | None:
        by_parameter = list(zip(*(gradients[name] for name in self.task_weights), strict=True))
        if not by_parameter:
            return None
        weights = torch.tensor(list(self.task_weights.values()), dtype=torch.float64)
        products = weights.outer(weights) * _inner_products(by_parameter)
        coefficients = _projection_coefficients(products, seed)
        extra = (weights * (coefficients.sum(0) - 1)).tolist()
        if not any(extra):
            return None
        corrections = []
        for task_gradients in by_parameter:
            correction = torch.zeros_like(task_gradients[0])
            for coefficient, gradient in zip(extra, task_gradients, strict=True):
                correction = correction + coefficient * gradient
            corrections.append(correction)
        return corrections


def _inner_products(by_parameter: Sequence[Tensors]) -> Tensor:
    """(K, K) float64 on the CPU, from the gradients of the K tasks for each parameter."""
    count = len(by_parameter[0])
    # sums instead of a matrix product, which a GPU may round to TF32
    pairs = torch.stack([torch.stack([(a * b).sum() for a in task for b in task]) for task in by_parameter])
    return pairs.cpu().double().sum(0).view(count, count)


def _projection_coefficients(products: Tensor, seed: int) -> Tensor:
    """(K, K): row i holds the coefficients of the original gradients in the projected gradient of task i.

    Args:
        products: (K, K) inner products of the original gradients.
        seed: For the order in which the other tasks are taken.
    """
    count = len(products)
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.eye(count, dtype=torch.float64)
    for i, row in enumerate(coefficients):
        for j in torch.randperm(count, generator=generator).tolist():
            if i == j:
                continue
            inner = row @ products[j]
            if inner < 0 < products[j, j]:
                row[j] -= inner / products[j, j]
    return coefficients
