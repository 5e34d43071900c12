"""Gradient surgery against the paper in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segrun.tasks.balance.pcgrad import PCGrad
from tests.tasks.balance.examples import SHAPES, WEIGHTS, numbers, split_gradients, started


def pcgrad(gradients: np.ndarray, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    projected = gradients.copy()
    for i in range(len(gradients)):
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = projected[i] @ gradients[j]
            if i != j and inner < 0:
                projected[i] -= inner / (gradients[j] @ gradients[j]) * gradients[j]
    return projected.sum(0)


@pytest.mark.parametrize("seed", range(6))
def test_pcgrad_is_the_papers_algorithm(seed: int) -> None:
    random = np.random.default_rng(seed)
    common = random.normal(size=24)
    vectors = random.normal(size=(3, 24)) + np.outer([1.0, -1.0, 0.3], common)
    weighted = vectors * np.array(list(WEIGHTS.values()))[:, None]
    added = started(PCGrad()).gradient_correction(split_gradients(vectors), numbers(1.0, 1.0, 1.0), seed)
    assert added is not None and [tuple(a.shape) for a in added] == SHAPES
    total = torch.cat([a.flatten() for a in added]).numpy() + weighted.sum(0)
    np.testing.assert_allclose(total, pcgrad(weighted, seed), rtol=1e-9, atol=1e-12)


def test_pcgrad_of_three_depends_on_the_order_and_on_the_seed_alone() -> None:
    vectors = np.random.default_rng(1).normal(size=(3, 24)) + np.outer([1.0, -1.0, -0.8], np.ones(24))
    results = [
        started(PCGrad()).gradient_correction(split_gradients(vectors), numbers(1.0, 1.0, 1.0), seed)
        for seed in (0, 0, *range(1, 9))
    ]
    flat = [torch.cat([r.flatten() for r in result or []]) for result in results]
    assert torch.equal(flat[0], flat[1])
    assert any(not torch.allclose(flat[0], other) for other in flat)


def test_pcgrad_adds_nothing_where_nothing_conflicts() -> None:
    vectors = np.abs(np.random.default_rng(0).normal(size=(3, 24)))
    balance = started(PCGrad())
    assert balance.gradient_correction(split_gradients(vectors), numbers(1.0, 1.0, 1.0), 0) is None
    vectors[2] = 0  # a task without a label in this window
    assert balance.gradient_correction(split_gradients(vectors), numbers(1.0, 1.0, 0.0), 0) is None
    assert balance.gradient_correction({name: [] for name in WEIGHTS}, numbers(1.0, 1.0, 1.0), 0) is None
    assert balance.shared_parameters(["a", "b"], [torch.zeros(2), torch.zeros(2, 2)], [], []) == [0, 1]
