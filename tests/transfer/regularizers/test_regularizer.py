"""Terms: when they act, what they hold and refuse; and L2-SP against a few lines of independent computation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segrun.errors import RequestError
from segrun.models.backbones.backbone import Backbone, Level
from segrun.models.segmenter import Output, Segmenter
from segrun.models.weights.loading import LoadReport
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, GradualUnfreeze, NoFreeze
from segrun.transfer.regularizers.features import BSS, Delta, Distill
from segrun.transfer.regularizers.regularizer import L2SP, Regularizer
from segrun.transfer.strategies.finetune import Finetune

BACKBONE_WEIGHTS = ("backbone.stem.0.weight", "backbone.fine.weight", "backbone.coarse.weight")
HEAD_WEIGHTS = ("heads.mask.fine.weight", "heads.mask.coarse.weight")
IMAGES = torch.rand(3, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
NONE = Output([], {})


class Two(Backbone):
    """Two maps, at strides 1 and 2, each a linear layer of a stem with a norm."""

    levels = (Level(3, 1), Level(5, 2))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Tanh())
        self.fine, self.coarse = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 2, stride=2)
        self.stages = {name: [name] for name in ("stem", "fine", "coarse")}

    def forward(self, images: Tensor) -> list[Tensor]:
        deep = self.stem(images)
        return [self.fine(deep), self.coarse(deep)]


class Sum(nn.Module):
    """Linear in both maps."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 2, 1), nn.Conv2d(5, 2, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        scores: Tensor = self.fine(features[0]) + F.interpolate(self.coarse(features[1]), scale_factor=2)
        return scores


def tiny() -> Segmenter:
    """Its backbone as though loaded."""
    made = Segmenter(Two(), {"mask": Sum()}).double().eval()
    made.report = LoadReport("x", loaded=tuple(made.backbone.state_dict())).prefixed("backbone.")
    return made


@pytest.fixture
def model() -> Segmenter:
    return tiny()


def start_of(model: Segmenter) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def move(model: Segmenter) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def gradients(model: Segmenter, value: Tensor) -> dict[str, Tensor]:
    """Of all parameters that the value depends on."""
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True, retain_graph=True)
    return {n: g for (n, _), g in zip(model.named_parameters(), found, strict=True) if g is not None}


def test_l2sp_pulls_weights_alone_toward_the_start_though_the_model_has_moved(model: Segmenter) -> None:
    start = start_of(model)
    move(model)  # as after a resume
    here = start_of(model)
    value = L2SP(0.3, 0.05).bind(model, start, {})(IMAGES, NONE)
    far = sum(np.square(here[n].numpy() - start[n].numpy()).sum() for n in BACKBONE_WEIGHTS)
    new = sum(np.square(here[n].numpy()).sum() for n in HEAD_WEIGHTS)
    assert value.item() == pytest.approx(0.15 * far + 0.025 * new, rel=1e-12)
    expected = {n: 0.3 * (here[n] - start[n]) for n in BACKBONE_WEIGHTS} | {n: 0.05 * here[n] for n in HEAD_WEIGHTS}
    torch.testing.assert_close(gradients(model, value), expected)  # no bias, no norm


def test_l2sp_leaves_out_what_stands_still(model: Segmenter) -> None:
    start = start_of(model)
    move(model)
    model.backbone.requires_grad_(False)
    value = L2SP(0.3, 0.05).bind(model, start, {})(IMAGES, NONE)
    assert set(gradients_of_learning(model, value)) == set(HEAD_WEIGHTS)
    new = sum(model.get_parameter(n).square().sum().item() for n in HEAD_WEIGHTS)
    assert value.item() == pytest.approx(0.025 * new)


def gradients_of_learning(model: Segmenter, value: Tensor) -> list[str]:
    value.backward()  # type: ignore[no-untyped-call]
    return [name for name, parameter in model.named_parameters() if parameter.grad is not None]


