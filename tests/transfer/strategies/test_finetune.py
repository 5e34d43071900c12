"""Fine-tuning: plans made from names, and what contradicts the method."""

from __future__ import annotations

from typing import Any

import pytest

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, FreezeStages, GradualUnfreeze, NoFreeze
from segrun.transfer.strategies.finetune import Finetune
from tests.transfer.strategies.parts import make_parts
from tests.transfer.strategies.shipped_parts import BACKBONES, shipped_parts


@pytest.mark.parametrize("backbone", BACKBONES)
def test_finetune_lets_all_learn_the_backbone_at_its_own_rate(backbone: str) -> None:
    plan = Finetune(0.1).plan(shipped_parts(backbone), NoFreeze(), 5).check(shipped_parts(backbone))
    (phase,) = plan.phases
    assert (phase.name, phase.epochs) == ("all", 5)
    assert {name: settings.lr_multiplier for name, settings in phase.trainable.items()} == {
        **dict.fromkeys(shipped_parts(backbone).backbone, 0.1),
        "head.mask": 1.0,
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_finetune_with_gradual_unfreezing_adds_one_part_a_phase(backbone: str) -> None:
    all_of_it = tuple(shipped_parts(backbone))
    plan = Finetune(0.1).plan(shipped_parts(backbone), GradualUnfreeze(2), 12).check(shipped_parts(backbone))
    assert [tuple(phase.trainable) for phase in plan.phases] == [all_of_it[5 - i :] for i in range(6)]
    assert [phase.epochs for phase in plan.phases] == [2] * 6
    assert [phase.name for phase in plan.phases] == [
        "heads", "from layer4", "from layer3", "from layer2", "from layer1", "all",
    ]  # fmt: skip


def test_finetune_with_frozen_stages_leaves_them_out() -> None:
    (phase,) = Finetune(0.1).plan(shipped_parts("resnet18"), FreezeStages(1), 3).phases
    assert tuple(phase.trainable) == ("backbone.layer2", "backbone.layer3", "backbone.layer4", "head.mask")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone_lr", 0.0),
        ("backbone_lr", -0.1),
        ("later_lr", 0),
        ("kinds", []),
        ("kinds", "bias"),
        ("kinds", ["biases"]),
        ("needs", "nothing"),
        ("statistics", 1),
        ("restart", None),
    ],
)
def test_settings_out_of_range_are_refused(key: str, value: Any) -> None:
    settings = {"_target_": "segrun.transfer.strategies.finetune.Finetune", "backbone_lr": 0.4}
    with pytest.raises(RequestError, match=rf"strategy\.{key}=.*: must be "):
        build({**settings, key: value}, "strategy")


@pytest.mark.parametrize("freeze", [FreezeStages(0), FreezeBackbone(2), GradualUnfreeze(1, thaw_norms=True)])
def test_what_leaves_the_weights_alone_is_refused_with_a_schedule_that_freezes_parts(freeze: FreezeSchedule) -> None:
    strategy = Finetune(1.0, kinds=["bias", "norm_bias"])
    with pytest.raises(RequestError, match=r"all of them from the first step.*Use freeze=none"):
        strategy.plan(make_parts(), freeze, 8)


def test_a_kind_that_the_backbone_has_none_of_is_refused() -> None:
    with pytest.raises(RequestError, match=r"this backbone has no parameters of the kinds token"):
        Finetune(1.0, kinds=["token"]).plan(make_parts(), NoFreeze(), 8)
