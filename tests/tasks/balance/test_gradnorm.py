"""Gradient normalisation against the paper in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.tasks.balance.gradnorm import GradNorm
from tests.tasks.balance.examples import WEIGHTS, numbers, started


def test_gradnorm_steps_along_the_papers_loss() -> None:
    """Against autograd through Σ |Gᵢ − Ḡ rᵢ^α|, by λ, on a small network with two shared tensors."""
    torch.manual_seed(0)
    shared = [torch.randn(6, 4, requires_grad=True), torch.randn(5, 6, requires_grad=True)]
    heads, images = torch.randn(3, 5), torch.randn(8, 4)
    balance = started(GradNorm(1.5, 0.025))
    factors, first = torch.ones(3), None
    for step in range(5):
        deep = torch.tanh(images @ shared[0].T) @ shared[1].T
        losses = torch.stack([((deep @ head) - step).square().mean() for head in heads])
        given, weights = torch.tensor(list(WEIGHTS.values())), factors.clone().requires_grad_()
        single = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        first = losses.detach() if first is None else first
        norms = []
        for weight, loss in zip(weights * given, losses, strict=True):
            found = torch.autograd.grad(weight * loss, shared, create_graph=True)
            norms.append(torch.cat([g.flatten() for g in found]).norm())
        norm = torch.stack(norms)
        ratio = losses.detach() / first
        target = (norm.mean() * (ratio / ratio.mean()) ** 1.5).detach()
        (slope,) = torch.autograd.grad((norm - target).abs().sum(), weights)
        factors = factors - 0.025 * slope
        factors = factors.clamp(min=1e-3)
        factors = 3 * factors / factors.sum()
        gradients = {name: list(g) for name, g in zip(WEIGHTS, single, strict=True)}
        assert balance.gradient_correction(gradients, numbers(*losses.tolist()), step) is None
        assert list(balance.factors.values()) == pytest.approx(factors.tolist(), rel=1e-9)
        assert list(balance.weights().values()) == pytest.approx((factors * given).tolist(), rel=1e-9)
    assert max(abs(factor - 1) for factor in balance.factors.values()) > 0.01


def test_gradnorm_evens_gradients_out_and_stays_positive() -> None:
    balance = started(GradNorm(0.0, 0.01), {"mask": 1.0, "boundary": 1.0})
    gradients = {"mask": [torch.tensor([[3.0]])], "boundary": [torch.tensor([[1.0]])]}
    for step in range(300):
        balance.gradient_correction(gradients, {"mask": 1.0, "boundary": 1.0}, step)
    assert list(balance.weights().values()) == pytest.approx([0.5, 1.5], abs=0.06)
    wild = started(GradNorm(0.0, 100.0), {"mask": 1.0, "boundary": 1.0})
    wild.gradient_correction(gradients, {"mask": 1.0, "boundary": 1.0}, 0)
    assert wild.weights()["mask"] > 0 and sum(wild.weights().values()) == pytest.approx(2)


@pytest.mark.parametrize(("alpha", "slopes"), [(1.5, (-1.2, 1.0)), (1.0, (1.2, -1.0))])
def test_gradnorms_alpha_decides_how_far_a_task_that_lags_is_pulled(alpha: float, slopes: tuple[float, float]) -> None:
    """Gradients 1.2 and 1, losses at 1.07 and 0.93 of their start: targets 1.218 and 0.987, or 1.177 and 1.023."""
    balance = started(GradNorm(alpha, 0.025), {"mask": 1.0, "boundary": 1.0})
    for gradients, losses in (((0.0, 0.0), (2.0, 3.0)), ((1.2, 1.0), (2.14, 2.79))):
        found = {name: [torch.tensor([[g]])] for name, g in zip(("mask", "boundary"), gradients, strict=True)}
        balance.gradient_correction(found, dict(zip(("mask", "boundary"), losses, strict=True)), 0)
    stepped = 1 - 0.025 * np.array(slopes)
    assert list(balance.weights().values()) == pytest.approx((2 * stepped / stepped.sum()).tolist())


@pytest.mark.parametrize(("loss", "gradient"), [(0.0, 1.0), (1.0, math.inf), (1.0, math.nan)])
def test_gradnorm_leaves_out_windows_that_say_nothing(loss: float, gradient: float) -> None:
    balance = started(GradNorm(1.5, 0.025))
    found = {name: [torch.tensor([[i + 1.0]])] for i, name in enumerate(WEIGHTS)} | {"mask": [torch.tensor([gradient])]}
    balance.gradient_correction(found, numbers(loss, 1.0, 1.0), 0)
    assert balance.factors == numbers(1.0, 1.0, 1.0) and not balance.reference_losses


def test_gradnorm_finds_the_last_matrix_of_each_level_that_several_heads_read() -> None:
    stages = nn.ModuleList([nn.Sequential(nn.Conv2d(c, 3, 3), nn.BatchNorm2d(3)) for c in (2, 3, 3)])
    names, parameters = zip(*stages.named_parameters(), strict=True)
    image = torch.randn(2, 2, 9, 9)
    features = [image := stage(image) for stage in stages]
    matrices = [i for i, parameter in enumerate(parameters) if parameter.ndim > 1]
    balance = GradNorm(1.5, 0.025)
    assert balance.shared_parameters(names, parameters, features, [1, 2, 3]) == matrices[1:]
    assert balance.shared_parameters(names, parameters, features, [2, 1, 1]) == matrices[:1]
    assert balance.shared_parameters(names, parameters, features, [1, 1, 1]) == []
    assert balance.shared_parameters(names, parameters, [f.detach() for f in features], [2, 2, 2]) == []
    features[-1].sum().backward()  # the graph is still there


@pytest.mark.parametrize(("alpha", "lr", "option"), [(-0.1, 0.025, "alpha=-0.1"), (1.5, 0.0, r"lr=0\.0")])
def test_options_out_of_range_are_refused(alpha: float, lr: float, option: str) -> None:
    with pytest.raises(RequestError, match=rf"balance\.{option}: must be "):
        build({"_target_": "segrun.tasks.balance.gradnorm.GradNorm", "alpha": alpha, "lr": lr}, "balance")