@pytest.mark.parametrize(
    ("term", "held"),
    [
        (L2SP(0.1, 0.01), {*BACKBONE_WEIGHTS, *HEAD_WEIGHTS}),
        (Delta(0.01, 5.0, 1, False), set(BACKBONE_WEIGHTS)),
        (BSS(1, 1e-3), set()),
        (Distill(1.0, 2.0, False), set()),
    ],
)
def test_a_term_takes_the_place_of_weight_decay_on_just_what_it_holds(
    model: Segmenter, term: Regularizer, held: set[str]
) -> None:
    parts = model.parts()
    plan = Finetune(0.4).plan(parts, FreezeBackbone(1), 4).with_regularizers([term], parts, 8)
    assert [phase.terms for phase in plan.phases] == [(), (term,)]
    before, after = (phase.learning(parts) for phase in plan.phases)
    assert {how.decay for how in before.values()} == {1.0}
    assert {name for name, how in after.items() if how.decay == 0} == held
    assert {how.decay for name, how in after.items() if name not in held} == {1.0}
    assert after.keys() == {name for name, _ in model.named_parameters()}


def test_terms_act_in_just_the_phases_in_which_something_loaded_learns(model: Segmenter) -> None:
    parts, terms = model.parts(), (L2SP(0.1, 0.01), BSS(1, 1e-3))
    plan = Finetune(0.4).plan(parts, GradualUnfreeze(1), 6).with_regularizers(terms, parts, 8)
    assert [phase.terms for phase in plan.phases] == [(), terms, terms, terms]


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        (Delta(0.01, 5.0, 1, False), r"begins with a random one. Use freeze=head_first"),
        (Distill(1.0, 2.0, False), r"this plan has none. Use freeze=head_first .*regularizer\.distill\.features=true"),
    ],
)
def test_what_the_head_must_have_learnt_for_is_refused_without_a_head_only_phase(
    model: Segmenter, term: Regularizer, reason: str
) -> None:
    parts = model.parts()
    with pytest.raises(RequestError, match=reason):
        Finetune(0.4).plan(parts, NoFreeze(), 4).with_regularizers([term], parts, 8)
    by_features = Finetune(0.4).plan(parts, NoFreeze(), 4).with_regularizers([Distill(1.0, 2.0, True)], parts, 8)
    assert len(by_features.phases[0].terms) == 1


@pytest.mark.parametrize(
    ("loaded", "freeze", "reason"),
    [
        (False, NoFreeze(), r"regularizer=l2sp: holds on to pretrained weights, and none were loaded"),
        (True, FreezeBackbone(None), r"regularizer=l2sp: nothing that it would hold learns in this plan"),
    ],
)
def test_terms_with_nothing_to_hold_are_refused(
    model: Segmenter, loaded: bool, freeze: FreezeSchedule, reason: str
) -> None:
    if not loaded:
        model.report = LoadReport("none")
    parts = model.parts()
    plan = Finetune(0.4).plan(parts, freeze, 4)
    with pytest.raises(RequestError, match=reason):
        plan.with_regularizers([L2SP(0.1, 0.01), BSS(1, 1e-3)], parts, 8)
    assert plan.with_regularizers([], parts, 8) is plan


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: L2SP(-0.1, 0.01), r"regularizer\.l2sp: alpha=-0\.1"),
        (lambda: L2SP(0.1, -0.01), r"regularizer\.l2sp: .*beta=-0\.01"),
        (lambda: BSS(0, 1e-3), r"regularizer\.bss: k=0"),
        (lambda: BSS(1, -1e-3), r"regularizer\.bss: .*eta=-0\.001"),
        (lambda: Delta(-0.1, 5.0, 1, False), r"regularizer\.delta: weight=-0\.1"),
        (lambda: Delta(0.1, 0.0, 1, False), r"regularizer\.delta: .*temperature=0\.0"),
        (lambda: Delta(0.1, 5.0, 0, False), r"regularizer\.delta: .*batches=0"),
        (lambda: Distill(-1.0, 2.0, False), r"regularizer\.distill: weight=-1\.0"),
        (lambda: Distill(1.0, 0.0, False), r"regularizer\.distill: .*temperature=0\.0"),
    ],
)
def test_coefficients_that_make_no_sense_are_refused(make: Callable[[], Regularizer], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        make()


def test_l2sp_is_refused_where_only_biases_or_norms_learn(model: Segmenter) -> None:
    parts = model.parts()
    plan = Finetune(1.0, kinds=["bias", "norm_bias"]).plan(parts, NoFreeze(), 4)
    with pytest.raises(RequestError, match=r"regularizer=l2sp: nothing that it would hold learns"):
        plan.with_regularizers([L2SP(0.1, 0.01)], parts, 8)
    assert plan.with_regularizers([BSS(1, 1e-3)], parts, 8).phases[0].terms
