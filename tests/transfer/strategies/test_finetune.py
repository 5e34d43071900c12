"""Strategies make plans that are read without training."""

from __future__ import annotations

import functools

import pytest

from segrun.config.build import build
from segrun.config.compose import compose, to_dict
from segrun.errors import RequestError
from segrun.experiment import assemble
from segrun.models.parts import Parts
from segrun.models.weights.loading import LoadReport
from segrun.transfer.freeze import FreezeBackbone, FreezeStages, GradualUnfreeze, NoFreeze
from segrun.transfer.strategies.finetune import FeatureExtraction, Finetune, Scratch

BACKBONES = ["mobilenet_v2", "resnet18"]


@functools.cache
def parts(backbone: str, loaded: bool = True) -> Parts:
    """Of a shipped model, as though its backbone had been loaded in full, or not at all."""
    values = to_dict(compose("train", [f"backbone={backbone}", "backbone.weights=none", "head=fcn"]))
    model = assemble.segmenter(values, 2)
    if loaded:
        model.report = LoadReport("x", loaded=tuple(model.backbone.state_dict())).prefixed("backbone.")
    return model.parts()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_finetune_lets_all_learn_the_backbone_at_its_own_rate(backbone: str) -> None:
    plan = Finetune(0.1).plan(parts(backbone), NoFreeze(), 5).check(parts(backbone))
    (phase,) = plan.phases
    assert (phase.name, phase.epochs) == ("all", 5)
    assert {name: how.lr_scale for name, how in phase.learn.items()} == {
        **dict.fromkeys(parts(backbone).backbone, 0.1),
        "head.mask": 1.0,
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_finetune_with_gradual_unfreezing_adds_one_part_a_phase(backbone: str) -> None:
    all_of_it = tuple(parts(backbone))
    plan = Finetune(0.1).plan(parts(backbone), GradualUnfreeze(2), 12).check(parts(backbone))
    assert [tuple(phase.learn) for phase in plan.phases] == [all_of_it[5 - i :] for i in range(6)]
    assert [phase.epochs for phase in plan.phases] == [2] * 6
    assert [phase.name for phase in plan.phases] == [
        "heads", "from layer4", "from layer3", "from layer2", "from layer1", "all",
    ]  # fmt: skip


def test_finetune_with_frozen_stages_leaves_them_out() -> None:
    (phase,) = Finetune(0.1).plan(parts("resnet18"), FreezeStages(1), 3).phases
    assert tuple(phase.learn) == ("backbone.layer2", "backbone.layer3", "backbone.layer4", "head.mask")


@pytest.mark.parametrize("rate", [0.0, -0.1])
def test_finetune_at_no_rate_points_to_freezing(rate: float) -> None:
    with pytest.raises(RequestError, match=r"strategy\.backbone_lr=.*freeze=backbone"):
        Finetune(rate)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_feature_extraction_teaches_the_head_alone(backbone: str) -> None:
    (phase,) = FeatureExtraction().plan(parts(backbone), FreezeBackbone(None), 5).check(parts(backbone)).phases
    assert tuple(phase.learn) == ("head.mask",)
    learning = phase.learning(parts(backbone))
    assert set(learning) == {p.name for p in parts(backbone)["head.mask"].parameters}


@pytest.mark.parametrize("freeze", [NoFreeze(), FreezeBackbone(2), FreezeStages(1), GradualUnfreeze(1)])
def test_feature_extraction_refuses_a_schedule_that_lets_the_backbone_learn(freeze: NoFreeze) -> None:
    with pytest.raises(RequestError, match=r"feature_extraction keeps the backbone frozen.*Use freeze=backbone"):
        FeatureExtraction().plan(parts("mobilenet_v2"), freeze, 9)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scratch_teaches_everything_at_one_rate(backbone: str) -> None:
    random = parts(backbone, loaded=False)
    (phase,) = Scratch().plan(random, NoFreeze(), 5).check(random).phases
    assert tuple(phase.learn) == tuple(random)
    assert {how.lr_scale for how in phase.learn.values()} == {1.0}


def test_scratch_refuses_loaded_weights() -> None:
    with pytest.raises(RequestError, match=r"strategy=scratch starts from random weights.*backbone\.weights"):
        Scratch().plan(parts("mobilenet_v2"), NoFreeze(), 5)


def test_the_command_line_picks_the_freeze_schedule_that_belongs_to_the_strategy() -> None:
    values = to_dict(compose("train", ["strategy=feature_extraction"]))
    assert values["freeze"]["_target_"].endswith("FreezeBackbone")
    asked = to_dict(compose("train", ["strategy=feature_extraction", "freeze=none"]))
    assert asked["freeze"]["_target_"].endswith("NoFreeze")
    strategy, freeze = build(asked["strategy"], "strategy"), build(asked["freeze"], "freeze")
    with pytest.raises(RequestError, match="feature_extraction keeps the backbone frozen"):
        strategy.plan(parts("mobilenet_v2"), freeze, 5)
