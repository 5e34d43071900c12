"""Uncertainty weighting against the paper in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segrun.tasks.balance.uncertainty import Uncertainty
from tests.tasks.balance.examples import started, tensors


def with_s(*s: float) -> Uncertainty:
    balance = Uncertainty()
    started(balance)
    balance.load_state_dict({"s": torch.tensor(s)})
    return balance


def test_uncertainty_is_the_papers() -> None:
    s, losses = np.array([0.3, -2.0, -1.5]), np.array([0.7, 1.1, 1e-3])
    scale = np.array([1.0, 0.5, 2.0 * 0.5])  # the config's weights, and ½ of the regression
    balance = with_s(*s)
    inputs = {name: loss.requires_grad_() for name, loss in tensors(*losses).items()}
    total = balance.total(inputs, 1.0)
    total.backward()
    expected = (scale * np.exp(-s) * losses + s / 2).sum()
    assert total.item() == pytest.approx(expected)
    assert balance.parameters()[0].grad.tolist() == pytest.approx((-scale * np.exp(-s) * losses + 0.5).tolist())
    assert [loss.grad.item() for loss in inputs.values()] == pytest.approx((scale * np.exp(-s)).tolist())
    assert list(balance.weights().values()) == pytest.approx((scale * np.exp(-s)).tolist())
    assert with_s(-6.0, -6.0, -6.0).total(tensors(1e-4, 1e-4, 1e-4), 1.0) < 0


def test_uncertainty_converges_where_the_loss_says() -> None:
    """s ends where e^{−s}wL = ½ (½e^{−s}wL = ½ for a regression)."""
    balance = with_s(0.0, 0.0, 0.0)
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        balance.total(tensors(0.7, 1.1, 0.2), 1.0).backward()
        optimizer.step()
    assert balance.s.tolist() == pytest.approx(np.log(2 * np.array([0.7, 0.5 * 1.1, 0.5 * 2 * 0.2])).tolist())


def test_uncertainty_divided_over_batches_and_processes() -> None:
    parts = np.random.default_rng(0).random((2, 3, 3))  # processes, batches, tasks
    whole = with_s(0.3, -0.2, 0.1)
    value = whole.total(tensors(*parts.sum((0, 1))), 1.0)
    value.backward()
    gradients, values = [], []
    for process in parts:
        balance = with_s(0.3, -0.2, 0.1)
        for batch in process:
            total = balance.total(tensors(*(2 * batch)), 1 / 3)
            total.backward()
            values.append(total.item())
        gradients.append(balance.s.grad)
    assert torch.stack(gradients).mean(0).tolist() == pytest.approx(whole.s.grad.tolist())
    assert sum(values) / 2 == pytest.approx(value.item())
