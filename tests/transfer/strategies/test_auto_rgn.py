"""Auto-RGN: LR multipliers per tensor from relative gradient norms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segrun.transfer.freeze import NoFreeze
from segrun.transfer.strategies.auto_rgn import AutoRGN, relative_gradient_norms
from tests.transfer.strategies.parts import BACKBONE, KINDS, NEW, make_parts


def test_relative_gradient_norms_are_shares_of_the_largest() -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "head.weight": (2, 4)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = {name: rng.normal(size=shape) * (i + 1) for i, (name, shape) in enumerate(shapes.items())}
    norms = {n: np.sqrt((gradients[n] ** 2).sum()) / np.sqrt((weights[n] ** 2).sum()) for n in shapes}
    values = relative_gradient_norms(
        {n: torch.from_numpy(w) for n, w in weights.items()}, {n: torch.from_numpy(g) for n, g in gradients.items()}
    )
    assert values == pytest.approx({n: norm / max(norms.values()) for n, norm in norms.items()}, rel=1e-12)
    assert max(values.values()) == 1.0


def test_a_tensor_of_zeros_gets_1_and_does_not_set_the_others() -> None:
    one = torch.ones(2, 2)
    weights = {"zero": torch.zeros(3), "a": one, "b": one, "still": one}
    gradients = {"zero": 1e6 * torch.ones(3), "a": one, "b": -0.5 * one, "still": 0 * one}
    assert relative_gradient_norms(weights, gradients) == {"zero": 1.0, "a": 1.0, "b": 0.5, "still": 0.0}


def test_a_bias_near_zero_neither_sets_the_others_nor_exceeds_1() -> None:
    weights = {"bias": torch.full((4,), 1e-6), "a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    gradients = {"bias": torch.ones(4), "a": torch.ones(2, 2), "b": torch.full((2, 2), 0.25)}
    assert relative_gradient_norms(weights, gradients) == {"bias": 1.0, "a": 1.0, "b": 0.25}


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gradients_of_zero_give_finite_multipliers(weight: float) -> None:
    (multiplier,) = relative_gradient_norms({"a": torch.full((3,), weight)}, {"a": torch.zeros(3)}).values()
    assert math.isfinite(multiplier)


def test_weights_without_a_gradient_get_no_multiplier() -> None:
    assert set(relative_gradient_norms({"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(2)})) == {"a"}


def test_auto_rgn_skips_the_norms_of_the_backbone_and_measures_in_every_phase() -> None:
    (phase,) = AutoRGN(1.0).plan(make_parts(), NoFreeze(), 3).phases
    assert phase.lr_multipliers is relative_gradient_norms
    assert set(phase.trainable_parameters(make_parts())) == {
        *(f"{name}.{kind}" for name in BACKBONE for kind in ("weight", "bias")),
        *(f"{name}.{kind}" for name in NEW for kind in KINDS),
    }
