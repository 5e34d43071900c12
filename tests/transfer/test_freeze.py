"""Freeze schedules: names in, steps out."""

from __future__ import annotations

import pytest

from segrun.errors import RequestError
from segrun.models.parts import Parameter, Part, Parts
from segrun.transfer.freeze import FreezeBackbone, FreezeSchedule, FreezeStages, FreezeStep, GradualUnfreeze, NoFreeze

NAMES = ("backbone.stem", "backbone.layer1", "backbone.layer2", "head.mask", "head.boundary")
BACKBONE = frozenset(NAMES[:3])
PARTS = Parts(Part(name, (Parameter(f"{name}.weight", "weight", 9, True),), (name,)) for name in NAMES)


def test_none_freezes_nothing() -> None:
    assert NoFreeze()(PARTS, 5) == (FreezeStep(5),)


def test_backbone_stands_still_for_all_epochs() -> None:
    assert FreezeBackbone(None)(PARTS, 5) == (FreezeStep(5, BACKBONE),)


def test_backbone_stands_still_for_the_first_epochs_only() -> None:
    assert FreezeBackbone(2)(PARTS, 5) == (FreezeStep(2, BACKBONE), FreezeStep(3))


@pytest.mark.parametrize("frozen", [0, -1, 5, 6])
def test_backbone_for_no_epoch_or_for_more_than_there_are_is_refused(frozen: int) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.epochs={frozen}: choose 1 to 4 of the 5 epochs"):
        FreezeBackbone(frozen)(PARTS, 5)


@pytest.mark.parametrize(("stages", "frozen"), [(0, NAMES[:1]), (1, NAMES[:2]), (2, NAMES[:3])])
def test_stages_counts_those_after_the_stem(stages: int, frozen: tuple[str, ...]) -> None:
    assert FreezeStages(stages)(PARTS, 5) == (FreezeStep(5, frozenset(frozen)),)


@pytest.mark.parametrize("stages", [-1, 3])
def test_stages_that_the_backbone_lacks_are_refused(stages: int) -> None:
    with pytest.raises(RequestError, match=rf"freeze\.stages={stages}: this backbone has a stem and 2 stages"):
        FreezeStages(stages)(PARTS, 5)


def test_gradual_unfreezes_from_the_top_one_part_more_a_step() -> None:
    assert GradualUnfreeze(2)(PARTS, 10) == (
        FreezeStep(2, frozenset(NAMES[:3])),
        FreezeStep(2, frozenset(NAMES[:2])),
        FreezeStep(2, frozenset(NAMES[:1])),
        FreezeStep(4),
    )


def test_gradual_with_too_few_epochs_names_how_many_it_needs() -> None:
    assert len(GradualUnfreeze(2)(PARTS, 7)) == 4
    with pytest.raises(RequestError, match=r"needs 7 epochs or more for 3 parts at freeze\.every=2; trainer\.epochs=6"):
        GradualUnfreeze(2)(PARTS, 6)


def test_gradual_needs_an_epoch_a_step() -> None:
    with pytest.raises(RequestError, match=r"freeze\.every=0"):
        GradualUnfreeze(0)


@pytest.mark.parametrize(
    "schedule", [NoFreeze(), FreezeBackbone(None), FreezeBackbone(3), FreezeStages(1), GradualUnfreeze(1)]
)
def test_steps_add_up_to_the_runs_epochs_and_never_freeze_a_head(schedule: FreezeSchedule) -> None:
    steps = schedule(PARTS, 9)
    assert sum(step.epochs for step in steps) == 9
    assert all(step.frozen <= BACKBONE for step in steps)
