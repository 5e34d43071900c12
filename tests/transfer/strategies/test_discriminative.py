"""Discriminative learning rates and layer-wise decay: LR multipliers by depth."""

from __future__ import annotations

from typing import Any

import pytest

from segrun.config.build import build
from segrun.errors import RequestError
from segrun.transfer.freeze import GradualUnfreeze
from segrun.transfer.strategies.discriminative import Discriminative
from segrun.transfer.strategies.finetune import Finetune
from segrun.transfer.strategies.layer_decay import LayerDecay
from tests.transfer.strategies.parts import BACKBONE, NEW, make_parts


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Discriminative(2.0), [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]),
        (Discriminative(None, span=10_000.0), [1e-4, 1e-3, 1e-2, 1e-1, 1, 1]),
        (LayerDecay(0.65), [0.65**4, 0.65**3, 0.65**2, 0.65, 1, 1]),
        (LayerDecay(1.0), [1, 1, 1, 1, 1, 1]),
        (Finetune(0.1), [0.1, 0.1, 0.1, 0.1, 1, 1]),
    ],
)
def test_new_parts_have_the_base_learning_rate_and_the_backbone_one_by_depth(
    strategy: Finetune, expected: list[float]
) -> None:
    multipliers = strategy.lr_multipliers(make_parts())
    assert tuple(multipliers) == (*BACKBONE, *NEW)
    assert list(multipliers.values()) == pytest.approx(expected, rel=1e-12)


def test_the_multiplier_of_a_depth_is_the_same_in_every_phase() -> None:
    plan = Discriminative(2.0).plan(make_parts(), GradualUnfreeze(1), 9)
    assert [phase.trainable["head.mask"].lr_multiplier for phase in plan.phases] == [1.0] * 5
    assert [phase.trainable["backbone.layer2"].lr_multiplier for phase in plan.phases[2:]] == [0.25] * 3


@pytest.mark.parametrize(("factor", "span"), [(2.6, 100.0), (None, None)])
def test_discriminative_takes_either_a_factor_or_a_span(factor: float | None, span: float | None) -> None:
    with pytest.raises(
        RequestError, match=rf"strategy\.factor={factor}, strategy\.span={span}: give exactly one of them"
    ):
        Discriminative(factor, span)


@pytest.mark.parametrize(
    "settings", [{"factor": 0.0}, {"factor": -2.6}, {"factor": None, "span": 0.0}, {"factor": None, "span": -1.0}]
)
def test_factor_and_span_are_above_zero(settings: dict[str, Any]) -> None:
    target = "segrun.transfer.strategies.discriminative.Discriminative"
    with pytest.raises(RequestError, match=r"strategy\.(factor|span)=.*: must be a number above 0"):
        build({"_target_": target, **settings}, "strategy")


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1])
def test_layer_decay_is_above_zero_and_at_most_one(decay: float) -> None:
    with pytest.raises(RequestError, match=rf"strategy\.decay={decay}: must be a number above 0 and at most 1"):
        build({"_target_": "segrun.transfer.strategies.layer_decay.LayerDecay", "decay": decay}, "strategy")
