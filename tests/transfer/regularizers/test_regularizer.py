"""Regularizers: in which phases they act, whose weight decay they replace, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.models.segmenter import Segmenter
from segrun.models.weights.report import LoadReport
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, GradualUnfreeze, NoFreeze
from segrun.transfer.regularizers.bss import BSS
from segrun.transfer.regularizers.delta import Delta
from segrun.transfer.regularizers.distill import Distill
from segrun.transfer.regularizers.l2sp import L2SP
from segrun.transfer.regularizers.regularizer import Regularizer
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.regularizers.tiny import BACKBONE_WEIGHTS, HEAD_WEIGHTS, tiny_model


@pytest.fixture
def model() -> Segmenter:
    return tiny_model()


@pytest.mark.parametrize(
    ("regularizer", "undecayed"),
    [
        (L2SP(0.1, 0.01), {*BACKBONE_WEIGHTS, *HEAD_WEIGHTS}),
        (Delta(0.01, 5.0, 1, False), set(BACKBONE_WEIGHTS)),
        (BSS(1, 1e-3), set()),
        (Distill(1.0, 2.0, False), set()),
    ],
)
def test_a_regularizer_replaces_the_weight_decay_of_certain_parameters(
    model: Segmenter, regularizer: Regularizer, undecayed: set[str]
) -> None:
    parts = model.parts()
    plan = Finetune(0.4).plan(parts, FreezeBackbone(1), 4).with_regularizers([regularizer], parts, 8)
    assert [phase.regularizers for phase in plan.phases] == [(), (regularizer,)]
    before, after = (phase.trainable_parameters(parts) for phase in plan.phases)
    assert {settings.decay_multiplier for settings in before.values()} == {1.0}
    assert {name for name, settings in after.items() if settings.decay_multiplier == 0} == undecayed
    assert {settings.decay_multiplier for name, settings in after.items() if name not in undecayed} == {1.0}
    assert after.keys() == {name for name, _ in model.named_parameters()}


def test_regularizers_act_in_just_the_phases_in_which_something_loaded_learns(model: Segmenter) -> None:
    parts, regularizers = model.parts(), (L2SP(0.1, 0.01), BSS(1, 1e-3))
    plan = Finetune(0.4).plan(parts, GradualUnfreeze(1), 6).with_regularizers(regularizers, parts, 8)
    assert [phase.regularizers for phase in plan.phases] == [(), *[regularizers] * 3]


@pytest.mark.parametrize(
    ("regularizer", "reason"),
    [
        (Delta(0.01, 5.0, 1, False), r"starts with a random head\. Use freeze=head_first"),
        (Distill(1.0, 2.0, False), r"this plan has none. Use freeze=head_first .*regularizer\.distill\.features=true"),
    ],
)
def test_what_the_head_must_have_learnt_for_is_refused_without_a_head_only_phase(
    model: Segmenter, regularizer: Regularizer, reason: str
) -> None:
    parts = model.parts()
    with pytest.raises(RequestError, match=reason):
        Finetune(0.4).plan(parts, NoFreeze(), 4).with_regularizers([regularizer], parts, 8)
    by_features = Finetune(0.4).plan(parts, NoFreeze(), 4).with_regularizers([Distill(1.0, 2.0, True)], parts, 8)
    assert len(by_features.phases[0].regularizers) == 1


@pytest.mark.parametrize(
    ("loaded", "freeze", "reason"),
    [
        (False, NoFreeze(), r"regularizer=l2sp: it needs pretrained weights, and none were loaded"),
        (True, FreezeBackbone(None), r"regularizer=l2sp: this plan trains none of the parameters"),
    ],
)
def test_regularizers_without_target_parameters_are_refused(
    model: Segmenter, loaded: bool, freeze: FreezeSchedule, reason: str
) -> None:
    if not loaded:
        model.report = LoadReport("none")
    parts = model.parts()
    plan = Finetune(0.4).plan(parts, freeze, 4)
    with pytest.raises(RequestError, match=reason):
        plan.with_regularizers([L2SP(0.1, 0.01), BSS(1, 1e-3)], parts, 8)
    assert plan.with_regularizers([], parts, 8) is plan


SETTINGS: dict[str, dict[str, Any]] = {
    "l2sp.L2SP": {"alpha": 0.1, "beta": 0.01},
    "bss.BSS": {"k": 1, "eta": 1e-3},
    "delta.Delta": {"weight": 0.1, "temperature": 5.0, "batches": 1, "exact": False},
    "distill.Distill": {"weight": 1.0, "temperature": 2.0, "features": False},
}


@pytest.mark.parametrize(
    ("target", "key", "value"),
    [
        ("l2sp.L2SP", "alpha", -0.1),
        ("l2sp.L2SP", "beta", -0.01),
        ("bss.BSS", "k", 0),
        ("bss.BSS", "eta", -0.001),
        ("delta.Delta", "weight", -0.1),
        ("delta.Delta", "temperature", 0.0),
        ("delta.Delta", "batches", 0),
        ("delta.Delta", "exact", 1),
        ("distill.Distill", "weight", -1.0),
        ("distill.Distill", "temperature", 0.0),
        ("distill.Distill", "features", None),
    ],
)
def test_settings_out_of_range_are_refused(target: str, key: str, value: Any) -> None:
    settings = {"_target_": f"segrun.transfer.regularizers.{target}", **SETTINGS[target]}
    name = target.partition(".")[0]
    assert build(settings, f"regularizer.{name}").name == name
    with pytest.raises(RequestError, match=rf"regularizer\.{name}\.{key}=.*: must be "):
        build({**settings, key: value}, f"regularizer.{name}")
