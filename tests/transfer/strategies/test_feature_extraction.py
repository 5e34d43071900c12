"""Feature extraction: the heads alone are trained."""

from __future__ import annotations

import pytest

from segrun.config.build import build
from segrun.config.compose import compose
from segrun.errors import RequestError
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, FreezeStages, GradualUnfreeze, NoFreeze
from segrun.transfer.strategies.feature_extraction import FeatureExtraction
from tests.transfer.strategies.shipped_parts import BACKBONES, shipped_parts


@pytest.mark.parametrize("backbone", BACKBONES)
def test_feature_extraction_teaches_the_head_alone(backbone: str) -> None:
    parts = shipped_parts(backbone)
    (phase,) = FeatureExtraction().plan(parts, FreezeBackbone(None), 5).check(parts).phases
    assert tuple(phase.trainable) == ("head.mask",)
    learning = phase.trainable_parameters(parts)
    assert set(learning) == {p.name for p in parts["head.mask"].parameters}


@pytest.mark.parametrize("freeze", [NoFreeze(), FreezeBackbone(2), FreezeStages(1), GradualUnfreeze(1)])
def test_feature_extraction_refuses_a_schedule_that_lets_the_backbone_learn(freeze: FreezeSchedule) -> None:
    with pytest.raises(RequestError, match=r"feature_extraction keeps the backbone frozen.*Use freeze=backbone"):
        FeatureExtraction().plan(shipped_parts("mobilenet_v2"), freeze, 9)


def test_the_command_line_picks_the_freeze_schedule_that_belongs_to_the_strategy() -> None:
    values = compose("train", ["strategy=feature_extraction"])
    assert values["freeze"]["_target_"].endswith("FreezeBackbone")
    chosen = compose("train", ["strategy=feature_extraction", "freeze=none"])
    assert chosen["freeze"]["_target_"].endswith("NoFreeze")
    strategy, freeze = build(chosen["strategy"], "strategy"), build(chosen["freeze"], "freeze")
    with pytest.raises(RequestError, match="feature_extraction keeps the backbone frozen"):
        strategy.plan(shipped_parts("mobilenet_v2"), freeze, 5)
