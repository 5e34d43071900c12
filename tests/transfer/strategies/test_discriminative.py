"""Rates a part and a tensor, and the mixtures of weights that WiSE-FT tries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segrun.errors import RequestError
from segrun.models.parts import Kind, Parameter, Part, Parts
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, FreezeStages, GradualUnfreeze, NoFreeze
from segrun.transfer.strategies.discriminative import AutoRGN, Discriminative, LayerDecay, relative_gradient_norms
from segrun.transfer.strategies.finetune import Finetune
from segrun.transfer.strategies.wise_ft import WiseFT

BACKBONE = ("backbone.stem", "backbone.layer1", "backbone.layer2", "backbone.layer3")
NEW = ("pyramid", "head.mask")
KINDS: tuple[Kind, ...] = ("weight", "bias", "norm_weight", "norm_bias")


def parts(loaded: bool = True) -> Parts:
    return Parts(
        Part(name, tuple(Parameter(f"{name}.{k}", k, 9, loaded and name in BACKBONE) for k in KINDS), (name,))
        for name in (*BACKBONE, *NEW)
    )


def wise(*alphas: float) -> WiseFT:
    return WiseFT(0.4, alphas, restart=True)


@pytest.mark.parametrize(
    ("strategy", "shares"),
    [
        (Discriminative(2.0), [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]),
        (Discriminative(None, span=10_000.0), [1e-4, 1e-3, 1e-2, 1e-1, 1, 1]),
        (LayerDecay(0.65), [0.65**4, 0.65**3, 0.65**2, 0.65, 1, 1]),
        (LayerDecay(1.0), [1, 1, 1, 1, 1, 1]),
        (Finetune(0.1), [0.1, 0.1, 0.1, 0.1, 1, 1]),
    ],
)
def test_what_is_new_learns_at_the_full_rate_and_the_backbone_by_its_depth(
    strategy: Finetune, shares: list[float]
) -> None:
    scales = strategy.scales(parts())
    assert tuple(scales) == (*BACKBONE, *NEW)
    assert list(scales.values()) == pytest.approx(shares, rel=1e-12)


def test_a_depths_rate_is_the_same_in_every_phase() -> None:
    plan = Discriminative(2.0).plan(parts(), GradualUnfreeze(1), 9)
    assert [phase.learn["head.mask"].lr_scale for phase in plan.phases] == [1.0] * 5
    assert [phase.learn["backbone.layer2"].lr_scale for phase in plan.phases[2:]] == [0.25] * 3


@pytest.mark.parametrize(("factor", "span"), [(2.6, 100.0), (None, None)])
def test_discriminative_takes_either_a_factor_or_a_span(factor: float | None, span: float | None) -> None:
    with pytest.raises(RequestError, match=rf"strategy\.factor={factor}, strategy\.span={span}: give one of them"):
        Discriminative(factor, span)


@pytest.mark.parametrize(("factor", "span"), [(0.0, None), (-2.6, None), (None, 0.0), (None, -1.0)])
def test_discriminative_rates_are_above_zero(factor: float | None, span: float | None) -> None:
    with pytest.raises(RequestError, match=r"strategy\.factor=.*above 0"):
        Discriminative(factor, span)


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1])
def test_a_layers_decay_is_above_zero_and_at_most_one(decay: float) -> None:
    with pytest.raises(RequestError, match=rf"strategy\.decay={decay}: above 0, at most 1"):
        LayerDecay(decay)


def test_relative_gradient_norms_are_shares_of_the_largest() -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "head.weight": (2, 4)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = {name: rng.normal(size=shape) * (i + 1) for i, (name, shape) in enumerate(shapes.items())}
    norms = {n: np.sqrt((gradients[n] ** 2).sum()) / np.sqrt((weights[n] ** 2).sum()) for n in shapes}
    found = relative_gradient_norms(
        {n: torch.from_numpy(w) for n, w in weights.items()}, {n: torch.from_numpy(g) for n, g in gradients.items()}
    )
    assert found == pytest.approx({n: norm / max(norms.values()) for n, norm in norms.items()}, rel=1e-12)
    assert max(found.values()) == 1.0


def test_a_tensor_of_zeros_learns_at_the_full_rate_and_sets_no_others() -> None:
    one = torch.ones(2, 2)
    weights = {"zero": torch.zeros(3), "a": one, "b": one, "still": one}
    gradients = {"zero": 1e6 * torch.ones(3), "a": one, "b": -0.5 * one, "still": 0 * one}
    assert relative_gradient_norms(weights, gradients) == {"zero": 1.0, "a": 1.0, "b": 0.5, "still": 0.0}


def test_a_bias_near_zero_neither_sets_the_others_rates_nor_passes_the_full_one() -> None:
    weights = {"bias": torch.full((4,), 1e-6), "a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    gradients = {"bias": torch.ones(4), "a": torch.ones(2, 2), "b": torch.full((2, 2), 0.25)}
    assert relative_gradient_norms(weights, gradients) == {"bias": 1.0, "a": 1.0, "b": 0.25}


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_gradients_of_zero_make_rates_that_are_numbers(weight: float) -> None:
    (rate,) = relative_gradient_norms({"a": torch.full((3,), weight)}, {"a": torch.zeros(3)}).values()
    assert math.isfinite(rate)


def test_weights_without_a_gradient_get_no_rate() -> None:
    assert set(relative_gradient_norms({"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(2)})) == {"a"}


def test_auto_rgn_skips_the_norms_of_the_backbone_and_measures_in_every_phase() -> None:
    (phase,) = AutoRGN(1.0).plan(parts(), NoFreeze(), 3).phases
    assert phase.rates is relative_gradient_norms
    assert set(phase.learning(parts())) == {
        *(f"{name}.{kind}" for name in BACKBONE for kind in ("weight", "bias")),
        *(f"{name}.{kind}" for name in NEW for kind in KINDS),
    }


def test_wise_ft_keeps_the_weights_of_the_head_only_phase_and_of_the_last() -> None:
    plan = wise(0.5).plan(parts(), FreezeBackbone(2), 8)
    assert [(phase.name, phase.keep) for phase in plan.phases] == [("heads", True), ("all", True)]
    longer = wise(0.5).plan(parts(), GradualUnfreeze(1), 8)
    assert [phase.keep for phase in longer.phases] == [True, *[False] * (len(longer.phases) - 2), True]


def test_wise_ft_tries_the_mixtures_of_its_two_models() -> None:
    rng = np.random.default_rng(0)
    start, end = ({"w": rng.normal(size=(3, 4)), "b": rng.normal(size=5)} for _ in range(2))
    kept = [{n: torch.from_numpy(v) for n, v in start.items()} | {"count": torch.tensor(3), "spare": torch.ones(1)}]
    last = {n: torch.from_numpy(v) for n, v in end.items()} | {"count": torch.tensor(7)}
    alphas = [0.0, 0.3, 0.5, 1.0]
    found = dict(wise(*alphas[:-1]).candidates([*kept, last]))  # the end itself is always tried
    assert list(found) == ["α=0", "α=0.3", "α=0.5", "α=1"]
    for alpha, mixed in zip(alphas, found.values(), strict=True):
        assert set(mixed) == {"w", "b", "count"}
        assert mixed["count"].dtype == torch.int64 and mixed["count"] == 7  # buffers of whole numbers are the end's
        for name in start:
            np.testing.assert_allclose(mixed[name], (1 - alpha) * start[name] + alpha * end[name], rtol=1e-12)
    assert all(torch.equal(found["α=0"][name], kept[0][name]) for name in start)
    assert all(torch.equal(found["α=1"][name], last[name]) for name in start)


@pytest.mark.parametrize("alphas", [(), (-0.1,), (0.5, 1.1)])
def test_wise_ft_mixes_shares(alphas: tuple[float, ...]) -> None:
    with pytest.raises(RequestError, match=r"strategy\.alphas=.*numbers from 0 to 1"):
        wise(*alphas)


def test_wise_ft_is_refused_from_random_weights() -> None:
    with pytest.raises(RequestError, match=r"mixes with the pretrained model, and nothing was loaded"):
        wise(0.5).plan(parts(loaded=False), FreezeBackbone(1), 8)


@pytest.mark.parametrize("freeze", [NoFreeze(), FreezeBackbone(None), FreezeStages(1)])
def test_wise_ft_is_refused_without_a_head_only_phase_and_one_after_it(freeze: FreezeSchedule) -> None:
    with pytest.raises(RequestError, match=r"begins with the heads alone.*Use freeze=head_first"):
        wise(0.5).plan(parts(), freeze, 8)


@pytest.mark.parametrize("freeze", [FreezeStages(0), FreezeBackbone(2), GradualUnfreeze(1, thaw_norms=True)])
def test_what_leaves_the_weights_alone_is_refused_with_a_schedule_that_freezes_parts(freeze: FreezeSchedule) -> None:
    strategy = Finetune(1.0, kinds=["bias", "norm_bias"])
    with pytest.raises(RequestError, match=r"parameters alone, all of them from the first step.*Use freeze=none"):
        strategy.plan(parts(), freeze, 8)


def test_a_kind_that_the_backbone_has_none_of_is_refused() -> None:
    with pytest.raises(RequestError, match=r"this backbone has no parameters of the kinds token"):
        Finetune(1.0, kinds=["token"]).plan(parts(), NoFreeze(), 8)
